"""Heads with gliomas in MR, the brain counterpart of the spine phantoms: for consortia whose images are axial heads."""

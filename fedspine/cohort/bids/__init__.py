"""BIDS: NIfTI images with JSON sidecars and participants.tsv, read as if they were DICOM (bids.neuroimaging.io)."""

"""Axial chest CT with lung nodules: the public twin of the CT path."""

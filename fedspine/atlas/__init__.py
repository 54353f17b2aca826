"""Anchors, the shared map, lesion tokens and the pseudo-genomic score."""

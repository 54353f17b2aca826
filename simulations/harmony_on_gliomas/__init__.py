"""Hospitals recognised and IDH status kept, before and after harmonising real images."""

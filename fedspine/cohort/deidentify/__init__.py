"""De-identification at the door: keyed pseudonyms, the profile of DICOM PS3.15, and what a folder still carries."""

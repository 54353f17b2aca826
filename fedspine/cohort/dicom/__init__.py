"""DICOM files to volumes: headers first, then geometry, then pixels."""

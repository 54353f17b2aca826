"""IDH status of gliomas from images alone."""

"""What the encoder keeps of scanners and of tumours."""

"""One file, one thing a hospital can train or measure."""

"""`make bench`: what the project promises, measured side by side."""

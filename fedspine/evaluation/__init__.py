"""Metrics from released counts."""

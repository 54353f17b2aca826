"""Consortia on one machine."""

"""Tests of the public twin."""

"""Tests of the room that data enters by."""

"""Tests of Flower's own engines, by the pages that tell people how to use them."""

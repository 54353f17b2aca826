"""Sums that nobody sees the parts of: keys, masks, and numbers modulo 2³² or 2⁶⁴. Primitives are `cryptography`'s."""

"""A writer of Siemens' private CSA headers."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def csa_header(**tags: Sequence[str]) -> bytes:
    """Return a CSA header of the second kind (SV10) that holds these texts by name."""
    parts = [b"SV10\x04\x03\x02\x01", struct.pack("<2I", len(tags), 77)]
    for name, values in tags.items():
        kind = b"SH" if name.endswith("String") else b"FD" if "Vector" in name else b"US"
        parts.append(struct.pack("<64si4s3i", name.encode(), len(values), kind, 19, len(values), 77))
        for value in values:
            text = value.encode() + b"\0"
            parts += [struct.pack("<4i", 0, len(text), 77, 0), text, b"\0" * (-len(text) % 4)]
    return b"".join(parts)

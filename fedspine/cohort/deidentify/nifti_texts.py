"""Empty the free texts of a NIfTI file and drop its extensions, without touching a voxel."""

from __future__ import annotations

import gzip
import io
from typing import BinaryIO

import nibabel
import numpy as np

FIELDS = ("descrip", "aux_file", "db_name", "data_type", "intent_name")
"""Fields of the header that hold whatever somebody wrote into them."""

NIFTI_2 = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
"""How a NIfTI-2 file begins, in either order of bytes."""


def without_texts(file: BinaryIO, *, packed: bool) -> bytes:
    """Return a NIfTI file whose free texts and extensions are empty and whose voxels are byte for byte the same."""
    raw = gzip.decompress(file.read()) if packed else file.read()
    kind = nibabel.Nifti2Header if raw[:4] in NIFTI_2 else nibabel.Nifti1Header
    header = kind.from_fileobj(io.BytesIO(raw), check=False)
    header.extensions.clear()
    for name in FIELDS:
        if name in header:
            header[name] = np.zeros_like(header[name])
    start = int(header["vox_offset"])
    block = header.binaryblock
    clean = block + b"\0" * max(start - len(block), 0) + raw[max(start, len(block)) :]
    return gzip.compress(clean, mtime=0) if packed else clean

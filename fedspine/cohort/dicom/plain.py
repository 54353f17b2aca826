"""Pixels that lie in the file as they lie in an array: where they are, and how to read them without parsing again.

Most scanners' files are uncompressed. For these the header pass notes where the pixels begin; the second pass reads
just those bytes. That is done only where the outcome is the same as pydicom's `pixel_array` by construction: little
endian, 8 or 16 bits, grey, exactly as many bytes as the header asks for, and nothing after them that a parser would
still take into account. Everything else goes the long way.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

PIXEL_DATA = b"\xe0\x7f\x10\x00"
PADDING = b"\xfc\xff\xfc\xff"
"""DataSetTrailingPadding, the only element that may follow the pixels here."""


@dataclass(frozen=True)
class Plain:
    """Where the pixels of a file are.

    Args:
        offset: of the first byte of the first frame.
        kind: the array's type as numpy writes it: `<u2`, `<i2`, `|u1` or `|i1`.
        bits: how many bits of each value count, from the lowest.
        frames: how many there are.
    """

    offset: int
    kind: str
    bits: int
    frames: int


def plain_of(dataset: FileDataset, file: BinaryIO, place: int | None, size: int) -> Plain | None:
    """Return where the pixels are, or `None` when they must be decoded.

    Args:
        dataset: the header.
        file: open.
        place: of the pixel element.
        size: of the file in bytes.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if place is None or syntax not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        return None
    implicit = syntax == ImplicitVRLittleEndian
    if dataset.original_encoding != (implicit, True):  # pydicom found another than the file claims
        return None
    kind, bits = _kind(dataset)
    frames = 1 if dataset.get("NumberOfFrames") is None else int(dataset.NumberOfFrames)
    expected = frames * int(dataset.Rows) * int(dataset.Columns) * (np.dtype(kind).itemsize if kind else 0)
    offset = place + (8 if implicit else 12)
    if not kind or expected <= 0 or _length(file, place, implicit) != expected + expected % 2:
        return None
    end = offset + expected + expected % 2
    return Plain(offset, kind, bits, frames) if _nothing_after(file, end, size, implicit) else None


def _kind(dataset: FileDataset) -> tuple[str, int]:
    """Return the type of the values and how many bits count; an empty type when it is none of the plain ones."""
    allocated, stored, signed = (dataset.get(name) for name in ("BitsAllocated", "BitsStored", "PixelRepresentation"))
    grey = dataset.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
    single = dataset.get("SamplesPerPixel") == 1
    if not grey or not single or allocated not in (8, 16) or signed not in (0, 1) or not isinstance(stored, int):
        return "", 0
    kind = ("<i2" if signed else "<u2") if allocated == 16 else ("|i1" if signed else "|u1")
    return (kind, stored) if 1 <= stored <= allocated else ("", 0)


def _length(file: BinaryIO, place: int, implicit: bool) -> int | None:
    """Return the length that the pixel element claims, or `None` when it is not of a form known here."""
    element = os.pread(file.fileno(), 12, place)
    if element[:4] != PIXEL_DATA or (not implicit and element[4:8] not in (b"OW\0\0", b"OB\0\0")):
        return None
    return int.from_bytes(element[4:8] if implicit else element[8:12], "little")


def _nothing_after(file: BinaryIO, end: int, size: int, implicit: bool) -> bool:
    """Tell whether the file ends at `end`, or with padding after it."""
    if end == size:
        return True
    element = os.pread(file.fileno(), 12, end)
    length = int.from_bytes(element[4:8] if implicit else element[8:12], "little")
    return element[:4] == PADDING and end + (8 if implicit else 12) + length == size


def read_plain(file: BinaryIO, plain: Plain, index: int, shape: tuple[int, int]) -> NDArray[np.generic] | None:
    """Return frame `index` (row, column) of an open file; `None` when there is none.

    The bits that do not count are taken out: old scanners kept overlays in them (DICOM PS3.5, 8.1.1).
    """
    if index >= plain.frames:
        return None
    picture: NDArray[np.generic] = np.empty(shape, plain.kind)
    place = plain.offset + index * picture.nbytes
    if os.preadv(file.fileno(), [picture.data], place) != picture.nbytes:
        return None
    spare = 8 * picture.itemsize - plain.bits
    if spare:
        np.left_shift(picture, spare, out=picture)
        np.right_shift(picture, spare, out=picture)
    return picture

"""Open a DICOM file without believing what it says of its own length.

pydicom reads as many bytes as an element claims to have, and inflates a deflated file whole. A hole in the file (a
sparse file is small on disk and huge to read) or a crafted stream would fill the memory before anything is known of
the picture. Here the bytes that may be read, and the bytes that may come out of them, are bounded beforehand.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import BinaryIO

import pydicom
from pydicom.dataset import FileDataset

from fedspine.errors import SeriesError

HEAD_BYTES = 2**15
"""Most headers fit; the rest of the file is left alone then."""
MOST_HEADER_BYTES = 2**27
"""An Enhanced object of 16,000 frames has 64 MB of header."""
MOST_FILE_BYTES = 2**30
"""Largest file that is read as a whole: one whose pixels are compressed or of a rare kind."""
MOST_INFLATED_BYTES = 2**28
MOST_READS = 2**22
"""About two an element; zeros read as elements without end, and take a minute where the bytes alone are bounded."""
PIXEL_ELEMENTS = (b"\x10\x00", b"\x09\x00", b"\x08\x00")


def header_and_place(file: BinaryIO, size: int) -> tuple[FileDataset, int | None]:
    """Return what an open file says before its pixels, and where its pixel element begins.

    Args:
        file: at its beginning.
        size: of the file in bytes.

    Returns:
        The data set, and the place in bytes from the beginning; `None` where there is none to be found.

    Raises:
        SeriesError: when the header is longer than any scanner's.
        Exception: whatever pydicom raises for a broken file.
    """
    head = file.read(HEAD_BYTES)
    if size > len(head):
        dataset, place = _parsed(head)
        if dataset is not None and place is not None:
            return dataset, place
        file.seek(0)
        bounded = Bounded(file, MOST_HEADER_BYTES)
        dataset = pydicom.dcmread(bounded, stop_before_pixels=True)
        place = bounded.tell()
        bounded.seek(place)
        return dataset, place if _is_pixel_element(bounded.read(4)) else None
    buffer = io.BytesIO(head)
    dataset = pydicom.dcmread(buffer, stop_before_pixels=True)
    place = buffer.tell()
    return dataset, place if _is_pixel_element(head[place : place + 4]) else None


def whole(file: BinaryIO) -> FileDataset:
    """Return everything in an open file; raises as `header_and_place` does."""
    if os.fstat(file.fileno()).st_size > MOST_FILE_BYTES:  # behind the pixels there may be elements without end
        raise too_long()
    return pydicom.dcmread(Bounded(file, MOST_FILE_BYTES))


def _parsed(head: bytes) -> tuple[FileDataset | None, int | None]:
    """Return the header if it ends within `head`; a header that was cut is no broken one yet."""
    buffer = io.BytesIO(head)
    try:
        dataset = pydicom.dcmread(buffer, stop_before_pixels=True)
    except Exception:  # of a header that was cut pydicom raises anything; the whole file is read next, and judged then
        return None, None
    place = buffer.tell()
    return dataset, place if _is_pixel_element(head[place : place + 4]) else None


def _is_pixel_element(tag: bytes) -> bool:
    return tag[:2] == b"\xe0\x7f" and tag[2:] in PIXEL_ELEMENTS


class Bounded:
    """An open file that gives no more bytes than it may.

    Args:
        file: what to read from.
        most: bytes that may be read in all; no more than `MOST_READS` times.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._left, self._reads = file, most, MOST_READS
        self._end = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or all; only deflated data are read so, and are tried out first."""
        wanted = self._end - self.tell() if size is None or size < 0 else min(size, self._end)
        self._left -= max(wanted, 0)
        self._reads -= 1
        if self._left < 0 or self._reads < 0:
            raise too_long()
        found = self._file.read(wanted) if wanted > 0 else b""
        if size is None or size < 0:
            _check_inflated(found)
        return found


def _check_inflated(deflated: bytes) -> None:
    """Raise a `SeriesError` when more comes out of `deflated` than may; nothing of it is kept."""
    stream, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while deflated and not stream.eof:
        total += len(stream.decompress(deflated, 2**20))
        deflated = stream.unconsumed_tail
        if total > MOST_INFLATED_BYTES:
            raise too_long()


def too_long() -> SeriesError:
    """Return the error of a file that claims more than an image can hold."""
    return SeriesError("a file must be no longer than an image is", "one that claims more", "export it again")


def not_dicom(start: bytes) -> SeriesError:
    """Return the error of a file that begins with these bytes."""
    if start.startswith(PACKED):
        return SeriesError("a file below dicom/ must be DICOM Part 10", "a packed archive", "unpack it")
    return SeriesError(
        "a file below dicom/ must be DICOM Part 10", "something else", "remove it or export it again as DICOM"
    )


# how zip, gzip, 7z, xz and bzip2 begin
PACKED = (b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"\xfd7zXZ\0", b"BZh")

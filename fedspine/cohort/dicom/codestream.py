"""Compare the size that a compressed picture gives itself with the header's, before a decoder makes room for it."""

from __future__ import annotations

from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames

from fedspine.errors import SeriesError

MOST_PIXEL_BYTES = 2**30
"""What the decoded pixels of one file may take."""

SKIPPED_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
NOT_A_SIZE = frozenset({0xC4, 0xC8, 0xCC})
"""Huffman tables, an extension and arithmetic conditioning; the other markers from C0 to CF begin a picture."""
JPEG_LS_SIZE = 0xF7


def check_sizes(dataset: FileDataset) -> None:
    """Raise a `SeriesError` when the pixels of a file would take more room than its header says, or than there is."""
    frames, rows, columns = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    if frames * rows * columns * max(1, int(dataset.get("BitsAllocated") or 8) // 8) > MOST_PIXEL_BYTES:
        raise SeriesError("the pixels of a file must fit into memory", "more than that", "export it in smaller parts")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or syntax.name == "RLE Lossless":  # runs unpack to at most 64 times their length
        return
    for number, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=frames)):
        if number >= frames or size_of(frame) != (rows, columns):
            raise SeriesError(
                "a compressed picture must be as large as its header says", "another size", "export the series again"
            )


def size_of(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream gives itself; `None` without any.

    Sources: ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2, 15444-1 A.5.1 (also for 15444-15, HTJ2K).
    """
    if frame[:2] == b"\xff\xd8":
        return _jpeg_size(frame)
    start = 0 if frame[:4] == b"\xff\x4f\xff\x51" else frame.find(b"\xff\x4f\xff\x51")  # a JP2 file has boxes before
    if start < 0 or len(frame) < start + 24:
        return None
    right, bottom, left, top = (int.from_bytes(frame[start + i : start + i + 4], "big") for i in (8, 12, 16, 20))
    return bottom - top, right - left


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF or marker in SKIPPED_MARKERS:
            place += 1 if marker == 0xFF else 2
            continue
        if (0xC0 <= marker <= 0xCF and marker not in NOT_A_SIZE) or marker == JPEG_LS_SIZE:
            return int.from_bytes(frame[place + 5 : place + 7], "big"), int.from_bytes(
                frame[place + 7 : place + 9], "big"
            )
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None

"""Pixels read straight from the file are the pixels that pydicom decodes, or are not read so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from fedspine.cohort.dicom.opening import header_and_place
from fedspine.cohort.dicom.plain import Plain, plain_of, read_plain
from fedspine.cohort.quiet import quiet

Write = Callable[..., list[Path]]
Change = Callable[[int, Dataset], None]
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
VENDORS = Path(__file__).parent.parent / "data" / "vendor_dicom"


def plain_and_frames(path: Path) -> tuple[Plain | None, list[Any]]:
    """Return where the pixels of a file are and its frames read from there."""
    size = path.stat().st_size
    with path.open("rb") as file, quiet():
        dataset, place = header_and_place(file, size)
        plain = plain_of(dataset, file, place, size)
        if plain is None:
            return None, []
        shape = int(dataset.Rows), int(dataset.Columns)
        return plain, [read_plain(file, plain, index, shape) for index in range(plain.frames)]


def test_every_plain_file_of_pydicom_and_of_scanners_gives_pydicoms_pixels() -> None:
    plain_files = 0
    for path in [*sorted(BUNDLED.rglob("*.dcm")), *sorted(VENDORS.glob("*.dcm"))]:
        try:
            plain, frames = plain_and_frames(path)
        except Exception:
            continue
        if plain is not None:
            with quiet():
                theirs = pydicom.dcmread(path).pixel_array
            ours = np.stack(frames) if theirs.ndim == 3 else frames[0]
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
            plain_files += 1
    assert plain_files >= 12


def overlay_above(bits: int, signed: bool) -> Change:
    """Return a change that stores fewer bits than there are, with an overlay in the others."""

    def change(i: int, dataset: Dataset) -> None:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
        values = np.random.default_rng(i).integers(0, 2**16, (6, 5), dtype=np.uint16)
        dataset.PixelData = values.tobytes()

    return change


def eight_bits(signed: bool) -> Change:
    def change(i: int, dataset: Dataset) -> None:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, int(signed)
        dataset.Rows, dataset.Columns = 5, 3  # an odd number of bytes
        dataset.PixelData = np.random.default_rng(i).integers(0, 256, 15, dtype=np.uint8).tobytes() + b"\0"
        dataset["PixelData"].VR = "OB"

    return change


def inverted(i: int, dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME1"


def padded(i: int, dataset: Dataset) -> None:
    dataset.DataSetTrailingPadding = b"\0" * 126


def nothing(i: int, dataset: Dataset) -> None:
    pass


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        nothing,
        overlay_above(12, False),
        overlay_above(12, True),
        overlay_above(1, False),
        overlay_above(15, True),
        eight_bits(False),
        eight_bits(True),
        inverted,
        padded,
    ],
)
def test_every_way_to_store_plain_pixels_gives_pydicoms_pixels(
    tmp_path: Path, write_series: Write, change: Change, implicit: bool
) -> None:
    def stored(i: int, dataset: Dataset) -> None:
        change(i, dataset)
        if implicit:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    for path in write_series(tmp_path, change=stored):
        plain, (frame,) = plain_and_frames(path)
        theirs = pydicom.dcmread(path).pixel_array
        assert plain is not None
        assert frame.dtype == theirs.dtype
        np.testing.assert_array_equal(frame, theirs)


def big_endian(i: int, dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"


def thirty_two_bits(i: int, dataset: Dataset) -> None:
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    dataset.PixelData = bytes(120)


def too_short(i: int, dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-2]


def too_long(i: int, dataset: Dataset) -> None:
    dataset.PixelData += b"\0\0"


def something_after(i: int, dataset: Dataset) -> None:
    dataset.add_new(0x7FE10010, "LO", "A PRIVATE CREATOR")


def more_bits_than_there_are(i: int, dataset: Dataset) -> None:
    dataset.BitsStored = 17


def floats(i: int, dataset: Dataset) -> None:
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated, dataset.FloatPixelData = 32, bytes(120)


def without_syntax(i: int, dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = UID("1.2.3")


@pytest.mark.parametrize(
    "change", [big_endian, thirty_two_bits, too_short, too_long, something_after, more_bits_than_there_are, floats]
)
def test_what_is_not_plain_goes_the_long_way(tmp_path: Path, write_series: Write, change: Change) -> None:
    for path in write_series(tmp_path, change=change):
        assert plain_and_frames(path)[0] is None


def test_a_file_cut_within_its_pixels_is_not_plain(tmp_path: Path, write_series: Write) -> None:
    path = write_series(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-8])
    assert plain_and_frames(path)[0] is None

"""A file can claim any length and any size; nothing is read or made room for on its word."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom import opening, pixels
from fedspine.cohort.dicom.codestream import check_sizes, size_of
from fedspine.cohort.dicom.header import header_of
from fedspine.cohort.dicom.opening import header_and_place, whole
from fedspine.cohort.dicom.remembering import Memory, remembering
from fedspine.cohort.quiet import quiet
from fedspine.cohort.site import load_cohort
from fedspine.errors import SeriesError

Write = Callable[..., list[Path]]
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
VENDORS = Path(__file__).parent.parent / "data" / "vendor_dicom"
DEFLATED = UID("1.2.840.10008.1.2.1.99")
MEGABYTE = 2**20
KEY = Key(bytes(32))


def reasons(folder: Path) -> set[str]:
    return {one.reason for one in load_cohort(folder).rejected}


def peak_bytes(function: Callable[[], object]) -> int:
    """Return the most memory that `function` held."""
    tracemalloc.start()
    try:
        with pytest.raises(SeriesError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_values_looked_up_are_the_values_read() -> None:
    memory = Memory()
    compared = 0
    for path in [*sorted(BUNDLED.rglob("*.dcm")), *sorted(VENDORS.glob("*.dcm"))] * 2:
        with quiet():
            try:
                plainly = header_of(pydicom.dcmread(path, stop_before_pixels=True), KEY)
            except Exception:
                continue
            assert header_of(remembering(pydicom.dcmread(path, stop_before_pixels=True), memory), KEY) == plainly
        compared += 1
    assert compared >= 30


def test_a_header_longer_than_the_first_piece_is_read_whole(tmp_path: Path, write_series: Write) -> None:
    def long(i: int, dataset: Dataset) -> None:
        dataset.add_new(0x00211010, "OB", b"x" * 3 * opening.HEAD_BYTES)

    path = write_series(tmp_path, change=long)[0]
    with path.open("rb") as file:
        dataset, place = header_and_place(file, path.stat().st_size)
    assert dataset.PatientID == "P1"
    assert len(dataset[0x00211010].value) == 3 * opening.HEAD_BYTES
    assert place is not None
    assert path.read_bytes()[place : place + 4] == b"\xe0\x7f\x10\x00"
    assert load_cohort(tmp_path).patients[0].volumes["T1"].voxels.shape == (4, 6, 5)


def sparse(path: Path) -> None:
    """Make a file with an element of 4 GB before its pixels, small on disk, as a broken copy leaves it."""
    content = path.read_bytes()
    place = content.index(b"\x28\x00\x02\x00US")  # SamplesPerPixel
    element = b"\x21\x00\x10\x10OB\0\0" + (2**32 - 2).to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(content[:place] + element)
        file.seek(2**32 - 2, 1)
        file.write(content[place:])


def test_a_false_length_in_a_sparse_file_is_not_read(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path, contrast="T2")
    path = write_series(tmp_path)[0]
    sparse(path)

    def read() -> None:
        with path.open("rb") as file:
            header_and_place(file, path.stat().st_size)

    assert peak_bytes(read) < MEGABYTE
    assert "a file must be no longer than an image is; found one that claims more; export it again." in reasons(
        tmp_path
    )


def deflated(path: Path, content: bytes) -> None:
    """Write a file whose data set is `content`, deflated."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DEFLATED
    buffer = DicomBytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, dataset.file_meta)
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    path.write_bytes(bytes(128) + b"DICM" + buffer.getvalue() + stream.compress(content) + stream.flush())


def test_a_deflated_file_that_swells_is_refused(
    tmp_path: Path, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MOST_INFLATED_BYTES", 8 * MEGABYTE)
    path = write_series(tmp_path)[0]
    deflated(path, b"\x21\x00\x10\x10OB\0\0" + (128 * MEGABYTE).to_bytes(4, "little") + bytes(128 * MEGABYTE))

    def read() -> None:
        with path.open("rb") as file:
            header_and_place(file, path.stat().st_size)

    assert path.stat().st_size > opening.HEAD_BYTES
    assert peak_bytes(read) < 64 * MEGABYTE


def test_a_deflated_file_is_read(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    for path in write_series(tmp_path, voxels=make_picture()):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DEFLATED
        dataset.save_as(path)
    np.testing.assert_array_equal(load_cohort(tmp_path).patients[0].volumes["T1"].voxels, make_picture())


def test_a_picture_that_asks_for_too_much_is_refused_before_it_is_made(tmp_path: Path, write_series: Write) -> None:
    def huge(i: int, dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = 16_000
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
        dataset.SliceThickness = 1.0

    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, change=huge)
    assert any("one cut short or broken" in reason or "fit into memory" in reason for reason in reasons(tmp_path))


def test_rows_beyond_any_scanner_and_frames_without_number_are_refused(tmp_path: Path, write_series: Write) -> None:
    def endless(i: int, dataset: Dataset) -> None:
        dataset.NumberOfFrames = 10**6

    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, Rows=60_000, Columns=60_000, folder="rows")
    write_series(tmp_path, folder="frames", change=endless)
    assert {reason.split(";")[0] for reason in reasons(tmp_path)} == {
        "an image must have rows and columns",
        "planes must have positions",
    }


def compressed(dataset: Dataset, syntax: UID) -> None:
    plugin = {JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", RLELossless: "pydicom"}[syntax]
    dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_codestream_larger_than_its_header_is_refused(tmp_path: Path, write_series: Write, syntax: UID) -> None:
    def lying(i: int, dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = 900
        dataset.PixelData = bytes(2 * 900 * 900)
        compressed(dataset, syntax)
        dataset.Rows, dataset.Columns = 6, 5

    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, change=lying)
    assert reasons(tmp_path) == {
        "a compressed picture must be as large as its header says; found another size; export the series again."
    }


def test_runs_longer_than_the_picture_are_refused(tmp_path: Path, write_series: Write) -> None:
    def lying(i: int, dataset: Dataset) -> None:
        compressed(dataset, RLELossless)
        segment = b"\x81\x00" * 100_000  # each pair unpacks to 128 bytes
        start = b"".join(number.to_bytes(4, "little") for number in (2, 64, 64 + len(segment), *[0] * 13))
        dataset.PixelData = encapsulate([start + 2 * segment])

    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, change=lying)
    assert {reason.split(";")[0] for reason in reasons(tmp_path)} == {"every slice of a series must be complete"}


def test_the_size_of_a_codestream_is_found_wherever_it_stands() -> None:
    compared = 0
    for path in sorted(BUNDLED.rglob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path)
            syntax = dataset.file_meta.TransferSyntaxUID
            assert syntax.is_encapsulated
            assert syntax != RLELossless
            dataset.pixel_array_options(decoding_plugin="pylibjpeg")
            assert dataset.pixel_array.size
        except Exception:
            continue  # another kind, or broken on purpose
        check_sizes(dataset)  # raises where one differs
        compared += 1
    assert compared >= 20
    assert size_of(b"") is None
    assert size_of(b"\xff\xd8\xff\xd9") is None
    assert size_of(b"\xff\x4f\xff\x51\x00") is None


def test_many_small_files_cannot_ask_for_a_huge_volume(
    tmp_path: Path, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "MOST_VOLUME_BYTES", 400)
    monkeypatch.setattr("fedspine.cohort.dicom.passes.possible", lambda: False)
    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, change=lambda i, dataset: compressed(dataset, RLELossless))
    assert reasons(tmp_path) == {"a volume must fit into memory; found one that does not; export it in smaller parts."}


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"7z\xbc\xaf\x27\x1c"])
def test_a_packed_archive_is_to_be_unpacked(tmp_path: Path, write_series: Write, start: bytes) -> None:
    write_series(tmp_path)
    (tmp_path / "dicom" / "study.zip").write_bytes(start + bytes(500))
    assert reasons(tmp_path) == {"a file below dicom/ must be DICOM Part 10; found a packed archive; unpack it."}


def test_a_whole_file_beyond_bounds_is_refused(
    tmp_path: Path, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_series(tmp_path)[0]
    monkeypatch.setattr(opening, "MOST_FILE_BYTES", 500)
    with path.open("rb") as file, pytest.raises(SeriesError, match="no longer than an image"):
        whole(file)


def test_elements_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_READS", 50)
    bounded = opening.Bounded(BytesIO(bytes(1000)), 10_000)
    for _ in range(50):
        bounded.read(8)
    with pytest.raises(SeriesError, match="no longer than an image"):
        bounded.read(8)


def test_a_file_that_is_too_long_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydicom.dcmread", lambda *_: pytest.fail("begun"))
    with (tmp_path / "sparse.dcm").open("wb+") as file:
        file.truncate(opening.MOST_FILE_BYTES + 1)
        with pytest.raises(SeriesError, match="no longer than an image"):
            whole(file)

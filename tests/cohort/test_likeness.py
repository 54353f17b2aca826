"""A header known by the bytes of another is the header that parsing it gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom import header
from fedspine.cohort.dicom.header import read_header
from fedspine.cohort.dicom.opening import header_and_place
from fedspine.cohort.dicom.remembering import Memory
from fedspine.cohort.files import File
from fedspine.cohort.quiet import quiet
from fedspine.errors import SeriesError

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
VENDORS = Path(__file__).parent.parent / "data" / "vendor_dicom"
KEY = Key(bytes(32))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every header that is parsed."""
    calls: list[int] = []

    def counted(file: Any, size: int) -> Any:
        calls.append(size)
        return header_and_place(file, size)

    monkeypatch.setattr(header, "header_and_place", counted)
    return calls


def outcome(folder: Path, file: File, memory: Memory) -> object:
    """Return what was read, or the reason why nothing was."""
    try:
        with quiet():
            return read_header(folder, file, KEY, memory)
    except SeriesError as error:
        return str(error)


def of_another_slice(path: Path, change: dict[str, Any], to: Path) -> File:
    """Write the file at `path` as another slice of its series would be, and return it."""
    dataset = pydicom.dcmread(path)
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    dataset.save_as(to)
    stat = to.stat()
    return File(to.name, stat.st_size, stat.st_mtime_ns)


SLICES: tuple[dict[str, Any], ...] = (
    {},
    {"SOPInstanceUID": "1.2.3.4", "InstanceNumber": "7", "ImagePositionPatient": ["1", "2.5", "-3"]},
    {"SOPInstanceUID": "1.2.840.10008.1", "AcquisitionTime": "115959.99", "ContentTime": "000000"},
    {"SOPInstanceUID": "", "SliceLocation": "4", "ImagePositionPatient": ["1e6", "0", "0"]},
    {"AcquisitionTime": "noon", "ImagePositionPatient": ["nan", "0", "0"], "WindowCenter": ["1", "2"]},
    {"ImagePositionPatient": None, "AcquisitionTime": ""},
    {"ImagePositionPatient": ["1", "2"], "SOPInstanceUID": ["1.2", "1.3"]},
    {"EchoTime": "77"},
    {"SOPInstanceUID": "1.2.3.5", "ImagePositionPatient": ["1", "2.5", "-4"]},
)


CLASSIC = [path for path in sorted(VENDORS.glob("*.dcm")) if "enhanced" not in path.stem]


@pytest.mark.parametrize("path", [*CLASSIC, *sorted(BUNDLED.glob("[CM]*_small.dcm"))], ids=lambda path: path.stem)
def test_a_header_like_another_is_the_header_that_reading_it_alone_gives(
    tmp_path: Path, parsed: list[int], path: Path
) -> None:
    with quiet():
        files = [of_another_slice(path, change, tmp_path / str(i)) for i, change in enumerate(SLICES)]
    memory = Memory()
    shared = [outcome(tmp_path, file, memory) for file in files]
    times = len(parsed)
    assert shared == [outcome(tmp_path, file, Memory()) for file in files]
    # a mosaic holds many slices, and what follows the pixels may be anything
    assert times < len(SLICES) or "mosaic" in path.stem or path.parent == BUNDLED


def test_the_place_of_a_slice_within_functional_groups_is_not_taken_from_outside(tmp_path: Path) -> None:
    memory = Memory()
    for number, change in enumerate(SLICES):
        with quiet():
            file = of_another_slice(VENDORS / "siemens_vida_enhanced.dcm", change, tmp_path / f"{number}")
        assert outcome(tmp_path, file, memory) == outcome(tmp_path, file, Memory())


@pytest.mark.parametrize(
    "place", [VENDORS / "uih_umr770_t1.dcm", VENDORS / "philips_achieva_b0.dcm", BUNDLED / "MR_small_RLE.dcm"]
)
def test_any_damage_gives_what_reading_it_alone_gives(tmp_path: Path, parsed: list[int], place: Path) -> None:
    content = place.read_bytes()
    random = np.random.default_rng(4)
    end = content.index(b"\xe0\x7f\x10\x00") + 14
    for number in range(300):
        damaged = bytearray(content)
        for _ in range(int(random.integers(1, 3))):
            damaged[int(random.integers(132, end))] = int(random.choice([0, 32, 46, 48, 57, 92, 255]))
        path = tmp_path / "damaged"
        path.write_bytes(damaged if number % 5 else damaged[: int(random.integers(end, len(damaged)))])
        stat = os.stat(path)
        file, memory = File("damaged", stat.st_size, stat.st_mtime_ns), Memory()
        (tmp_path / "whole").write_bytes(content)
        stat = os.stat(tmp_path / "whole")
        outcome(tmp_path, File("whole", stat.st_size, stat.st_mtime_ns), memory)
        assert outcome(tmp_path, file, memory) == outcome(tmp_path, file, Memory())
    assert 600 < len(parsed) < 900  # some were told by the whole one

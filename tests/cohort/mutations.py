"""Damage DICOM files in ways that hospitals and attackers do; each outcome must be data or a sentence."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import MRImageStorage

from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom.passes import headers_of, voxels_of
from fedspine.cohort.dicom.pixels import Order, Part
from fedspine.cohort.dicom.record import restored
from fedspine.cohort.files import File
from fedspine.cohort.quiet import quiet
from simulations.bench.memory import highest_mb

MARK = "QZXW"
"""Stands in every text of every file, and in its path; no sentence may hold it."""
VENDORS = Path(__file__).parent.parent / "data" / "vendor_dicom"
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
LARGEST_SEED = 300_000
SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.3",
)
EDITS: tuple[tuple[str, object], ...] = (
    ("Rows", 65535),
    ("Columns", 65535),
    ("Rows", 0),
    ("NumberOfFrames", 10**6),
    ("NumberOfFrames", -1),
    ("BitsAllocated", 3),
    ("BitsAllocated", 32),
    ("BitsAllocated", 64),
    ("BitsStored", 40),
    ("BitsStored", 1),
    ("SamplesPerPixel", 3),
    ("PixelRepresentation", 7),
    ("PhotometricInterpretation", "YBR_FULL_422"),
    ("PixelSpacing", ["1e300", "0"]),
    ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
    ("ImagePositionPatient", ["1e15", "nan", "0"]),
    ("RescaleSlope", "1e308"),
    ("SliceThickness", "-1"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged file.

    Args:
        sentence: the reason, empty when there were voxels.
        seconds: that it took.
        peak_mb: most memory that the process ever held.
    """

    sentence: str
    seconds: float
    peak_mb: float


@cache
def seeds() -> list[bytes]:
    """Return whole files to damage: of pydicom and of scanners, marked, and made images where that is possible."""
    # not by pydicom's own function, which would fetch files that are not there
    paths = [*BUNDLED.rglob("*.dcm"), *VENDORS.glob("*.dcm")]
    found = []
    for path in sorted(paths):
        if path.stat().st_size <= LARGEST_SEED:
            try:
                dataset = pydicom.dcmread(path)
                if "PixelData" in dataset and dataset.SamplesPerPixel > 1:
                    continue
                if "Rows" in dataset and "PixelData" in dataset:
                    _mark(dataset)
                buffer = BytesIO()
                dataset.save_as(buffer)
                found.append(buffer.getvalue())
            except Exception:  # pydicom ships broken files on purpose; they are taken as they are
                found.append(path.read_bytes())
    return found


def _mark(dataset: pydicom.Dataset) -> None:
    """Write `MARK` over what names anybody, and make the file an MR image with a place in space."""
    for keyword in ("PatientName", "PatientID", "InstitutionName", "SeriesDescription", "StudyDescription"):
        setattr(dataset, keyword, MARK)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    if "SeriesInstanceUID" not in dataset:
        dataset.SeriesInstanceUID = "1.2.3"
    if "ImagePositionPatient" not in dataset:
        dataset.ImagePositionPatient, dataset.PixelSpacing = [0, 0, 0], [1, 1]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def damaged(number: int) -> bytes:
    """Return the damaged file of this number, always the same one."""
    random = np.random.default_rng(number)
    content = bytearray(seeds()[int(random.integers(len(seeds())))])
    kind = random.integers(7)
    # most of what can go wrong stands in the header
    place = int(random.integers(min(len(content), 4000) if random.random() < 0.7 else len(content)))
    if kind == 0:
        for _ in range(int(random.integers(1, 20))):
            content[int(random.integers(len(content)))] = int(random.integers(256))
    elif kind == 1:
        del content[place:]
    elif kind == 2:
        content[place:place] = random.bytes(int(random.integers(1, 200)))
    elif kind == 3:
        content[place:place] = content[place : place + int(random.integers(1, 2000))]
    elif kind == 4:  # a length of an element, wherever it falls
        content[place : place + 4] = random.choice(
            [b"\xff\xff\xff\xff", b"\xfe\xff\xff\x7f", b"\0\0\0\0", b"\xff\0\0\0"]
        )
    elif kind == 5:
        return _edited(bytes(content), random)
    else:
        del content[place : place + int(random.integers(1, 500))]
    return bytes(content)


def _edited(content: bytes, random: np.random.Generator) -> bytes:
    """Return the file with some values exchanged for impossible ones, or with a wrong transfer syntax."""
    try:
        dataset = pydicom.dcmread(BytesIO(content), force=True)
        if random.random() < 0.3:
            raw = str(dataset.file_meta.TransferSyntaxUID).encode()
            other = random.choice(SYNTAXES).encode()
            return content.replace(raw, (other + b"\0" * len(raw))[: len(raw)], 1)
        for choice in random.integers(len(EDITS), size=random.integers(1, 4)):
            keyword, value = EDITS[choice]
            setattr(dataset, keyword, value)
        buffer = BytesIO()
        dataset.save_as(buffer)
        return buffer.getvalue()
    except Exception:
        return content[: len(content) // 2]


def attempt(task: tuple[Path, int]) -> Outcome:
    """Damage a file and read it as a site's file is read; run by a worker."""
    folder, number = task
    with quiet():
        content = damaged(number)
    path = folder / f"{MARK}{number}"
    path.write_bytes(content)
    stat = path.stat()
    file = File(path.name, stat.st_size, stat.st_mtime_ns)
    begun = time.perf_counter()
    (entry,) = headers_of((folder, [file], Key(bytes(32))))
    if "refused" not in entry:
        header = restored(entry["header"])
        slices = tuple((Part(0, i, frame.slope, frame.intercept),) for i, frame in enumerate(header.frames))
        if slices:
            entry = voxels_of((Order(folder, (file,), (header.plain,), slices, header.shape), folder, str(number)))
    seconds = time.perf_counter() - begun
    path.unlink()
    (folder / f"{number}.npy").unlink(missing_ok=True)
    return Outcome(str(entry.get("refused", "")), seconds, highest_mb())

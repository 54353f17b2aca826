"""Marks in every place of a site folder that a patient shows in, and the search for them in what has left."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset

ROW = (np.arange(16, dtype=np.uint16) * 977 % 1800 + 151).astype(np.uint16)
"""Pixels that are burnt into a row of every slice."""

GENE, VALUE = 31.415926, 2.7182817
"""Of a column that no plan asks for, and of one that plans do."""

TEXTS = {
    "patient id": "ZQPID",
    "patient name": "ZQNAME",
    "birth date": "19330303",
    "study date": "20040404",
    "accession number": "ZQACCESSION",
    "private tag": "ZQPRIVATE",
    "uid": "1.2.77777.",
    "image comment": "ZQCOMMENT",
    "institution": "ZQHOSPITAL",
    "protocol": "ZQPROTOCOL",
    "series description": "ZQSERIES",
    "station": "ZQSTATION",
    "serial number": "ZQSERIAL",
    "DICOM file name": "ZQFILE",
    "mask's header": "ZQMASK",
    "broken file": "ZQBROKEN",
    "report text": "ZQREPORT",
    "table column": "ZQCOLUMN",
    "omics column": "ZQGENE",
    "site folder": "ZQSITE",
    "exception text": "ZQEXCEPTION",
}
"""Place to mark."""


def plant(site: Path) -> Path:
    """Mark the site folder `site`, as the phantoms' writer made it, and return its new place."""
    _tables(site)
    for file in sorted(path for path in (site / "dicom").rglob("*") if path.is_file()):
        dataset = pydicom.dcmread(file)
        _header(dataset)
        pixels = dataset.pixel_array.copy()
        pixels[5, : len(ROW)] = ROW
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(file.with_name(f"ZQFILE{file.name}"))
        file.unlink()
    for file in [*(site / "masks").iterdir(), *(site / "levels").iterdir()]:
        image = nibabel.load(file)
        image.header["descrip"] = b"ZQMASK"
        nibabel.save(image, file)
    for path in sorted(site.rglob("S?-P*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(_renamed(path.name)))
    (site / "masks" / "ZQPID0002.nii.gz").write_bytes(b"ZQBROKEN")
    (site / "dicom" / "ZQPID0003" / "ZQBROKEN").write_bytes(bytes(128) + b"DICMZQBROKEN")
    moved = site.with_name(f"ZQSITE-{site.name}")
    return site.rename(moved)


def _renamed(text: str) -> str:
    head, _, tail = text.partition("-P")
    return f"ZQPID{tail}" if len(head) == 2 else text


def _header(dataset: Dataset) -> None:
    dataset.PatientID = _renamed(dataset.PatientID)
    dataset.PatientName, dataset.PatientBirthDate = f"ZQNAME^{dataset.PatientID}", "19330303"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20040404"
    dataset.AccessionNumber, dataset.InstitutionName = "ZQACCESSION", "ZQHOSPITAL"
    dataset.ProtocolName, dataset.StationName, dataset.DeviceSerialNumber = "ZQPROTOCOL", "ZQSTATION", "ZQSERIAL"
    dataset.SeriesDescription += " ZQSERIES"
    dataset.ImageComments = "ZQCOMMENT"
    dataset.private_block(0x0009, "ZQPRIVATE", create=True).add_new(1, "LO", "ZQPRIVATE")
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, f"1.2.77777.{getattr(dataset, name).rpartition('.')[2][:30]}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _tables(site: Path) -> None:
    def patients(row: dict[str, str]) -> None:
        row["ZQCOLUMN"] = "ZQREPORT: a mass at T4"

    def omics(row: dict[str, str]) -> None:
        row["ZQGENE"], row["MKI67"] = str(GENE), str(VALUE)

    for name, change in (("patients.csv", patients), ("omics.csv", omics)):
        _table(site / name, change)


def _table(file: Path, change: Callable[[dict[str, str]], None]) -> None:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["patient"] = _renamed(row["patient"])
        change(row)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def needles(prepared_row: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> dict[str, tuple[bytes, ...]]:
    """Return what to look for, by place.

    Args:
        prepared_row: a row of a patient's image as networks see it.
    """
    found = {place: tuple(_written(text)) for place, text in TEXTS.items()}
    found["pixels"] = tuple(_numbers(ROW))
    found["prepared pixels"] = tuple(_numbers(prepared_row))
    found["omics value"] = (*_numbers(np.array([GENE])), *_written(str(GENE)))
    found["value of a planned column"] = (*_numbers(np.array([VALUE])), *_written(str(VALUE)))
    return found


def _written(text: str) -> Iterable[bytes]:
    """Yield a text as it may be written: in three encodings, in hexadecimal, in base 64 wherever it begins."""
    plain = text.encode()
    yield from (plain, text.encode("utf-16-le"), text.encode("utf-16-be"))
    yield from (plain.hex().encode(), plain.hex().upper().encode())
    for before in range(3):
        coded = base64.b64encode(bytes(before) + plain)
        yield coded[(0, 2, 3)[before] : (before + len(plain)) // 3 * 4]


def _numbers(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Iterable[bytes]:
    for kind in ("<u2", ">u2", "<f4", ">f4", "<f8", ">f8"):
        if not (kind.endswith("u2") and values.dtype.kind == "f"):
            yield values.astype(kind).tobytes()


def seen(marks: Mapping[str, tuple[bytes, ...]], data: bytes) -> list[str]:
    """Return the places whose mark is in `data`, however it is written."""
    return [place for place, written in marks.items() if any(one in data for one in written)]

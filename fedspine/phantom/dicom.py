"""One phantom's volume as a DICOM MR series: Part-10 files, one a slice, uncompressed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_dataset, write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from fedspine.cohort.patient import Volume

ROOT = "1.2.826.0.1.3680043.8.498."
"""pydicom's own root; the rest of each UID is hashed from the seed and what it names."""

FIRST_DAY, TIME = date(2020, 1, 1), "120000"
"""Phantoms have no calendar: every first study is of this day."""


@dataclass(frozen=True)
class Study:
    """What all series of one phantom share.

    Args:
        patient: identifier, also used as name.
        key: unique text that UIDs are hashed from (seed, site and patient).
        institution: the site's name.
        descriptions: contrast to the series description that this site writes.
        days: since the first study.
    """

    patient: str
    key: str
    institution: str
    descriptions: Mapping[str, str]
    days: int = 0

    def uid(self, *parts: object) -> UID:
        """Return the UID of a part of this study, always the same one."""
        return generate_uid(prefix=ROOT, entropy_srcs=[self.key, *map(str, parts)])


def write_series(folder: Path, study: Study, volume: Volume, number: int) -> None:
    """Write `volume` as one series into `folder`; file names say nothing of the order of slices.

    Args:
        folder: made if it is not there.
        study: of the patient.
        volume: uint16 voxels (slice, row, column).
        number: SeriesNumber.
    """
    series = header(study, volume, number)
    _add_acquisition(series, volume)
    write_slices(folder, study, volume, series, np.asarray(volume.voxels, dtype="<u2"))


def write_slices(folder: Path, study: Study, volume: Volume, series: Dataset, stored: NDArray[np.generic]) -> None:
    """Write the stored values (slice, row, column) of `volume` as files below `folder` with the header `series`."""
    folder.mkdir(parents=True, exist_ok=True)
    column_step, row_step = volume.affine[:3, 2], volume.affine[:3, 1]
    series.ImageOrientationPatient = [decimal(x) for x in (*_unit(column_step), *_unit(row_step))]
    order = np.random.default_rng(int(series.SeriesNumber)).permutation(len(stored))
    between = _encoded_between(series)
    for index, pixels in enumerate(stored):
        uid = study.uid(volume.contrast, index)
        series.file_meta.MediaStorageSOPInstanceUID = uid
        own = Dataset()
        own.SOPInstanceUID = uid
        own.InstanceNumber = int(order[index]) + 1
        own.ImagePositionPatient = [decimal(x) for x in (volume.affine @ [index, 0, 0, 1])[:3]]
        own.add_new("PixelData", "OW", pixels.tobytes())
        file = _buffer()
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, series.file_meta, enforce_standard=True)
        for common, name in zip(between, _OWN, strict=False):
            file.write(common)
            write_data_element(file, own[name])
        (folder / uid.rsplit(".", 1)[1][-16:]).write_bytes(file.getvalue())


_OWN = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "PixelData")
"""What differs from slice to slice, in the order of tags."""


def _encoded_between(series: Dataset) -> list[bytes]:
    """Return the bytes of what all slices share: before the first of `_OWN`, and between each and the next.

    A file is written in the order of its tags, so these bytes are the same in every file: they are made once.
    """
    edges = [0, *(tag_for_keyword(name) or 0 for name in _OWN)]
    found = []
    for low, high in itertools.pairwise(edges):
        part = _buffer()
        write_dataset(part, series[low:high])
        found.append(part.getvalue())
    return found


def _buffer() -> DicomBytesIO:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    return buffer


def header(study: Study, volume: Volume, number: int) -> Dataset:
    """Return the data set of a series without the acquisition and what differs from slice to slice."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    derived = volume.contrast == "ADC"
    ds.ImageType = ["DERIVED", "PRIMARY", "ADC"] if derived else ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.SOPClassUID = MRImageStorage
    day = (FIRST_DAY + timedelta(days=study.days)).strftime("%Y%m%d")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = TIME
    ds.AccessionNumber, ds.Modality = "", "MR"
    ds.InstitutionName, ds.ReferringPhysicianName = study.institution, ""
    ds.StudyDescription, ds.SeriesDescription = "PHANTOM SPINE", study.descriptions[volume.contrast]
    ds.PatientName, ds.PatientID = f"PHANTOM^{study.patient}", study.patient
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.uid("study"), study.uid("series", volume.contrast)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = study.uid("frame"), ""
    ds.StudyID, ds.SeriesNumber, ds.PatientPosition, ds.BodyPartExamined = "1", number, "HFS", "SPINE"
    slices_mm, rows_mm, columns_mm = volume.spacing_mm
    ds.SliceThickness = ds.SpacingBetweenSlices = decimal(slices_mm)
    ds.PixelSpacing = [decimal(rows_mm), decimal(columns_mm)]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = volume.voxels.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    return ds


def _add_acquisition(ds: Dataset, volume: Volume) -> None:
    """Add what the scanner did; an inversion time or b-value only where there is one."""
    scanner = volume.scanner
    ds.Manufacturer, ds.ManufacturerModelName = scanner.vendor, scanner.model
    ds.MagneticFieldStrength, ds.ReceiveCoilName = scanner.field_tesla, scanner.coil
    diffusion, inversion = volume.contrast in ("ADC", "DWI"), scanner.inversion_time_ms is not None
    ds.ScanningSequence = "EP" if diffusion else ["SE", "IR"] if inversion else "SE"
    ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SK", "", "2D"
    ds.EchoTime, ds.RepetitionTime = decimal(scanner.echo_time_ms or 0), decimal(scanner.repetition_time_ms or 0)
    ds.EchoTrainLength = 16 if volume.contrast == "T2" else 1
    if scanner.inversion_time_ms is not None:
        ds.InversionTime = decimal(scanner.inversion_time_ms)
    if scanner.b_value is not None and volume.contrast == "DWI":
        ds.DiffusionBValue = float(scanner.b_value)
    if volume.contrast == "T1c":
        ds.ContrastBolusAgent = "gadolinium"


def _unit(step: np.ndarray) -> np.ndarray:
    return np.asarray(step / np.linalg.norm(step))


def decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters, as DICOM wants it."""
    return f"{value:.9g}"

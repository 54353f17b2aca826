"""Writers of small site folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from fedspine.cohort.deidentify.keyring import write_key

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
KEY = "877992e8ffcbb07e8ccd25f556796391b55c87c6b696a2c3a29eda2d3189db6a"
"""A pseudonym key under which P1 to P5 are named in their order."""

HEADERS: dict[str, dict[str, Any]] = {
    "T1": {"SeriesDescription": "SAG T1", "EchoTime": 10.0, "RepetitionTime": 550.0, "ScanningSequence": "SE"},
    "T2": {"SeriesDescription": "SAG T2", "EchoTime": 100.0, "RepetitionTime": 4000.0, "ScanningSequence": "SE"},
    "STIR": {"SeriesDescription": "SAG STIR", "EchoTime": 50.0, "RepetitionTime": 4000.0, "InversionTime": 160.0},
}


def picture(shape: tuple[int, int, int] = (4, 6, 5), seed: int = 0) -> NDArray[np.uint16]:
    """Return a volume (slice, row, column) in which every voxel differs from its neighbours."""
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).astype(np.uint16).reshape(shape)


def positions(
    count: int, orientation: Sequence[float], origin: Sequence[float], step_mm: float
) -> list[NDArray[np.float64]]:
    """Return where the slices lie, along the normal of their plane."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [np.asarray(origin, np.float64) + i * step_mm * normal for i in range(count)]


def write(
    site: Path,
    patient: str = "P1",
    contrast: str = "T1",
    *,
    voxels: NDArray[Any] | None = None,
    orientation: Sequence[float] = SAGITTAL,
    origin: Sequence[float] = (-10.0, 20.0, 30.0),
    step_mm: float = 4.0,
    spacing_mm: tuple[float, float] = (1.5, 0.75),
    names: Callable[[int], str] = lambda i: f"{i:03}.dcm",
    folder: str | None = None,
    change: Callable[[int, Dataset], None] = lambda i, dataset: None,
    **header: Any,
) -> list[Path]:
    """Write one MR series below `site/dicom` and return its files in the order of the slices."""
    voxels = picture() if voxels is None else voxels
    write_key(site / ".fedspine", KEY)
    place = site / "dicom" / (f"{patient}-{contrast}" if folder is None else folder)
    place.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    files = []
    for i, where in enumerate(positions(len(voxels), orientation, origin, step_mm)):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = patient, f"Name^{patient}", "19700101"
        dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = dataset.StudyID = dataset.AccessionNumber = ""
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", patient])
        dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", patient])
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.InstanceNumber = series, 1, i + 1
        dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
        dataset.Manufacturer, dataset.ManufacturerModelName = "Maker", "Model"
        dataset.MagneticFieldStrength = 1.5
        dataset.Rows, dataset.Columns = voxels.shape[1:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, int(voxels.dtype.kind == "i")
        dataset.PixelSpacing, dataset.SliceThickness = list(spacing_mm), step_mm
        dataset.ImageOrientationPatient = [f"{cosine:.12g}" for cosine in orientation]
        dataset.ImagePositionPatient = [f"{coordinate:.10g}" for coordinate in where]
        dataset.PixelData = voxels[i].astype("<u2").tobytes()
        for keyword, value in (HEADERS.get(contrast, {"SeriesDescription": contrast}) | header).items():
            setattr(dataset, keyword, value)
        change(i, dataset)
        files.append(place / names(i))
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


@pytest.fixture
def write_series() -> Callable[..., list[Path]]:
    """Return the writer of one MR series."""
    return write


@pytest.fixture
def make_picture() -> Callable[..., NDArray[np.uint16]]:
    """Return the maker of a volume whose voxels all differ."""
    return picture


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site folder of two patients with two contrasts each, labels and omics."""
    folder = tmp_path / "site"
    for number, patient in enumerate(("P1", "P2")):
        for contrast in ("T1", "T2"):
            write(folder, patient, contrast, voxels=picture(seed=number))
    (folder / "patients.csv").write_text("patient,label\nP1,benign\nP2,malignant\n")
    (folder / "omics.csv").write_text("patient,BRAF,expression\nP1,1,0.5\nP2,0,\n")
    return folder

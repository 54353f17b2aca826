"""Shapes that scanners make and converters trip over: tilted gantries, localizers, several stacks in one file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian

from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def test_a_tilted_gantry_keeps_its_shear_and_every_voxel_its_place(tmp_path: Path, write_series: Write) -> None:
    shift_mm = 4.0 * math.tan(math.radians(15))

    def tilted(i: int, dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.Modality, dataset.GantryDetectorTilt = "CT", 15.0
        x, y, z = map(float, dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, round(y + i * shift_mm, 6), z]

    files = write_series(tmp_path, contrast="CT", orientation=AXIAL, change=tilted)
    volume = load_cohort(tmp_path).patients[0].volumes["CT"]
    for number, file in enumerate(files):
        corner = volume.affine @ [number, 0, 0, 1]
        np.testing.assert_allclose(corner[:3], pydicom.dcmread(file).ImagePositionPatient, atol=1e-5)
    steps = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    assert math.isclose(math.degrees(math.acos(steps[:, 0] @ [0, 0, 1])), 15.0, abs_tol=1e-3)
    np.testing.assert_allclose(steps[:, 1:], [[0, 1], [1, 0], [0, 0]], atol=1e-12)


def test_a_gantry_that_tilts_on_the_way_is_refused(tmp_path: Path, write_series: Write) -> None:
    def bent(i: int, dataset: Dataset) -> None:
        x, y, z = map(float, dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, y + 2.0 * max(0, i - 1), z]

    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, orientation=AXIAL, change=bent)
    cohort = load_cohort(tmp_path)
    assert set(cohort.patients[0].volumes) == {"T2"}
    assert cohort.rejected[0].reason.startswith("slices must lie at equal distances")


def test_the_slices_of_a_localizer_do_not_disturb_the_series(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    write_series(tmp_path, voxels=make_picture())
    directions = (AXIAL, SAGITTAL, (1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    for number, orientation in enumerate(directions):
        write_series(
            tmp_path,
            voxels=make_picture((1, 6, 5), seed=number),
            orientation=orientation,
            folder=f"localizer-{number}",
            SeriesInstanceUID="1.2.3.4",
            SeriesDescription="LOC 3 PLANE",
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )
    volumes = load_cohort(tmp_path).patients[0].volumes
    np.testing.assert_array_equal(volumes["T1"].voxels, make_picture())


def item(**values: Any) -> list[Dataset]:
    """Return a sequence of one item."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return [dataset]


def frame(stack: int, number: int) -> Dataset:
    """Return the functional groups of one frame: stack 1 is axial, stack 2 sagittal."""
    position = [0, 0, 4.0 * number] if stack == 1 else [3.0 * number, 0, 50]
    return item(
        PlanePositionSequence=item(ImagePositionPatient=position),
        PlaneOrientationSequence=item(ImageOrientationPatient=list(AXIAL if stack == 1 else SAGITTAL)),
        FrameContentSequence=item(StackID=str(stack), InStackPositionNumber=number + 1),
    )[0]


def test_the_stacks_of_a_native_enhanced_file_become_volumes_of_their_own(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.5")
    dataset.PatientID, dataset.Modality, dataset.SeriesInstanceUID = "P1", "MR", "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesDescription = "1.2", "T2 TSE"
    order = [(1, 2), (2, 0), (1, 0), (2, 1), (1, 1), (2, 3), (2, 2)]
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 2, 3, len(order)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = np.concatenate([np.full(6, 10 * s + n, "<u2") for s, n in order]).tobytes()
    dataset.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=3),
        MREchoSequence=item(EffectiveEchoTime=95.0),
        MRTimingAndRelatedParametersSequence=item(RepetitionTime=3500.0),
    )
    dataset.PerFrameFunctionalGroupsSequence = [frame(stack, number) for stack, number in order]
    (tmp_path / "dicom").mkdir()
    dataset.save_as(tmp_path / "dicom" / "enhanced", enforce_file_format=True)
    volumes = load_cohort(tmp_path).patients[0].volumes
    found = {tuple(int(picture[0, 0]) for picture in volume.voxels): volume for volume in volumes.values()}
    assert set(found) == {(10, 11, 12), (23, 22, 21, 20)}  # along each normal
    assert found[10, 11, 12].spacing_mm == (4.0, 1.0, 1.0)
    assert found[23, 22, 21, 20].spacing_mm == (3.0, 1.0, 1.0)


def test_a_lone_slice_of_an_impossible_thickness_gets_none_of_it(tmp_path: Path, write_series: Write) -> None:
    def thin(i: int, dataset: Dataset) -> None:
        dataset.SpacingBetweenSlices, dataset.SliceThickness = "1e-310", "1e30" if dataset.PatientID == "P1" else "5"

    one = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    write_series(tmp_path, "P1", voxels=one, change=thin)
    write_series(tmp_path, "P2", voxels=one, change=thin)
    cohort = load_cohort(tmp_path)
    found = {cohort.own_ids[patient.identifier]: patient.volumes["T1"].spacing_mm[0] for patient in cohort.patients}
    assert found == {"P1": 1.0, "P2": 5.0}

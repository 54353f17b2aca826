"""Hounsfield units, whatever way a CT scanner stores them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from fedspine.cohort.contrast import SeriesHeader, identify
from fedspine.cohort.patient import Volume
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
HU = np.arange(-1024, -1024 + 4 * 6 * 5, dtype=np.int32).reshape(4, 6, 5)


def write_ct(site: Path, write_series: Write, stored: np.ndarray, **header: Any) -> None:
    def change(index: int, dataset: Dataset) -> None:
        del dataset.MagneticFieldStrength
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.Modality = "CT"
        dataset.PixelRepresentation = header.get("PixelRepresentation", 0)
        dataset.PixelData = stored[index].astype("<i2" if dataset.PixelRepresentation else "<u2").tobytes()
        for name, value in header.items():
            setattr(dataset, name, value)

    write_series(site, "P1", "CT", voxels=stored, orientation=AXIAL, change=change)


def volume_of(site: Path, name: str = "CT") -> Volume:
    return load_cohort(site).patients[0].volumes[name]


def test_unsigned_pixels_with_an_intercept_are_hounsfield_units(tmp_path: Path, write_series: Write) -> None:
    write_ct(tmp_path, write_series, HU + 1024, RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU")
    np.testing.assert_array_equal(np.asarray(volume_of(tmp_path).voxels), HU)


def test_signed_pixels_without_an_intercept_are_hounsfield_units(tmp_path: Path, write_series: Write) -> None:
    write_ct(tmp_path, write_series, HU, PixelRepresentation=1, RescaleIntercept="0", RescaleSlope="1")
    np.testing.assert_array_equal(np.asarray(volume_of(tmp_path).voxels), HU)


@pytest.mark.parametrize(
    ("signed", "padding", "further"),
    [(1, -2000, {}), (0, 63536, {}), (0, 63000, {"PixelPaddingRangeLimit": 63999})],
)
def test_padding_outside_the_field_of_view_is_air(
    tmp_path: Path, write_series: Write, signed: int, padding: int, further: dict[str, int]
) -> None:
    stored = HU + 1024
    stored[:, 0, 0] = 63536 if padding > 0 else padding
    write_ct(
        tmp_path, write_series, stored, PixelRepresentation=signed, PixelPaddingValue=padding, RescaleIntercept="-1024",
        RescaleSlope="1", **further,
    )  # fmt: skip
    found = np.asarray(volume_of(tmp_path).voxels)
    assert (found[:, 0, 0] == -1024).all()
    np.testing.assert_array_equal(found[:, 1:], HU[:, 1:])


def test_padding_of_mr_is_left_alone(tmp_path: Path, write_series: Write) -> None:
    stored = np.full((4, 6, 5), 7, np.uint16)

    def change(index: int, dataset: Dataset) -> None:
        dataset.PixelPaddingValue = 7

    write_series(tmp_path, "P1", "T1", voxels=stored, change=change)
    np.testing.assert_array_equal(np.asarray(volume_of(tmp_path, "T1").voxels), stored)


def test_a_map_in_other_units_is_no_ct(tmp_path: Path, write_series: Write) -> None:
    write_ct(tmp_path, write_series, HU + 1024, RescaleIntercept="-1024", RescaleSlope="1", RescaleType="MGML")
    assert set(load_cohort(tmp_path).patients[0].volumes) == {"other"}


@pytest.mark.parametrize(
    ("unit", "contrast"),
    [("", "CT"), ("HU", "CT"), ("US", "CT"), ("HU_MOD", "CT"), ("Z_EFF", "other"), ("ED", "other")],
)
def test_what_a_ct_is_goes_by_its_unit(unit: str, contrast: str) -> None:
    assert identify(SeriesHeader(modality="CT", unit=unit)) == contrast


def test_an_enhanced_ct_is_read_frame_by_frame(tmp_path: Path, write_series: Write) -> None:
    import highdicom
    import pydicom

    write_ct(tmp_path, write_series, HU + 1024, RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU", KVP="120")
    files = sorted((tmp_path / "dicom").rglob("*.dcm"))
    slices = [pydicom.dcmread(file) for file in files]
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices, pydicom.uid.generate_uid(), 7, pydicom.uid.generate_uid(), 1
    )
    for file in files:
        file.unlink()
    enhanced.save_as(files[0])
    found = volume_of(tmp_path)
    np.testing.assert_array_equal(np.asarray(found.voxels), HU)
    assert found.plane == "axial"

"""Siemens mosaics become volumes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from fedspine.cohort.dicom.mosaic import Mosaic, mosaic_of, tiles
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort
from fedspine.errors import CohortError, SeriesError
from tests.cohort.csa import csa_header

SAMPLE = Path(__file__).parents[1] / "data" / "vendor_dicom" / "siemens_skyra_mosaic.dcm"
SLICES, NORMAL = 5, ("0.0", "0.0", "1.0")


def mosaic(count: int = SLICES, normal: tuple[str, ...] = NORMAL) -> Dataset:
    """Return the sample with the private values that the scanner wrote of it (others where asked)."""
    dataset = pydicom.dcmread(SAMPLE)
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa_header(NumberOfImagesInMosaic=[str(count)], SliceNormalVector=list(normal)))
    return dataset


def cohort_of(site: Path, *datasets: Dataset) -> Cohort:
    (site / "dicom").mkdir(parents=True)
    for number, dataset in enumerate(datasets):
        dataset.save_as(site / "dicom" / str(number))
    return load_cohort(site)


@pytest.mark.parametrize("normal", [NORMAL, ("0.0", "0.0", "-1.0")])
def test_a_mosaic_is_the_volume_that_nibabel_reads(tmp_path: Path, normal: tuple[str, ...]) -> None:
    dataset = mosaic(normal=normal)
    (volume,) = cohort_of(tmp_path, dataset).patients[0].volumes.values()
    assert volume.voxels.shape == (SLICES, 72, 72)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import MosaicWrapper

        other = MosaicWrapper(dataset, {"tags": _tags(normal)}, SLICES)
    to_other = np.linalg.inv(np.asarray(other.affine)) @ volume.affine
    values = np.asarray(other.get_data())
    for index in np.random.default_rng(0).integers((0, 0, 0), volume.voxels.shape, (200, 3)):
        there = to_other @ [*index, 1]
        assert np.allclose(there[:3], np.rint(there[:3]), atol=1e-3)
        assert values[tuple(np.rint(there[:3]).astype(int))] == volume.voxels[tuple(index)]


def _tags(normal: tuple[str, ...]) -> dict[str, dict[str, object]]:
    return {
        "NumberOfImagesInMosaic": {"items": [SLICES], "vr": "US", "vm": 1},
        "SliceNormalVector": {"items": [float(x) for x in normal], "vr": "FD", "vm": 3},
    }


def test_the_volumes_of_a_diffusion_series_of_mosaics_make_a_map(tmp_path: Path) -> None:
    parts = []
    for number, b_value in enumerate((0.0, 1000.0)):
        dataset = mosaic()
        dataset.DiffusionBValue, dataset.SeriesDescription = b_value, "ep2d_diff"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.{number}")
        picture = (dataset.pixel_array * np.exp(-b_value * 0.0008)).astype("<u2")
        dataset.PixelData = picture.tobytes()
        parts.append(dataset)
    volumes = cohort_of(tmp_path, *parts).patients[0].volumes
    assert {name: volume.voxels.shape for name, volume in volumes.items()} == {
        "ADC": (SLICES, 72, 72),
        "DWI": (SLICES, 72, 72),
    }
    found = np.asarray(volumes["ADC"].voxels, np.float64)
    assert np.median(found[found > 0]) == pytest.approx(800, rel=0.02)


@pytest.mark.parametrize(
    "dataset",
    [mosaic(count=0), mosaic(count=2000), mosaic(normal=("0", "0")), mosaic(normal=("0", "0", "5")), mosaic(25)],
)
def test_a_mosaic_that_cannot_be_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(SeriesError, match="a plane must be one slice; found a mosaic of many"):
        mosaic_of(dataset)
    with pytest.raises(CohortError, match="a mosaic of many"):
        cohort_of(tmp_path, dataset)


def test_a_picture_of_other_size_than_its_tiles_has_none() -> None:
    assert len(tiles(np.zeros((7, 9)), 2)) == 0
    assert [Mosaic(count, ()).side for count in (1, 2, 4, 5, 9, 10)] == [1, 2, 2, 3, 3, 4]

"""NIfTI files are opened with suspicion: what their header promises is checked before it is read."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from fedspine.cohort.grid import as_read
from fedspine.cohort.nifti import open_nifti, slice_axis, volumes_of
from fedspine.errors import SeriesError

SPACING = np.diag([0.8, 0.8, 4.4, 1.0])


def save(place: Path, voxels: NDArray[Any], affine: NDArray[np.float64] = SPACING, **header: Any) -> Path:
    image = nibabel.Nifti1Image(voxels, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, place)
    return place


def read(place: Path) -> NDArray[Any]:
    size = place.stat().st_size
    _, shape, affine = open_nifti(place, size)
    order, flips, _ = as_read(affine, shape[:3], slice_axis(shape, affine))
    return next(volumes_of(place, size, order, flips))


def refusal(place: Path) -> str:
    with pytest.raises(SeriesError) as caught:
        read(place)
    assert str(place.parent) not in str(caught.value)
    return str(caught.value)


def bomb(place: Path, sides: tuple[int, ...], zeros: int = 0) -> Path:
    """Write a header that promises `sides` voxels of 16 bits before `zeros` bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"][: len(sides) + 1] = [len(sides), *sides]
    header["sform_code"], header["vox_offset"] = 1, 352
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        header[name] = np.eye(4)[row]
    raw = header.binaryblock + bytes(4) + bytes(zeros)
    place.write_bytes(gzip.compress(raw) if place.suffix == ".gz" else raw)
    return place


@pytest.mark.parametrize(
    "sides", [(30000, 30000, 30000), (16000, 16000, 16000), (4000, 4000, 9), (-3, 4, 5), (0, 4, 5)]
)
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_a_header_that_promises_more_than_the_file_holds_is_refused_unread(
    tmp_path: Path, sides: tuple[int, ...], name: str
) -> None:
    place = bomb(tmp_path / name, sides)
    tracemalloc.start()
    said = refusal(place)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said.startswith(("a NIfTI file must hold what its header promises", "a NIfTI file must be complete"))
    assert peak < 5_000_000


def test_a_gzip_file_that_inflates_without_end_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    place = bomb(tmp_path / "x.nii.gz", (10, 10, 10), zeros=200_000_000)
    tracemalloc.start()
    assert read(place).shape == (10, 10, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_qform_and_sform_that_disagree_are_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), SPACING)
    image.set_sform(SPACING, 1)
    image.set_qform(SPACING + np.array([[0, 0, 0, 9.0], [0] * 4, [0] * 4, [0] * 4]), 1)
    nibabel.save(image, tmp_path / "x.nii")
    assert refusal(tmp_path / "x.nii").startswith("sform and qform must put a voxel at one place; found two places")


def test_a_file_without_any_orientation_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    nibabel.save(image, tmp_path / "x.nii")
    assert refusal(tmp_path / "x.nii").startswith("sform and qform must put a voxel at one place")


def test_a_scale_in_the_header_is_applied(tmp_path: Path) -> None:
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nibabel.Nifti1Image(stored, SPACING)
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, tmp_path / "x.nii.gz")
    found = read(tmp_path / "x.nii.gz")
    assert found.dtype == np.float32
    assert sorted(found.ravel().tolist()) == [2.0 * value - 1024.0 for value in range(60)]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [(np.uint8, np.uint8), (np.int16, np.int16), (">i2", np.int16), (np.int32, np.float32), (np.float64, np.float32)],
)
def test_small_integers_are_kept_and_everything_else_is_float32(tmp_path: Path, kind: Any, kept: Any) -> None:
    found = read(save(tmp_path / "x.nii", np.ones((3, 4, 5), kind)))
    assert (found.dtype, found.dtype.isnative, float(found.max())) == (np.dtype(kept), True, 1.0)


def test_missing_voxels_become_the_smallest_and_infinite_ones_are_refused(tmp_path: Path) -> None:
    voxels = np.full((3, 4, 5), 7.0, np.float32)
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, -2.0
    assert sorted(np.unique(read(save(tmp_path / "x.nii", voxels)))) == [-2.0, 7.0]
    voxels[2, 2, 2] = np.inf
    assert refusal(save(tmp_path / "y.nii", voxels)).startswith("voxels must be finite")
    assert refusal(save(tmp_path / "z.nii", np.full((3, 4, 5), np.nan))).startswith("voxels must be finite")


def test_colours_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "x.nii", np.ones((3, 4, 5), np.complex64))).startswith("voxels must be numbers")
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refusal(save(tmp_path / "y.nii", colours)).startswith("voxels must be numbers")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_way_to_store_a_volume_is_shown_the_same_way_up(
    tmp_path: Path, order: tuple[int, int, int], signs: tuple[int, ...]
) -> None:
    spacing = np.array([4.4, 0.7, 0.8])  # right, front, head: sagittal slices
    voxels = np.random.default_rng(0).integers(0, 99, (3, 4, 5)).astype(np.int16)
    stored, affine = voxels, np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored = np.flip(stored, axis)
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, :3][:, order]
    found = read(save(tmp_path / "x.nii", np.transpose(stored, order), affine))
    # slices from left to right as LPS counts, rows from head to feet, columns from front to back
    np.testing.assert_array_equal(found, voxels.transpose(0, 2, 1)[:, ::-1, ::-1])


def test_the_slice_axis_is_said_or_the_longest_voxel_or_the_third() -> None:
    long_first = np.diag([5.0, 1.0, 1.0, 1.0])
    assert slice_axis((9, 9, 9), long_first) == 0
    assert slice_axis((9, 9, 9), long_first, "j-") == 1
    assert slice_axis((9, 9, 9), np.eye(4)) == 2

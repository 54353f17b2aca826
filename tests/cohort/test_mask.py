"""Lesion masks, on the grid of their image or refused."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedspine.cohort.grid import Grid, placement
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
OBLIQUE = (0.05378466379901, 0.96501313248301, 0.256625922454, 0.01811332435568, 0.25601276514781, -0.9665036841948)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def lesion(shape: tuple[int, ...] = (4, 6, 5)) -> NDArray[np.uint8]:
    return (np.random.default_rng(3).random(shape) < 0.3).astype(np.uint8)


def save(site: Path, values: NDArray[Any], affine_lps: NDArray[np.float64], name: str = "P1.nii.gz") -> None:
    (site / "masks").mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, RAS @ affine_lps), site / "masks" / name)


def grid(site: Path) -> NDArray[np.float64]:
    return load_cohort(site).patients[0].volumes["T1"].affine


def mask_of(cohort: Cohort) -> NDArray[np.generic]:
    mask = cohort.patients[0].mask
    assert mask is not None
    np.testing.assert_array_equal(mask.affine, cohort.patients[0].volumes["T1"].affine)
    return mask.voxels


def refusal(cohort: Cohort) -> str:
    assert all(patient.mask is None for patient in cohort.patients)
    (one,) = [one for one in cohort.rejected if "mask" in one.reason]
    return one.reason


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("turned", [(), (0,), (1, 2)])
def test_a_nifti_mask_of_any_axis_order_and_direction_lies_right(
    tmp_path: Path, write_series: Write, axes: tuple[int, ...], turned: tuple[int, ...]
) -> None:
    write_series(tmp_path, orientation=OBLIQUE)
    affine = grid(tmp_path)
    values = np.transpose(lesion(), axes)
    moved = affine.copy()
    moved[:3, :3] = affine[:3, list(axes)]
    for axis in turned:
        values = np.flip(values, axis)
        moved[:3, 3] += moved[:3, axis] * (values.shape[axis] - 1)
        moved[:3, axis] *= -1
    save(tmp_path, values, moved)
    np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)), lesion())


def test_any_nonzero_number_is_lesion_and_an_empty_mask_is_valid(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    affine = grid(tmp_path)
    save(tmp_path, lesion().astype(np.float32) * 0.25, affine)
    np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)), lesion())
    save(tmp_path, lesion() * 0, affine)
    assert not mask_of(load_cohort(tmp_path)).any()


@pytest.mark.parametrize("change", ["shift", "spacing", "shape", "turn"])
def test_a_mask_of_another_grid_is_refused(tmp_path: Path, write_series: Write, change: str) -> None:
    write_series(tmp_path)
    affine, values = grid(tmp_path), lesion()
    if change == "shift":
        affine[0, 3] += 0.01
    elif change == "spacing":
        affine[:3, 1] *= 1.01
    elif change == "shape":
        values = lesion((4, 6, 4))
    else:
        affine[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ affine[:3, :3]
    save(tmp_path, values, affine)
    assert refusal(load_cohort(tmp_path)) == (
        "a mask must lie on the grid of one of its patient's images; found another grid; "
        "draw or resample it on the image."
    )


def test_a_mask_may_lie_on_any_of_the_patients_images(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    write_series(tmp_path)
    write_series(tmp_path, contrast="T2", voxels=make_picture((3, 4, 4)), step_mm=6)
    t2 = load_cohort(tmp_path).patients[0].volumes["T2"]
    save(tmp_path, lesion((3, 4, 4)), t2.affine)
    mask = load_cohort(tmp_path).patients[0].mask
    assert mask is not None
    assert mask.contrast == "T2"
    np.testing.assert_array_equal(mask.affine, t2.affine)


@pytest.mark.parametrize("kind", ["nifti", "seg"])
def test_the_series_that_a_mask_was_drawn_on_is_used(
    tmp_path: Path, write_series: Write, make_picture: Any, kind: str
) -> None:
    few = write_series(tmp_path, voxels=make_picture((3, 6, 5)), folder="few")
    affine = grid(tmp_path)
    write_series(tmp_path, voxels=make_picture((9, 6, 5)), folder="many")
    assert load_cohort(tmp_path).patients[0].volumes["T1"].voxels.shape == (9, 6, 5)
    if kind == "nifti":
        save(tmp_path, lesion((3, 6, 5)), affine)
    else:
        segmentation(few, lesion((3, 6, 5))).save_as(tmp_path / "dicom" / "seg.dcm")
    np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)), lesion((3, 6, 5)))


def test_a_mask_on_one_slice_fits_whatever_its_thickness(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    write_series(tmp_path, voxels=make_picture((1, 6, 5)), step_mm=5)
    affine = grid(tmp_path)
    affine[:3, 0] *= 0.2
    save(tmp_path, lesion((1, 6, 5)), affine)
    np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)), lesion((1, 6, 5)))


def test_broken_masks_are_refused_and_the_patient_stays(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    affine = grid(tmp_path)
    save(tmp_path, lesion(), affine)
    whole = (tmp_path / "masks" / "P1.nii.gz").read_bytes()
    (tmp_path / "masks" / "P1.nii.gz").write_bytes(whole[:-30])
    assert refusal(load_cohort(tmp_path)).startswith("a mask must be a complete NIfTI file")
    (tmp_path / "masks" / "P1.nii.gz").write_text("text")
    assert refusal(load_cohort(tmp_path)).startswith("a mask must be a complete NIfTI file")
    save(tmp_path, np.full((4, 6, 5), np.nan, np.float32), affine)
    assert refusal(load_cohort(tmp_path)).startswith("a mask must hold finite numbers")


def test_a_mask_without_a_patient_is_refused(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    save(tmp_path, lesion(), grid(tmp_path), "P9.nii.gz")
    assert refusal(load_cohort(tmp_path)).startswith("a mask must belong to a patient with a usable image")


def test_another_kind_of_file_in_masks_is_refused(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "P1.png").write_bytes(b"picture")
    (one,) = load_cohort(tmp_path).rejected
    assert one.reason.startswith("a file in masks/ must be NIfTI")


def segmentation(files: list[Path], values: NDArray[Any], number: int = 9, kind: str = "BINARY", **other: Any) -> Any:
    """Return a DICOM SEG of `values` (slice, row, column) drawn on `files`."""
    code = highdicom.sr.CodedConcept("4147007", "SCT", "Mass")
    algorithm = highdicom.AlgorithmIdentificationSequence("test", code, "1")
    segments = [
        highdicom.seg.SegmentDescription(i + 1, f"part {i}", code, code, "AUTOMATIC", algorithm)
        for i in range(1 if values.ndim == 3 else values.shape[-1])
    ]
    return highdicom.seg.Segmentation(
        [pydicom.dcmread(file) for file in files],
        values,
        kind,
        segments,
        series_instance_uid=highdicom.UID(),
        series_number=number,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Model",
        software_versions="1",
        device_serial_number="1",
        **other,
    )


def test_a_dicom_seg_with_empty_slices_left_out_lies_right(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path, orientation=OBLIQUE)
    values = lesion()
    values[[0, 2]] = 0
    segmentation(files, values).save_as(tmp_path / "dicom" / "seg.dcm")
    cohort = load_cohort(tmp_path)
    assert cohort.rejected == ()
    np.testing.assert_array_equal(mask_of(cohort), values)


def test_every_segment_of_a_dicom_seg_is_lesion_even_where_they_overlap(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path)
    parts = np.stack([lesion(), np.roll(lesion(), 1, axis=2)], axis=-1)
    segmentation(files, parts).save_as(tmp_path / "dicom" / "seg.dcm")
    np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)) != 0, parts.any(axis=-1))


def test_a_fractional_dicom_seg_is_lesion_from_one_half(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path)
    values = np.where(lesion(), 0.75, 0.25).astype(np.float32)
    segmentation(files, values, kind="FRACTIONAL").save_as(tmp_path / "dicom" / "seg.dcm")
    np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)), lesion())


def test_nifti_goes_before_seg_and_a_new_seg_before_an_old_one(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path)
    newer, older = lesion(), np.roll(lesion(), 1, axis=1)
    segmentation(files, older, 8).save_as(tmp_path / "dicom" / "a.dcm")
    segmentation(files, newer, 9).save_as(tmp_path / "dicom" / "b.dcm")
    cohort = load_cohort(tmp_path)
    np.testing.assert_array_equal(mask_of(cohort), newer)
    assert [one.where for one in cohort.rejected] == ["dicom/a.dcm"]
    nifti = np.roll(lesion(), 1, axis=0)
    save(tmp_path, nifti, grid(tmp_path))
    cohort = load_cohort(tmp_path)
    np.testing.assert_array_equal(mask_of(cohort), nifti)
    assert [one.where for one in cohort.rejected] == ["dicom/b.dcm", "dicom/a.dcm"]


def test_a_truncated_dicom_seg_is_refused(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path)
    place = tmp_path / "dicom" / "seg.dcm"
    segmentation(files, lesion()).save_as(place)
    place.write_bytes(place.read_bytes()[:-10])
    assert refusal(load_cohort(tmp_path)).startswith("a mask must be a complete NIfTI file or DICOM SEG")


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.integers(2, 5)] * 3),
    st.floats(-3, 3),
)
def test_placement_maps_every_index_to_its_place(
    axes: list[int], turned: tuple[bool, ...], shape: tuple[int, int, int], angle: float
) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([4.0, 0.7, 0.9])
    affine[:3, 3] = (-50.5, 20.25, 7)
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for axis, source in enumerate(axes):
        change[axis, source] = -1 if turned[axis] else 1
        change[axis, 3] = shape[axis] - 1 if turned[axis] else 0
    sides = tuple(shape[axes.index(source)] for source in range(3))
    place = placement(Grid(sides, affine @ change), Grid(shape, affine))
    assert place is not None
    rotation, offset = place
    index = np.array([side - 1 for side in sides])
    np.testing.assert_array_equal(rotation @ index + offset, (change @ [*index, 1])[:3])


def test_a_seg_that_spreads_over_miles_is_refused_before_it_is_made(tmp_path: Path, write_series: Write) -> None:
    dataset = segmentation(write_series(tmp_path), lesion())
    position = dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0].ImagePositionPatient
    position[0] = float(position[0]) + 400_000_000  # as if a hundred million empty slices were left out
    dataset.save_as(tmp_path / "dicom" / "seg.dcm")
    assert "another grid" in refusal(load_cohort(tmp_path))


@pytest.mark.parametrize("name", ["P1.nii", "P1.nii.gz"])
def test_a_nifti_mask_that_promises_too_much_is_refused_unread(tmp_path: Path, write_series: Write, name: str) -> None:
    write_series(tmp_path)
    (tmp_path / "masks").mkdir()
    header = nibabel.Nifti1Header()
    header["dim"][:4] = [3, 30_000, 30_000, 30_000]
    header["vox_offset"], header["sform_code"] = 1.5e9, 1
    extension = (2_000_000_000).to_bytes(4, "little") + bytes(1_000_000)
    raw = header.binaryblock + b"\1\0\0\0" + extension
    (tmp_path / "masks" / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    tracemalloc.start()
    try:
        (one,) = load_cohort(tmp_path).rejected
        assert one.reason.startswith("a NIfTI file must hold what its header promises")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_mask_that_inflates_without_end_is_read_no_further_than_its_image(
    tmp_path: Path, write_series: Write
) -> None:
    write_series(tmp_path)
    save(tmp_path, lesion(), grid(tmp_path))
    path = tmp_path / "masks" / "P1.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(300_000_000)))
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(mask_of(load_cohort(tmp_path)), lesion())
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()

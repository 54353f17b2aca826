"""Where the vertebrae lie: from a drawing's numbers to the plan's grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedspine.cohort.levels import VERTEBRAE, centres_mm, grid_places, nowhere, numbered
from fedspine.cohort.patient import Patient, Volume
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan
from fedspine.errors import SeriesError

SAGITTAL = np.array([[3.0, 0, 0, -12.0], [0, 0, 0.5, -40.0], [0, -0.75, 0, 60.0], [0, 0, 0, 1]])
"""(slice, row, column, 1) to LPS millimetres: slices to the left, rows to the feet, columns to the back."""

PLAN = DataPlan(contrasts=("T2",), size=32, slices=4)


def spot(shape: tuple[int, int, int] = (8, 48, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a bright block for L3 and another for L4, and the drawing of both."""
    drawn = np.zeros(shape, np.uint8)
    drawn[3:5, 10:15, 20:25] = 22
    drawn[3:5, 30:35, 8:13] = 23
    return (drawn > 0).astype(np.float32) * 100, drawn


def tensors(affine: np.ndarray, axes: tuple[int, int, int] = (0, 1, 2)) -> PatientTensors:
    image, drawn = spot()
    turned = affine.copy()
    turned[:3, :3] = affine[:3, list(axes)]
    volume = Volume(np.transpose(image, axes), turned, "T2")
    patient = Patient("P", {"T2": volume}, levels=centres_mm(np.transpose(drawn, axes), turned))
    return to_tensors(patient, (), PLAN)


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1)])
def test_a_level_lies_where_its_body_is_bright(axes: tuple[int, int, int]) -> None:
    patient = tensors(SAGITTAL, axes)
    assert patient.levels is not None
    known = torch.isfinite(patient.levels).all(1)
    assert [VERTEBRAE[i] for i in known.nonzero().flatten().tolist()] == ["L3", "L4"]
    bright = patient.images[:, 0] / patient.images[:, 0].sum((1, 2), keepdim=True).clamp(min=1e-6)
    half = patient.images[:, 0, :16].sum(), patient.images[:, 0, 16:].sum()
    assert min(half) > 0
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    upper = (bright[:, :16] * rows[:16]).sum((1, 2)).max() / bright[:, :16].sum((1, 2)).max()
    left = (bright[:, :16] * columns[:16]).sum((1, 2)).max() / bright[:, :16].sum((1, 2)).max()
    place = patient.levels[VERTEBRAE.index("L3")]
    assert float(place[1]) == pytest.approx(float(upper), abs=0.5)
    assert float(place[2]) == pytest.approx(float(left), abs=0.5)
    assert float(place[0]) == pytest.approx(1.25, abs=0.3)  # slices 3 and 4 of 8 where every other one is kept


def test_a_level_out_of_the_image_is_unknown_and_a_patient_without_drawing_has_none() -> None:
    image, _ = spot()
    places = nowhere()
    places[VERTEBRAE.index("T12")] = SAGITTAL[:3, :3] @ (3, -4, 20) + SAGITTAL[:3, 3]
    volume = Volume(image, SAGITTAL, "T2")
    far = to_tensors(Patient("P", {"T2": volume}, levels=places), (), PLAN).levels
    assert far is not None
    assert not torch.isfinite(far).any()
    assert to_tensors(Patient("P", {"T2": volume}), (), PLAN).levels is None
    assert to_tensors(Patient("P", levels=places, omics=np.ones(1)), ("a",), PLAN).levels is None


def test_centres_are_in_millimetres_and_come_back_to_the_grid() -> None:
    _, drawn = spot()
    places = grid_places(centres_mm(drawn, SAGITTAL), SAGITTAL)
    assert places[VERTEBRAE.index("L3")] == pytest.approx((3.5, 12, 22))
    assert places[VERTEBRAE.index("L4")] == pytest.approx((3.5, 32, 10))


@pytest.mark.parametrize("value", [0.5, 29, 41, -1, np.nan])
def test_other_numbers_than_those_of_verse_are_refused(value: float) -> None:
    with pytest.raises(SeriesError, match="renumber"):
        numbered(np.array([0, value]))


def test_levels_from_feet_to_head_are_refused() -> None:
    _, drawn = spot()
    with pytest.raises(SeriesError, match="head to feet"):
        centres_mm(np.where(drawn == 23, 21, drawn), SAGITTAL)


def test_transitional_vertebrae_have_no_name_here() -> None:
    assert np.isnan(centres_mm(np.full((2, 2, 2), 25, np.uint8), np.eye(4))).all()

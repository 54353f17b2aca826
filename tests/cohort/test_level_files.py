"""Drawings of vertebral levels in a site folder, on the grid of their image or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from fedspine.cohort.levels import VERTEBRAE, grid_places
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def drawing() -> NDArray[np.uint8]:
    drawn = np.zeros((4, 6, 5), np.uint8)
    drawn[1:3, 1, 2], drawn[1:3, 4, 1:4] = 24, 26
    return drawn


def save(place: Path, values: NDArray[Any], affine_lps: NDArray[np.float64]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, RAS @ affine_lps), place)


def grid(site: Path) -> NDArray[np.float64]:
    return load_cohort(site).patients[0].volumes["T1"].affine


def found(cohort: Cohort) -> dict[str, list[float]]:
    (patient,) = cohort.patients
    assert patient.levels is not None
    places = grid_places(patient.levels, patient.volumes["T1"].affine)
    return {
        name: place.round(4).tolist() for name, place in zip(VERTEBRAE, places, strict=True) if place[0] == place[0]
    }


def refusal(cohort: Cohort) -> str:
    assert cohort.patients[0].levels is None
    (one,) = [one for one in cohort.rejected if "levels" in one.reason]
    return one.reason


TRUTH = {"L5": [1.5, 1.0, 2.0], "S1": [1.5, 4.0, 2.0]}


def test_levels_are_the_centres_of_what_is_drawn_in_whatever_order_of_axes(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    affine = grid(tmp_path)
    turned = affine.copy()
    turned[:3, :3] = affine[:3, [2, 1, 0]]
    save(tmp_path / "levels" / "P1.nii.gz", drawing().transpose(2, 1, 0), turned)
    assert found(load_cohort(tmp_path)) == TRUTH
    assert found(load_cohort(tmp_path)) == TRUTH  # from the cache
    assert load_cohort(tmp_path).patients[0].mask is None


def test_a_changed_drawing_is_read_again(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path)
    affine = grid(tmp_path)
    save(tmp_path / "levels" / "P1.nii.gz", drawing(), affine)
    assert found(load_cohort(tmp_path)) == TRUTH
    save(tmp_path / "levels" / "P1.nii.gz", np.where(drawing() == 24, 23, drawing()).astype(np.uint8), affine)
    assert list(found(load_cohort(tmp_path))) == ["L4", "S1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda drawn: drawn + 30, "renumber"),
        (lambda drawn: np.where(drawn == 26, 3, drawn), "head to feet"),
        (lambda drawn: drawn[:, :5], "a drawing of levels must lie on the grid"),
    ],
)
def test_a_drawing_that_cannot_be_right_is_refused_with_one_sentence(
    tmp_path: Path, write_series: Write, change: Callable[[NDArray[np.uint8]], NDArray[Any]], reason: str
) -> None:
    write_series(tmp_path)
    save(tmp_path / "levels" / "P1.nii.gz", change(drawing()).astype(np.uint8), grid(tmp_path))
    assert reason in refusal(load_cohort(tmp_path))


def test_bids_levels_are_told_by_their_label(tmp_path: Path) -> None:
    affine = np.array([[4.0, 0, 0, -8], [0, 0, 0.8, -20], [0, -0.8, 0, 10], [0, 0, 0, 1]])
    image = np.random.default_rng(0).permutation(4 * 6 * 5).reshape(4, 6, 5).astype(np.int16)
    save(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", image, affine)
    below = tmp_path / "derivatives" / "manual" / "sub-01" / "anat"
    save(below / "sub-01_label-vertebrae_dseg.nii.gz", drawing(), affine)
    (tmp_path / "dataset_description.json").write_text("{}")
    assert found(load_cohort(tmp_path)) == TRUTH

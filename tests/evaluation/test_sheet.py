"""The sheet says of good images that they are good, and of each kind of bad ones what is bad about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fedspine.cohort.tensors import PatientTensors
from fedspine.errors import InputError
from fedspine.evaluation.sheet import Budget, FewLesions, settings, sheet
from fedspine.evaluation.slices import joined, lesion_slices
from fedspine.evaluation.usefulness import _weights, dice_by_patient, trained_on

Discs = Callable[..., list[PatientTensors]]

BUDGET, QUICK = Budget(made=16, splits=3, steps=36), Budget(made=16, splits=3, steps=1)
"""What is asked of the yardsticks decides how long a sheet takes."""
FRECHET, KERNEL = "Fréchet distance, features", "kernel distance, radiomics"
COPIED, ALIKE = "distance to trained over held-out, pixels", "likeness of pairs (MS-SSIM)"


@pytest.fixture(scope="module")
def sheets(discs: Discs) -> dict[str, dict[str, Any]]:
    trained, held_out, good = discs(12, 1), discs(8, 2), discs(16, 3)
    noise = torch.Generator().manual_seed(0)
    kinds = {
        "good": good,
        "noisy": [p.with_images(p.images + 0.4 * torch.rand(p.images.shape, generator=noise), p.mask) for p in good],
        "collapsed": good[:1] * 16,
        "copied": (trained * 2)[:16],
        "displaced": [p.with_images(p.images, p.mask.roll(9, -1)) for p in good if p.mask is not None],
    }
    teaching = ("good", "displaced")
    found = {
        name: sheet(made, trained, held_out, BUDGET if name in teaching else QUICK) for name, made in kinds.items()
    }
    return {name: one["entries"] for name, one in found.items()}


def test_good_images_lie_near_the_floor_and_noisy_ones_beyond(sheets: dict[str, dict[str, Any]]) -> None:
    for name in (FRECHET, KERNEL):
        good, noisy = sheets["good"][name], sheets["noisy"][name]
        assert good["value"] < noisy["value"]
        assert noisy["low"] > noisy["floor"]["value"]


def test_a_background_that_is_the_same_in_all_real_images_does_not_drown_every_other_feature(discs: Discs) -> None:
    def dark(patients: list[PatientTensors], level: float) -> list[PatientTensors]:
        return [p.with_images(torch.where(p.images < 0.5, level, p.images), p.mask) for p in patients]

    trained, held_out = dark(discs(12, 1), 0.0), dark(discs(8, 2), 0.0)
    found = sheet(dark(discs(16, 3), 0.05), trained, held_out, QUICK)["entries"]
    assert found["Fréchet distance, radiomics"]["value"] < 1000
    assert found[KERNEL]["value"] < 1e4


def test_a_collapsed_generator_is_seen_by_variety_though_precision_is_perfect(
    sheets: dict[str, dict[str, Any]],
) -> None:
    collapsed = sheets["collapsed"]
    assert collapsed[ALIKE]["value"] > 0.95 > collapsed[ALIKE]["floor"]["value"]
    assert collapsed["coverage, features"]["value"] < 0.5 * collapsed["coverage, features"]["floor"]["value"]


def test_copies_of_training_patients_are_seen_by_memory_though_every_distance_is_good(
    sheets: dict[str, dict[str, Any]],
) -> None:
    assert sheets["copied"][COPIED]["high"] < 0.5
    assert sheets["copied"]["closest trained patient over held-out, pixels"]["value"] < 0.01
    assert 0.7 < sheets["good"][COPIED]["value"] < 1.4
    assert sheets["copied"][FRECHET]["value"] < 2 * sheets["good"][FRECHET]["value"]


def test_masks_beside_the_lesion_are_seen_by_what_they_teach(sheets: dict[str, dict[str, Any]]) -> None:
    taught = {kind: sheets[kind]["Dice, trained on made, tested on real"]["value"] for kind in ("good", "displaced")}
    assert taught["good"] > taught["displaced"] + 0.2


def test_a_sheet_is_json_and_the_same_for_the_same_seed(discs: Discs) -> None:
    trained, held_out, made = discs(4, 1), discs(3, 2), discs(6, 3)
    little = Budget(made=6, splits=2, steps=2)
    text = json.dumps(sheet(made, trained, held_out, little), allow_nan=False)
    assert text == json.dumps(sheet(made, trained, held_out, little), allow_nan=False)
    assert settings(little)["budget"] == {"made": 6, "splits": 2, "steps": 2}


def test_a_contrast_that_some_patients_lack_is_compared_among_the_others(discs: Discs) -> None:
    absent = torch.tensor([1.0, 0.0])
    trained = [replace(p, present=absent, images=p.images * absent[:, None, None]) for p in discs(6, 1)]
    found = sheet(discs(8, 3), trained, discs(5, 2), Budget(made=8, splits=2, steps=2))
    assert found["entries"][FRECHET]["value"] is not None


def test_too_few_lesions_on_either_side_are_refused(discs: Discs) -> None:
    healthy = [replace(p, mask=torch.zeros(2, 1, 32, 32)) for p in discs(6, 0)]
    with pytest.raises(FewLesions, match="must show a lesion"):
        sheet(healthy, discs(4, 1), discs(4, 2), BUDGET)
    with pytest.raises(InputError, match="real patients with a lesion"):
        sheet(discs(6, 3), discs(4, 1), healthy, BUDGET)


def test_slices_are_those_with_a_lesion_and_a_few_of_each_patient(discs: Discs) -> None:
    one = discs(1, 0)[0]
    long = replace(one, images=one.images[:1].repeat(9, 1, 1, 1), mask=one.mask[:1].repeat(9, 1, 1, 1))  # type: ignore[index]
    assert long.mask is not None
    long.mask[0] = 0
    nothing: PatientTensors = replace(one, mask=None)
    found = lesion_slices([nothing, long, one])
    assert found is not None
    assert found.whose.tolist() == [1, 1, 1, 1, 2, 2]
    both = joined(found, found)
    assert both.patients == 4
    assert both.of([4]).whose.tolist() == [4] * 4


def test_the_yardstick_learns_what_there_is_to_learn(discs: Discs) -> None:
    trained, test = lesion_slices(discs(16, 1)), lesion_slices(discs(6, 2))
    assert trained is not None
    assert test is not None
    scores = dice_by_patient(trained_on(trained, steps=60), test)
    assert scores.shape == (6,)
    assert scores.mean() > 0.6


def test_many_made_slices_do_not_drown_few_real_ones(discs: Discs) -> None:
    few, many = lesion_slices(discs(3, 1)), lesion_slices(discs(30, 2))
    assert few is not None
    assert many is not None
    weights = torch.cat([_weights(few), _weights(many)])
    assert float(weights[: len(few.images)].sum()) == pytest.approx(1)
    assert float(weights.sum()) == pytest.approx(2)

"""The IDH study: signs mean what they say, and nobody is scored by a model that knew them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.folds import Fold
from simulations.idh_study.signs import likely, signs
from simulations.idh_study.study import WAYS, out_of_fold, recipe, summary

BRAINS = dataclasses.replace(
    recipe(1).brains, data=dataclasses.replace(recipe(1).brains.data, size=32, slices=2), phantoms=4, shown=2
)
TINY = dataclasses.replace(
    recipe(1),
    size=32,
    slices=2,
    brains=BRAINS,
    segment=dataclasses.replace(
        recipe(1).segment, steps=2, sample_rate=1.0, pretrain_steps=1, options={"features": [8, 16]}
    ),
    classify=dataclasses.replace(recipe(1).classify, steps=2, sample_rate=1.0),
)


def patient(seed: int, label: int, *, row: int = 16, side: int = 6, uptake: float = 0.0) -> PatientTensors:
    """Return a head of 24 x 24 pixels with a square lesion that takes up contrast agent."""
    draws = torch.Generator().manual_seed(seed)
    images, mask = torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    images[..., 4:28, 4:28] = 0.3 + 0.1 * torch.rand(2, 3, 24, 24, generator=draws)
    mask[0, 0, row : row + side, 10 : 10 + side] = 1
    images[:, 1:2] += 0.4 * mask
    images[:, 2:3] += uptake * mask
    return PatientTensors(images, torch.ones(3), mask, label, torch.zeros(0), torch.zeros(0))


def read(one: PatientTensors) -> list[float]:
    assert one.mask is not None
    return [float(value) for value in signs(one, one.mask)]


def test_each_sign_follows_what_it_is_named_after_and_nothing_else() -> None:
    plain = read(patient(0, 0))
    bright, behind, large = (
        read(patient(0, 0, uptake=0.3)),
        read(patient(0, 0, row=20)),
        read(patient(0, 0, row=15, side=8)),
    )
    assert bright[0] > plain[0] + 2
    assert bright[1:] == plain[1:]
    assert behind[1] == pytest.approx(plain[1] + 4 / 23)
    assert behind[2] == plain[2]
    assert large[2] == pytest.approx(plain[2] + math.log(64 / 36))


def test_enhancement_is_unknown_without_contrast_agent_and_everything_without_a_lesion() -> None:
    one = patient(0, 0)
    missing = dataclasses.replace(one, present=torch.tensor([1.0, 1.0, 0.0]))
    assert np.isnan(read(missing)).tolist() == [True, False, False]
    assert np.isnan(signs(one, torch.zeros(2, 1, 32, 32))).all()


def test_the_likeliest_place_stands_for_a_lesion_that_is_nowhere_likely() -> None:
    probability = torch.full((2, 1, 32, 32), 0.1)
    probability[1, 0, 5, 6] = 0.4
    assert likely(probability)[1, 0, 5, 6] == 1
    assert float(likely(probability).sum()) == 2
    assert torch.equal(likely(probability + 0.2), (probability > 0.3).float())


@pytest.mark.parametrize("way", WAYS)
def test_every_patient_is_scored_once_and_the_scores_get_an_interval(way: str, tmp_path: Path) -> None:
    patients = [patient(i, i % 2, uptake=0.3 * (i % 2)) for i in range(8)]
    scores = out_of_fold(patients, TINY, 2, 0, way, tmp_path)
    assert all(np.isfinite(values).all() for values in scores.values())
    found = summary(np.array([p.label for p in patients]), [scores], draws=20)
    assert found.keys() == scores.keys()
    if way == "signs":
        assert found["signs, true masks"].seeds == (1.0,)


def test_both_is_the_mean_of_the_two_ways() -> None:
    truth = np.array([0, 0, 1, 1, -1])
    one, other = np.array([0.0, 3.0, 1.0, 2.0, 9.0]), np.array([0.0, -4.0, 0.0, 0.0, 9.0])
    found = summary(truth, [{"signs": one, "network": other}], draws=20)
    assert found["signs"].seeds == (0.5,)
    assert found["both"].seeds == (1.0,)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_known_of_a_patient_does_not_move_that_patients_own_score(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folds = [Fold((0, 1, 2, 3), (4, 5), "1"), Fold((2, 3, 4, 5), (0, 1), "2"), Fold((0, 1, 4, 5), (2, 3), "3")]
    monkeypatch.setattr("simulations.idh_study.study.patient_folds", lambda *args, **settings: folds)
    patients = [patient(i, i % 2, uptake=0.1 * i) for i in range(6)]
    other = [dataclasses.replace(patients[0], label=-1, mask=None), *patients[1:]]
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    one, two = (out_of_fold(some, TINY, 3, 0, way, at) for some, at in zip((patients, other), places, strict=True))
    assert one[way][0] == two[way][0]
    assert one[way][4] != two[way][4]


def test_a_fold_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    patients = [patient(i, i % 2, uptake=0.1 * i) for i in range(6)]
    first = out_of_fold(patients, TINY, 2, 0, "signs", tmp_path)
    done = tmp_path / "signs-seed0-fold1of2.json"
    changed = {arm: [9.0, *values[1:]] for arm, values in json.loads(done.read_text()).items()}
    done.write_text(json.dumps(changed))
    again = out_of_fold(patients, TINY, 2, 0, "signs", tmp_path)
    assert np.sum(again["signs"] != first["signs"]) == 1

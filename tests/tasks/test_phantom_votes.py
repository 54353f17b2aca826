"""Votes find what the patients are like, noise included, and cost one event a round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedspine.atlas.anchors import on_grid
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.phantom.hospital import STYLES, Hospital
from fedspine.phantom.patient import draw, to_patient
from fedspine.phantom.scanner import SCANNERS
from fedspine.tasks import phantom_votes
from fedspine.tasks._population import smoothed
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Generative, Site

DATA = DataPlan(contrasts=("T1", "T2"), classes=("normal", "benign", "malignant"), size=32, slices=3, levels="C1-S1")
STAGE = Stage("phantom_votes", "votes", options={"candidates": 24})
PLAN = Plan("votes", data=DATA, stage=(STAGE,))


@pytest.fixture(scope="module")
def patients() -> list[PatientTensors]:
    """Return the patients of a hospital that sees lumbar metastases only, on one scanner."""
    hospital = Hospital(1, (SCANNERS[2],), (0.0, 0.0, 1.0), STYLES[0])
    generator = np.random.default_rng(8)
    drawn = [draw(generator, shape=(3, 32, 32), levels="L1-L5", hospital=hospital) for _ in range(30)]
    return on_grid(PLAN, [to_patient(p, "x", p.scanner, contrasts=DATA.contrasts) for p in drawn], 3)


def voted(patients: list[PatientTensors], noise_multiplier: float, rounds: int) -> dict[str, Tensor]:
    shared = phantom_votes.public(PLAN, STAGE, {})
    noise = np.random.default_rng(1)
    for _ in range(rounds):
        task = phantom_votes.task(PLAN, STAGE, shared)
        sums = measure(task, patients, Strength(1.0, noise_multiplier), noise)
        outcome = task.finish({"one": Site(sums, len(patients))}, noise_multiplier)
        shared |= {f"phantom_votes.{key}": value for key, value in outcome.common.items()}
    return shared


def made(shared: dict[str, Tensor], count: int = 40) -> list[PatientTensors]:
    task = phantom_votes.task(PLAN, STAGE, shared)
    assert isinstance(task, Generative)
    return task.synthetic(None, count, torch.Generator().manual_seed(3))


def middle(patients: list[PatientTensors]) -> Tensor:
    return torch.stack([phantom_votes.row_of(patient)[0] for patient in patients]).mean(0)


@pytest.mark.parametrize(("noise_multiplier", "rounds"), [(0.0, 2), (1.2, 2)])
def test_made_patients_come_nearer_to_the_hospitals(
    patients: list[PatientTensors], noise_multiplier: float, rounds: int
) -> None:
    start = phantom_votes.public(PLAN, STAGE, {})
    scale, goal = start["phantom_votes.scale"], middle(patients)
    before = float(((middle(made(start)) - goal) / scale).norm())
    images = made(voted(patients, noise_multiplier, rounds))
    assert float(((middle(images) - goal) / scale).norm()) < 0.75 * before
    assert sum(patient.label == 2 for patient in images) > 0.6 * len(images)


def test_made_patients_lie_on_the_plans_grid_with_masks_and_differ(patients: list[PatientTensors]) -> None:
    images = made(voted(patients, 0.0, 1), 8)
    for patient in images:
        assert patient.images.shape == (3, 2, 32, 32)
        assert patient.mask is not None
        assert patient.mask.shape == (3, 1, 32, 32)
    assert len({float(patient.images.sum()) for patient in images}) == 8


def test_a_patient_votes_only_for_phantoms_of_their_class(patients: list[PatientTensors]) -> None:
    shared = phantom_votes.public(PLAN, STAGE, {})
    task = phantom_votes.task(PLAN, STAGE, shared)
    for label in (0, 1, 2, -1):
        term = task.term(replace(patients[0], label=label))
        assert term is not None
        chosen = shared["phantom_votes.labels"][term["votes"] > 0]
        assert float(term["votes"].norm()) == pytest.approx(1.0)
        assert label == -1 or set(chosen.tolist()) == {label}


def test_nobody_votes_without_an_image(patients: list[PatientTensors]) -> None:
    task = phantom_votes.task(PLAN, STAGE, phantom_votes.public(PLAN, STAGE, {}))
    assert task.term(replace(patients[0], present=torch.zeros(2))) is None


def test_votes_of_noise_alone_favour_nobody() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(40, 3, generator=generator)
    near = torch.cdist(places, places)
    even = [smoothed(2.0 + 6.0 * torch.randn(40, generator=generator), near, 6.0) for _ in range(10)]
    spread = float(torch.stack([(votes / votes.mean()).std() for votes in even]).median())
    assert spread < 0.3
    group = (places[:, 0] > 0.5).float() * 10
    found = smoothed(group + torch.randn(40, generator=generator), near, 1.0)
    assert float(found[group > 0].mean()) > 5 * float(found[group == 0].mean())


def test_chests_can_be_voted_for_too() -> None:
    data = DataPlan(contrasts=("CT",), classes=("normal", "benign", "malignant"), size=32, slices=2, steps=("scale",))
    stage = Stage("phantom_votes", options={"candidates": 6})
    plan = Plan("lungs", data=data, stage=(stage,))
    shared = phantom_votes.public(plan, stage, {})
    chests = phantom_votes.task(plan, stage, shared).synthetic(None, 2, torch.Generator().manual_seed(0))
    assert [patient.images.shape for patient in chests] == [(2, 1, 32, 32)] * 2

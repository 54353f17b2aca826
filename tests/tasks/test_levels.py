"""`levels`: what a patient's vertebrae teach, and how an answer is counted."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fedspine.cohort.levels import VERTEBRAE
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.networks.chain import Found
from fedspine.tasks._rounds import pretrain
from fedspine.tasks._task import make
from fedspine.tasks._vertebrae import lesion_levels
from fedspine.tasks.levels import CENTRES, FindLevels, _shares

SIZE = 32
DATA = DataPlan(contrasts=("T1", "T2"), classes=("normal", "malignant"), size=SIZE, slices=2)


def find_levels(**options: object) -> FindLevels:
    stage = Stage("levels", "levels", trained="all", options=options)
    task = make(Plan("p", data=DATA, stage=(stage,)), stage, {})
    assert isinstance(task, FindLevels)
    return task


def spine(first: int, at: int | None = None, *, present: tuple[float, float] = (1.0, 1.0)) -> PatientTensors:
    """Return three bright bodies, the lowest of another width, from level `first` on; a bright lesion in body `at`."""
    images = 0.02 * torch.rand(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(first))
    mask = torch.zeros(2, 1, SIZE, SIZE)
    levels = torch.full((len(VERTEBRAE), 3), torch.nan)
    for i in range(3):
        row, half = 6 + 9 * i, 2 + i
        images[:, :, row - 2 : row + 3, 16 - half : 17 + half] = 0.5
        levels[first + i] = torch.tensor([0.5, float(row), 16.0])
        if i == at:
            images[:, :, row - 1 : row + 2, 15:18], mask[:, :, row - 1 : row + 2, 15:18] = 1.0, 1.0
    flags = torch.tensor(present)
    label = int(at is not None)
    nothing = torch.zeros(0)
    return PatientTensors(images * flags[:, None, None], flags, mask, label, nothing, nothing, levels)


def test_a_lesion_belongs_to_the_level_that_it_lies_nearest_to() -> None:
    patient = spine(19, at=1)
    assert patient.levels is not None
    assert patient.mask is not None
    assert lesion_levels(patient.mask, patient.levels[19:22, 1:]).tolist() == [0, 1, 0]
    assert lesion_levels(torch.zeros_like(patient.mask), patient.levels[19:22, 1:]).tolist() == [0, 0, 0]
    assert lesion_levels(patient.mask, torch.zeros(0, 2)).tolist() == []


def test_the_loss_asks_only_for_what_is_known() -> None:
    torch.manual_seed(0)
    task = find_levels()
    model = task.build()

    def loss(patient: PatientTensors) -> float | None:
        value = task.patient_loss(model, patient, torch.Generator().manual_seed(0))
        return None if value is None else float(value.detach())

    whole = spine(19, at=1)
    without_label = dataclasses.replace(whole, label=-1)
    without_mask = dataclasses.replace(without_label, mask=None)
    losses = [loss(one) for one in (whole, without_label, without_mask)]
    assert losses[0] > losses[1] > losses[2] > 0  # type: ignore[operator]
    assert loss(dataclasses.replace(without_mask, levels=None)) is None
    assert loss(spine(19, present=(0.0, 0.0))) is None
    assert loss(spine(19, at=1, present=(0.0, 1.0))) is not None


def test_shares_count_levels_found_and_named_and_what_is_no_level() -> None:
    levels, places = torch.tensor([19, 20, 21]), torch.tensor([[6.0, 16], [15.0, 16], [24.0, 16]])
    seen = torch.tensor([[6.3, 16], [15.0, 16], [2.0, 2.0]])
    answer = Found(seen, torch.zeros(3), torch.tensor([18, 20, 21]), torch.ones(3))
    assert _shares(levels, places, answer, SIZE).tolist() == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3])
    nothing = Found(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    assert _shares(levels, places, nothing, SIZE).tolist() == [1, 0, 0, 0]


def test_metrics_follow_from_counts() -> None:
    task = find_levels()
    counts = task.counts()
    counts["centres"] += CENTRES * torch.tensor([2.0, 1.5, 1.0, 2.0])
    metrics = task.metrics(counts)
    assert metrics["centre_recall"] == pytest.approx(0.75)
    assert metrics["named"] == pytest.approx(0.5)
    assert metrics["centre_precision"] == pytest.approx(1.0)
    assert metrics["level_recall"] != metrics["level_recall"]


@pytest.mark.slow
def test_vertebrae_are_found_named_and_judged_after_a_few_public_steps() -> None:
    torch.manual_seed(0)
    task = find_levels(features=[8, 8, 8, 16, 16, 8])
    model = task.build()
    train = [spine(first, at) for first in (18, 19, 20) for at in (None, 0, 1, 2)]
    for patient in train:  # what tells the levels apart
        assert patient.levels is not None
        first = int(patient.levels[:, 0].isfinite().nonzero()[0])
        patient.images[:, :, :3] = (first - 18) * 0.4
    stage = Stage("levels", "levels", pretrain_steps=250, pretrain_rate=1e-2)
    pretrain(task, model, train, stage, torch.Generator().manual_seed(0))
    model.eval()
    counts = task.counts()
    for patient in train:
        found = task.evaluate(model, patient)
        assert found is not None
        counts = {key: value + found[key] for key, value in counts.items()}
    metrics = task.metrics(counts)
    assert min(metrics[name] for name in ("centre_recall", "named", "level_recall", "accuracy")) > 0.8, metrics


def test_the_identification_rate_of_a_patient_is_the_share_of_levels_found_under_their_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, patient = find_levels(), spine(19)
    model = task.build()
    assert patient.levels is not None
    places = patient.levels[19:22, 1:]
    for names, rate in (((19, 20, 21), 1.0), ((19, 20, 23), 2 / 3), ((20, 21, 22), 0.0)):
        seen = Found(places, torch.full((3,), 0.5), torch.tensor(names), torch.ones(3))
        monkeypatch.setattr(FindLevels, "find", lambda *_, seen=seen: seen)
        assert task.score(model, patient) == pytest.approx(rate)
    assert task.score(model, dataclasses.replace(patient, levels=None)) is None

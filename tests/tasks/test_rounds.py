"""What a step sees, and public steps at the server: their optimiser goes on from round to round."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.augment import FAR, Strengths
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.privacy.patient_sum import noise_generator
from fedspine.tasks import _rounds
from fedspine.tasks._rounds import teach
from fedspine.tasks._task import Trained, make

STAGE = Stage("segment", "segment", rounds=4, trained="all", pretrain_rate=1e-2, options={"features": [4, 8]})
PLAN = Plan("p", data=DataPlan(contrasts=("T1",), size=32, slices=2), stage=(STAGE,))


def taught(rounds: int, steps: int, schedule: str = "constant", *, forget: bool = False) -> dict[str, Tensor]:
    """Return the weights after so many rounds of so many steps on the same draws."""
    task = make(PLAN, STAGE, {})
    assert isinstance(task, Trained)
    torch.manual_seed(0)
    model, patients = task.build(), phantoms(PLAN, 4, purpose=1)
    draws, memory = torch.Generator().manual_seed(0), dict[str, Tensor]()
    stage = replace(STAGE, public_steps=steps, schedule=schedule)
    for number in range(1, rounds + 1):
        teach(task, model, patients, stage, draws, number, {} if forget else memory)
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_phantoms_are_varied_further_than_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = replace(STAGE, augment="traditional", steps=1, sample_rate=1.0, pretrain_steps=1, public_steps=1)
    task = make(PLAN, stage, {})
    assert isinstance(task, Trained)
    model, patients, draws = task.build(), phantoms(PLAN, 2, purpose=1), torch.Generator().manual_seed(0)
    seen: list[Strengths | None] = []

    def watched(
        patient: PatientTensors, draws: torch.Generator, strengths: Strengths | None, *, apart: bool
    ) -> PatientTensors:
        assert apart == getattr(task, "apart", False)
        seen.append(strengths)
        return patient

    monkeypatch.setattr(_rounds, "traditional", watched)
    optimiser, noise = _rounds.optimiser_of(task, model, 1e-3), noise_generator(0)
    _rounds.train_round(task, model, optimiser, patients, stage, _rounds.Strength(1.0, 1.0), noise, draws)
    assert seen == [None, None]
    _rounds.pretrain(task, model, patients, stage, draws)
    teach(task, model, patients, stage, draws, 1, {})
    assert seen[2:] == [FAR] * (2 * _rounds.PRETRAIN_BATCH)
    usual = Strengths()
    assert all(
        getattr(FAR, what) > getattr(usual, what) for what in ("rotation", "scaling", "elastic", "bias", "noise")
    )


def test_two_rounds_of_one_step_are_one_round_of_two() -> None:
    apart, together = taught(2, 1), taught(1, 2)
    assert all(torch.equal(apart[key], together[key]) for key in together)
    forgotten = taught(2, 1, forget=True)
    assert any(not torch.equal(forgotten[key], together[key]) for key in together)


def test_public_steps_follow_the_schedule_of_the_stage() -> None:
    constant, falling = taught(4, 1), taught(4, 1, "cosine")
    begin = taught(0, 1)
    moved = [sum(float((after[key] - begin[key]).norm()) for key in begin) for after in (constant, falling)]
    assert moved[1] < moved[0]

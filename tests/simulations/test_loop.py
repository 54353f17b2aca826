"""Studies train as the engines do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.privacy.accounting import epsilon_rdp
from fedspine.privacy.calibrate import stage_event
from fedspine.tasks._combine import mean_weights
from fedspine.tasks._federation import start, train
from fedspine.tasks._rounds import optimiser_of, set_rate
from fedspine.tasks._task import Trained, make
from fedspine.tasks.segment import Segment
from simulations.loop import priced

PLAN = Plan("tiny", data=DataPlan(contrasts=("T1", "T2"), size=32, slices=2))
STAGE = Stage("segment", "segment", rounds=2, steps=3, sample_rate=0.7, trained="all")


@pytest.fixture(scope="module")
def patients() -> list[PatientTensors]:
    return phantoms(PLAN, 8, purpose=1)


def trained(sites: list[list[PatientTensors]], epsilon: float | None, seed: int = 0) -> dict[str, Tensor]:
    plan, stage = priced(PLAN, STAGE, epsilon, 1e-4)
    task = make(plan, stage, {})
    assert isinstance(task, Trained)
    model = train(task, plan, stage, sites, start(task, stage, [], seed), seed=seed)
    return {key: value.clone() for key, value in model.state_dict().items()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def test_the_same_seed_gives_the_same_network_and_another_seed_another(patients: list[PatientTensors]) -> None:
    sites = [patients[:5], patients[5:]]
    first, again, other = (trained(sites, 8.0, seed) for seed in (0, 0, 1))
    assert distance(first, again) == 0
    assert distance(first, other) > 0


def test_the_noise_of_a_priced_stage_costs_its_epsilon_and_no_more() -> None:
    for epsilon in (1.0, 8.0):
        _, stage = priced(PLAN, STAGE, epsilon, 1e-4)
        assert 0.98 * epsilon < epsilon_rdp([stage_event(stage)], 1e-4) <= epsilon * 1.001


def test_without_privacy_there_is_neither_clip_nor_noise(patients: list[PatientTensors]) -> None:
    bare = replace(STAGE, clip=1e-9)
    plan, stage = priced(PLAN, bare, None, 1e-4)
    task = make(plan, stage, {})
    assert isinstance(task, Trained)
    weights = start(task, stage, [], 0)
    model = train(task, plan, stage, [patients], weights, seed=0)
    moved = max(float((model.state_dict()[key] - value).abs().max()) for key, value in weights.items())
    assert moved > 1e-4


def test_the_rate_falls_over_the_rounds_where_the_stage_says_so(patients: list[PatientTensors]) -> None:
    task = make(PLAN, STAGE, {})
    assert isinstance(task, Trained)
    optimiser = optimiser_of(task, task.build(), 1.0)
    rates = []
    for schedule in ("constant", "cosine"):
        for number in (1, 2, 3, 4):
            set_rate(optimiser, replace(STAGE, rounds=4, schedule=schedule), number)
            rates.append(optimiser.param_groups[0]["lr"])
    assert rates[:4] == [1.0] * 4
    assert rates[4:] == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-5)


def test_a_site_counts_by_its_patients() -> None:
    mean = mean_weights([{"w": torch.zeros(2)}, {"w": torch.ones(2)}], [3, 1])
    assert torch.allclose(mean["w"], torch.full((2,), 0.25))


def test_rounds_are_watched_in_turn_and_phantoms_train_before_the_first(patients: list[PatientTensors]) -> None:
    plan, stage = priced(PLAN, replace(STAGE, pretrain_steps=2), None, 1e-4)
    task = make(plan, stage, {})
    assert isinstance(task, Trained)
    weights, fresh = start(task, stage, patients, 0), start(task, replace(stage, pretrain_steps=0), patients, 0)
    assert distance(weights, fresh) > 0
    seen: list[int] = []
    train(task, plan, stage, [patients], weights, seed=0, watch=lambda number, _: seen.append(number))
    assert seen == [1, 2]


def test_weights_that_stay_go_on_at_their_site_and_leave_the_common_ones_as_they_began(
    patients: list[PatientTensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "outputs.0.conv.conv.bias"
    monkeypatch.setattr(Segment, "stays", ("outputs",), raising=False)
    plan, stage = priced(PLAN, STAGE, None, 1e-4)
    task = make(plan, stage, {})
    assert isinstance(task, Segment)
    seen: list[float] = []
    loss = Segment.patient_loss

    def watched(self: Segment, model: nn.Module, *rest: Any) -> Tensor | None:
        seen.append(float(model.state_dict()[head]))
        return loss(self, model, *rest)

    monkeypatch.setattr(Segment, "patient_loss", watched)
    begun = start(task, stage, [], 0)
    model = train(task, plan, replace(stage, sample_rate=1.0), [patients[:4], patients[4:]], begun, seed=0)
    assert torch.equal(model.state_dict()[head], begun[head])
    rounds = [seen[:24], seen[24:]]  # 2 sites x 3 steps x 4 patients a round
    assert rounds[0][0] == rounds[0][12] == float(begun[head])
    assert len({rounds[1][0], rounds[1][12], float(begun[head])}) == 3

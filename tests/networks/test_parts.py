"""Which weights patients move, in every network that a plan can train."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import PARTS, DataPlan, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.adapters import Adapter, with_adapters
from fedspine.networks.parts import chosen_parameters
from fedspine.tasks._rounds import Strength, optimiser_of, train_round
from fedspine.tasks._task import Trained, make

DATA = DataPlan(contrasts=("T1", "T2"), classes=("normal", "benign", "malignant"), size=32, slices=2)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "U-Net": ("segment", {}),
    "ResNet": ("classify", {}),
    "DenseNet": ("classify", {"network": "densenet"}),
    "ResNet 3-D": ("classify", {"dimensions": 3}),
    "DenseNet 3-D": ("classify", {"network": "densenet", "dimensions": 3}),
}


def patient(seed: int) -> PatientTensors:
    draws = torch.Generator().manual_seed(seed)
    mask = (torch.rand(2, 1, 32, 32, generator=draws) > 0.8).float()
    images = torch.rand(2, 2, 32, 32, generator=draws)
    return PatientTensors(images, torch.ones(2), mask, seed % 3, torch.zeros(0), torch.zeros(0))


def made(family: str, part: str) -> tuple[Trained, nn.Module, Stage]:
    kind, options = FAMILIES[family]
    stage = Stage(kind, kind, trained=part, steps=2, options=options)
    task = make(Plan("tiny", data=DATA), stage, {})
    assert isinstance(task, Trained)
    torch.manual_seed(0)
    return task, task.build(), stage


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_chosen_weights_move_and_receive_noise(family: str, part: str) -> None:
    task, model, stage = made(family, part)
    before = {name: value.clone() for name, value in model.named_parameters()}
    chosen = {id(p) for p in task.private_parameters(model)}
    optimiser = optimiser_of(task, model, 1e-2)
    noise = np.random.default_rng(0)
    train_round(task, model, optimiser, [patient(0)], stage, Strength(1.0, 1.0), noise, torch.Generator())
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) is (id(value) not in chosen), name


@pytest.mark.parametrize("family", FAMILIES)
def test_each_part_holds_the_smaller_ones_and_fewer_weights_than_the_next(family: str) -> None:
    _, model, _ = made(family, "adapters")
    counts = []
    for smaller, larger in zip(PARTS[:0:-1], PARTS[-2::-1], strict=True):
        inner, outer = ({id(p) for p in chosen_parameters(model, part)} for part in (smaller, larger))
        assert inner < outer
        counts.append(sum(p.numel() for p in chosen_parameters(model, smaller)))
    assert counts == sorted(counts)
    everything = sum(p.numel() for p in model.parameters())
    assert counts[-1] < everything / 3


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_change_nothing_at_first_and_leave_the_other_weights_names_alone(family: str) -> None:
    (plain_task, plain, _), (_, adapted, _) = made(family, "head"), made(family, "adapters")
    adapted.load_state_dict(plain.state_dict(), strict=False)
    assert plain.state_dict().keys() < adapted.state_dict().keys()
    one = plain_task.patient_loss(plain.eval(), patient(1), torch.Generator().manual_seed(0))
    other = plain_task.patient_loss(adapted.eval(), patient(1), torch.Generator().manual_seed(0))
    assert one is not None
    assert other is not None
    assert torch.allclose(one, other, atol=1e-6)


def test_an_adapter_counts_once_it_has_learned_and_survives_a_copy() -> None:
    torch.manual_seed(0)
    network = with_adapters(nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.Conv2d(8, 1, 1)))
    images = torch.rand(1, 4, 8, 8)
    before = network(images)
    for module in network.modules():
        if isinstance(module, Adapter):
            nn.init.ones_(module.up.weight)
    assert not torch.allclose(network(images), before)
    assert torch.equal(copy.deepcopy(network)(images), network(images))
    assert sum(isinstance(m, Adapter) for m in network.modules()) == 1


def test_a_network_without_adapters_or_an_unknown_part_is_refused() -> None:
    _, model, stage = made("U-Net", "head")
    with pytest.raises(ConfigError, match="must have them"):
        chosen_parameters(model, "adapters")
    with pytest.raises(ConfigError, match="trained must be known"):
        chosen_parameters(model, replace(stage, trained="tail").trained)

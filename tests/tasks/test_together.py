"""Stages that are one sum over sites: which, whose sum it is, and that the server's step is a site's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import PrivacyPlan
from fedspine.privacy.integer_sum import steps_for
from fedspine.privacy.sgd import LOSS_NORM, private_gradient
from fedspine.secure.encoding import decoded, split
from fedspine.tasks._rounds import Strength, measure, optimiser_of, set_rate, train_round
from fedspine.tasks._task import TOGETHER, Measured, Site, Trained
from fedspine.tasks._together import (
    dimension_of,
    is_one_sum,
    share_of_gradient,
    share_of_terms,
    step_together,
)

from .conftest import House, random_patient, tiny_plan

POOLED = ["phantom_votes", "atlas", "tokens", "segment-test", "classify-test", "encode-test", "levels-test"]
SECURE = replace(tiny_plan(), privacy=PrivacyPlan(sums="secure"))
HARDLY = 1e-9
"""A noise multiplier whose Skellam noise is 0 steps, all but for certain."""


def two_sites() -> list[list[PatientTensors]]:
    generator = torch.Generator().manual_seed(5)
    return [[random_patient(generator, complete=True) for _ in range(count)] for count in (2, 1)]


def test_a_stage_is_one_sum_where_the_total_is_enough(house: House) -> None:
    found = [stage.name for stage in SECURE.stage if is_one_sum(SECURE, stage, house.tasks[stage.name])]
    assert found == POOLED  # trained stages of this plan take two steps a round
    one_step = [
        stage.name
        for stage in SECURE.stage
        if isinstance(task := house.tasks[stage.name], Trained) and is_one_sum(SECURE, replace(stage, steps=1), task)
    ]
    assert {"segment", "classify", "encode", "levels"} <= set(one_step)
    assert all(not getattr(house.tasks[name], "stays", ()) for name in one_step)
    own = replace(SECURE, privacy=PrivacyPlan())
    assert not any(is_one_sum(own, stage, house.tasks[stage.name]) for stage in own.stage)


@pytest.mark.parametrize("name", ["phantom_votes", "tokens", "segment-test"])
def test_shares_of_all_sites_add_up_to_what_their_patients_together_would_release(house: House, name: str) -> None:
    task, sites = house.tasks[name], two_sites()
    assert isinstance(task, Measured)
    strength = Strength(1.0, HARDLY)
    shares = [share_of_terms(task, one, strength, 1, np.random.default_rng(i)) for i, one in enumerate(sites)]
    total = split(decoded(np.sum(shares, axis=0), 1.0), task.zeros())
    exact = measure(task, [one for site in sites for one in site], Strength(1.0, 0.0), np.random.default_rng(0))
    step = 1 / steps_for(dimension_of(task, None))
    for key, value in exact.items():
        assert total[key].dtype == value.dtype
        assert float((total[key] - value).abs().max()) <= 3 * step
    task.finish({TOGETHER: Site(total, 3, (3,))}, 0.1)


def test_a_total_gives_no_metric_of_a_site_that_is_none(house: House) -> None:
    task = house.tasks["segment-test"]
    assert isinstance(task, Measured)
    numbers = task.finish({TOGETHER: Site(task.zeros(), 5)}, 0.1).numbers["metrics"]["segment-test"]
    assert numbers["sites"] == {}
    assert numbers["pooled"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segment", "encode"])
def test_gradients_of_all_sites_add_up_to_those_of_their_patients_together(house: House, name: str) -> None:
    stage = replace(SECURE.find(name), steps=1, clip=0.5)
    task, model, sites = house.tasks[name], house.models[name], two_sites()
    assert isinstance(task, Trained)
    strength = Strength(stage.clip, HARDLY)
    shares = [
        share_of_gradient(task, model, one, stage, strength, 1, np.random.default_rng([7, i]))
        for i, one in enumerate(sites)
    ]
    total = decoded(np.sum(shares, axis=0), stage.clip)
    assert len(total) == dimension_of(task, model)
    if name == "segment":  # whose loss draws nothing at random
        exact = torch.cat([one.flatten() for one in exact_sum(task, model, [*sites[0], *sites[1]], stage.clip)])
        assert float((torch.from_numpy(total) - exact).abs().max()) <= 5 * stage.clip / steps_for(len(total))
    assert 0 < np.linalg.norm(total) <= 5 * stage.clip * 1.001
    empty = share_of_gradient(task, model, [], stage, strength, 1, np.random.default_rng(0))
    assert not empty.any()


@pytest.mark.slow
def test_the_servers_steps_are_those_of_a_site_with_everybodys_patients(house: House) -> None:
    stage = replace(SECURE.find("segment"), steps=1, rounds=2, schedule="cosine", clip=0.5)
    task = house.tasks["segment"]
    assert isinstance(task, Trained)
    everybody, strength = [one for site in two_sites() for one in site], Strength(stage.clip, 0.0)
    pooled = task.build()
    optimiser, memory = optimiser_of(task, pooled, stage.learning_rate), dict[str, Tensor]()
    weights = {key: value.detach().clone() for key, value in pooled.state_dict().items()}
    for number in range(1, 3):
        before = task.build()
        before.load_state_dict(weights)
        total = exact_sum(task, before, everybody, stage.clip)
        weights, loss = step_together(task, SECURE, stage, weights, total, len(everybody), number, memory)
        set_rate(optimiser, stage, number)
        draws = torch.Generator().manual_seed(0)
        found = train_round(task, pooled, optimiser, everybody, stage, strength, np.random.default_rng(1), draws)
        assert loss == pytest.approx(found, rel=1e-4)
        for key, value in pooled.state_dict().items():
            assert torch.allclose(weights[key], value, atol=2e-5), key


def exact_sum(task: Trained, model: nn.Module, patients: list[PatientTensors], clip: float) -> list[Tensor]:
    """Return the clipped sum of gradients and losses, not rounded."""
    model.train()
    released = private_gradient(
        task.private_parameters(model),
        patients,
        lambda patient: task.patient_loss(model, patient, torch.Generator().manual_seed(0)),
        clip=clip,
        noise_multiplier=0.0,
        expected=1.0,
        loss_bound=task.loss_bound,
        generator=np.random.default_rng(0),
    )
    return [*released.gradients, torch.tensor(released.loss * LOSS_NORM * clip / task.loss_bound)]

"""Every task's honest rounds are within what the gate allows; a patient's values in their place are not."""

from __future__ import annotations

import pytest
import torch

from client.limits import Limit, sum_limit, weights_limit
from fedspine.errors import EgressBlocked
from fedspine.privacy.patient_sum import PatientSum, noise_generator, public_generator
from fedspine.tasks._rounds import Strength, measure, optimiser_of, train_round
from fedspine.tasks._task import Measured, Trained

from .conftest import House, is_trained, random_patient, tiny_plan

TRAINED = [stage.name for stage in tiny_plan().stage if is_trained(stage)]
MEASURED = [stage.name for stage in tiny_plan().stage if not is_trained(stage)]
PATIENTS = 5


def stopped(limit: Limit, arrays: dict[str, torch.Tensor]) -> bool:
    try:
        limit(arrays, {"patients": float(PATIENTS)})
    except EgressBlocked:
        return True
    return False


@pytest.mark.parametrize("name", TRAINED)
def test_trained_weights_move_as_far_as_steps_take_them_and_pixels_do_not_pass(house: House, name: str) -> None:
    task, stage = house.tasks[name], house.plan.find(name)
    assert isinstance(task, Trained)
    generator = torch.Generator().manual_seed(1)
    patients = [random_patient(generator) for _ in range(PATIENTS)]
    model = task.build()
    model.load_state_dict(house.models[name].state_dict())
    optimiser, strength = optimiser_of(task, model, stage.learning_rate), Strength(1.0, 1.0)
    limit = weights_limit(task, model, optimiser, stage, strength, PATIENTS)
    noise, draws = noise_generator(1, name), public_generator(1, name)
    loss = train_round(task, model, optimiser, patients, stage, strength, noise, draws)
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    limit(weights, {"patients": float(PATIENTS), "loss": loss})
    largest = max(weights, key=lambda key: weights[key].numel())
    pixels = patients[0].images.flatten()[: weights[largest].numel()] + 0.5
    leaking = weights[largest].clone()
    leaking.view(-1)[: len(pixels)] = pixels
    assert stopped(limit, {**weights, largest: leaking})
    with pytest.raises(EgressBlocked, match="loss"):
        limit(weights, {"patients": float(PATIENTS), "loss": 1e6})


@pytest.mark.parametrize("name", MEASURED)
def test_measured_sums_pass_and_unclipped_ones_do_not(house: House, name: str) -> None:
    task = house.tasks[name]
    assert isinstance(task, Measured)
    generator = torch.Generator().manual_seed(2)
    patients = [random_patient(generator) for _ in range(PATIENTS)]
    limit = sum_limit(Strength(1.0, 1.0), PATIENTS)
    bare = measure(task, patients, Strength(1.0, 0.0), noise_generator(0, name))
    for seed in range(20):
        total = PatientSum(list(bare.values()), 1.0)
        total.total = [value.clone() for value in bare.values()]
        assert not stopped(limit, dict(zip(bare, total.release(1.0, noise_generator(seed, name)), strict=True)))
    assert stopped(limit, {key: 1e3 * (value + 1) for key, value in bare.items()})
    assert stopped(limit, bare) == (name not in UNSEEN)


UNSEEN = ("phantom_votes", "segment-test")
"""Whose few sums look as if they had noise when they have none."""

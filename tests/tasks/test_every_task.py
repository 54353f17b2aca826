"""What the privacy proof needs of every task there is, whatever it computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Stage
from fedspine.errors import PrivacyError
from fedspine.privacy.sgd import LOSS_NORM, private_gradient
from fedspine.tasks._rounds import Strength, measure, train_round
from fedspine.tasks._task import Measured, Trained
from fedspine.wire import schema_of

from .conftest import House, is_trained, random_patient, tiny_plan

STAGES = [stage.name for stage in tiny_plan().stage]
TRAINED = [s.name for s in tiny_plan().stage if is_trained(s)]
SEED = np.random.default_rng(0)


def noiseless_sum(house: House, stage: str, patients: list[PatientTensors], clip: float) -> Tensor:
    """Return what a site would release of `patients` if there were no noise, flat."""
    task = house.tasks[stage]
    if isinstance(task, Measured):
        sums = measure(task, patients, Strength(clip, 0.0), SEED)
        return torch.cat([value.flatten() for value in sums.values()])
    model = house.models[stage]
    released = private_gradient(
        task.private_parameters(model),
        patients,
        lambda patient: task.patient_loss(model, patient, torch.Generator().manual_seed(0)),
        clip=clip,
        noise_multiplier=0.0,
        expected=1.0,
        loss_bound=task.loss_bound,
        generator=SEED,
    )
    loss = torch.tensor([released.loss * LOSS_NORM * clip / task.loss_bound])
    return torch.cat([*(gradient.flatten() for gradient in released.gradients), loss])


@pytest.mark.parametrize("stage", STAGES)
@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), clip=st.sampled_from([1e-3, 1.0]))
def test_removing_one_patient_moves_the_noiseless_sum_by_at_most_the_clip(
    house: House, stage: str, seed: int, clip: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    patients = [random_patient(generator, complete=i == 0) for i in range(4)]
    everyone = noiseless_sum(house, stage, patients, clip)
    for gone in (0, 2):
        others = patients[:gone] + patients[gone + 1 :]
        moved = float((everyone - noiseless_sum(house, stage, others, clip)).norm())
        assert moved <= clip * (1 + 1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_a_patients_term_does_not_depend_on_who_else_is_there(house: House, stage: str) -> None:
    generator = torch.Generator().manual_seed(5)
    first, *others = (random_patient(generator, complete=True) for _ in range(4))
    alone = noiseless_sum(house, stage, [first], 1.0)
    difference = noiseless_sum(house, stage, [first, *others], 1.0) - noiseless_sum(house, stage, others, 1.0)
    assert float(alone.norm()) > 1e-4
    assert torch.allclose(alone, difference, atol=1e-4)


@pytest.mark.parametrize("stage", ["tokens", "segment-test", "classify-test", "encode-test", "levels-test"])
def test_counts_have_norm_one_at_most_so_that_clipping_changes_nothing(house: House, stage: str) -> None:
    task = house.tasks[stage]
    assert isinstance(task, Measured)
    for seed in range(5):
        term = task.term(random_patient(torch.Generator().manual_seed(seed), complete=True))
        assert term is not None
        assert torch.cat([value.flatten() for value in term.values()]).norm() <= 1 + 1e-5


@pytest.mark.parametrize("stage", ["segment", "classify", "encode", "levels"])
def test_a_sum_of_values_is_never_more_than_the_patients_that_it_is_said_to_be_over(house: House, stage: str) -> None:
    task = house.tasks[stage]
    patients = [random_patient(torch.Generator().manual_seed(seed), complete=True) for seed in range(5)]
    measured: list[dict[str, Tensor]] = [
        term
        for patient in patients
        if (term := task.evaluate(task.build(), patient)) is not None  # type: ignore[union-attr]
    ]
    counts = {key: torch.stack([term[key] for term in measured]).sum(0) for key in measured[0]}
    for key, over in task.totals(counts).items():  # type: ignore[union-attr]
        assert over.shape == counts[key].shape
        assert bool((over[~over.isnan()] > 0).all())
        assert bool((counts[key][~over.isnan()] <= over[~over.isnan()] + 1e-6).all())


@pytest.mark.parametrize("stage", STAGES)
def test_a_patient_with_nothing_is_no_error(house: House, stage: str) -> None:
    size, contrasts = house.plan.data.size, len(house.plan.data.contrasts)
    columns = len(house.plan.data.omics)
    nobody = PatientTensors(
        torch.zeros(1, contrasts, size, size),
        torch.zeros(contrasts),
        None,
        -1,
        torch.zeros(columns),
        torch.zeros(columns),
    )
    assert torch.isfinite(noiseless_sum(house, stage, [nobody], 1.0)).all()


@pytest.mark.parametrize("stage", TRAINED)
def test_only_private_parameters_get_a_patients_gradient(house: House, stage: str) -> None:
    task = house.tasks[stage]
    assert isinstance(task, Trained)
    model = house.models[stage]
    loss = task.patient_loss(model, random_patient(torch.Generator().manual_seed(1), complete=True), torch.Generator())
    assert loss is not None
    chosen = task.private_parameters(model)
    gradients = torch.autograd.grad(loss, chosen, allow_unused=True)
    assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients)
    assert 0 < sum(p.numel() for p in chosen) <= sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("stage", TRAINED)
def test_no_network_keeps_running_statistics_of_patients(house: House, stage: str) -> None:
    model = house.models[stage]
    assert not list(model.buffers())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def test_a_network_with_running_statistics_is_never_sent(house: House) -> None:
    with pytest.raises(PrivacyError, match="no buffers"):
        schema_of(house.tasks["segment"], nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)))


def test_what_one_patient_draws_at_random_does_not_depend_on_what_others_draw() -> None:
    patients = [random_patient(torch.Generator().manual_seed(i)) for i in range(3)]

    class Random:
        loss_bound, betas = 2.0, (0.9, 0.999)

        def __init__(self, greedy: int) -> None:
            self.greedy, self.drawn = greedy, list[float]()

        def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor:
            drawn = torch.rand((), generator=draws)
            torch.rand(self.greedy if patient is patients[0] else 1, generator=draws)
            self.drawn.append(float(drawn))
            return next(model.parameters()).sum() * drawn

        def build(self) -> nn.Module:
            return nn.Linear(2, 1, bias=False)

        def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
            return list(model.parameters())

        def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> None:
            return None

        def after_step(self, model: nn.Module) -> None:
            pass

    drawn = []
    for greedy in (1, 1000):
        task = Random(greedy)
        model = task.build()
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        stage, noise = Stage("segment", steps=2), np.random.default_rng(3)
        train_round(task, model, optimiser, patients, stage, Strength(1.0, 0.0), noise, torch.Generator())
        drawn.append(task.drawn)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 6

"""A network may train on another device: the same sums, clipped and noised as on the CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from fedspine.privacy.patient_sum import noise_generator
from fedspine.tasks._device import placed, where
from fedspine.tasks._rounds import Strength, optimiser_of, train_round
from fedspine.tasks._task import Trained, make

from .conftest import House, is_trained, random_patient, tiny_plan

TRAINED = [s.name for s in tiny_plan().stage if is_trained(s)]
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def trained(house: House, stage_name: str, device: str, strength: Strength, seed: int = 3) -> dict[str, torch.Tensor]:
    """Return a network's weights after a round of two patients on `device`."""
    stage = house.plan.find(stage_name)
    shared = {key: value.to(device) for key, value in house.shared.items()}
    task = house.tasks[stage_name] if device == "cpu" else make(house.plan, stage, shared)
    assert isinstance(task, Trained)
    model = copy.deepcopy(house.models[stage_name]).to(device)
    patients = [random_patient(torch.Generator().manual_seed(i), complete=True) for i in range(2)]
    noise, draws = noise_generator(seed, "device"), torch.Generator().manual_seed(0)
    train_round(task, model, optimiser_of(task, model, 1e-3), patients, stage, strength, noise, draws)
    assert where(model).type == device
    return {key: value.detach().cpu() for key, value in model.state_dict().items()}


@on_gpu
@pytest.mark.parametrize("stage", [name for name in TRAINED if name != "encode"])
def test_every_network_of_images_trains_on_a_gpu(house: House, stage: str) -> None:
    before = house.models[stage].state_dict()
    after = trained(house, stage, "cuda", Strength(1.0, 1.0))
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert any(not torch.equal(after[key], before[key]) for key in before)


@on_gpu
@pytest.mark.parametrize("strength", [Strength(1.0, 0.0), Strength(1.0, 2.0)])
def test_the_noised_sum_of_patients_is_the_cpus(house: House, strength: Strength) -> None:
    there, here = (trained(house, "segment", device, strength) for device in ("cuda", "cpu"))
    moved = {key: value - house.models["segment"].state_dict()[key] for key, value in here.items()}
    off = np.sqrt(sum(float((there[key] - here[key]).square().sum()) for key in here))
    assert off < 0.1 * np.sqrt(sum(float(value.square().sum()) for value in moved.values()))


def test_on_the_cpu_nothing_is_drawn_and_no_patient_is_copied(house: House) -> None:
    draws = torch.Generator().manual_seed(1)
    before = draws.get_state()
    _, own = placed(house.models["segment"], draws)
    assert own is draws
    assert torch.equal(draws.get_state(), before)
    patient = random_patient(torch.Generator().manual_seed(0))
    assert patient.to(where(house.models["segment"])) is patient
    elsewhere = patient.to(torch.device("meta"))
    assert {v.device.type for v in (elsewhere.images, elsewhere.present, elsewhere.omics)} == {"meta"}
    assert elsewhere.label == patient.label

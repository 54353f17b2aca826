"""A tiny plan with every task in it, and random patients."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from fedspine.cohort.levels import VERTEBRAE
from fedspine.cohort.tensors import PatientTensors, Person
from fedspine.config import TASKS, DataPlan, Plan, Stage, check_plan
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._task import Measured, Trained, make, public_values

DATA = DataPlan(
    contrasts=("T1", "T2"),
    classes=("normal", "benign", "malignant"),
    omics=("TP53", "NF2", "MKI67", "foreign"),
    markers=("MKI67",),
    size=32,
    slices=2,
)


SMALL = {"size": 16, "width": 4, "critic_width": 4, "latent": 8, "batch": 4, "lazy": 1}
"""Settings of a GAN that is quick; its penalty is part of every loss."""


def tiny_plan(seed: int = 0) -> Plan:
    """Return a plan in which every task of the folder occurs."""
    stages = (
        Stage("standardise", "standardise", options={"landmarks": 0.5, "acquisition": 0.3}),
        Stage("align", "align"),
        Stage("harmonise", "harmonise", options={"covariates": ["age", "sex", "level"]}),
        Stage("gan", "gan", rounds=2, steps=2, options=SMALL),
        Stage("dcgan", "dcgan", rounds=2, steps=2, options=SMALL),
        Stage("dcgan", "dcgan-3d", rounds=2, steps=2, options={**SMALL, "dimensions": 3}),
        Stage("wgan_gp", "wgan_gp", rounds=2, steps=3, options=SMALL),
        Stage("conditional_gan", "conditional_gan", rounds=2, steps=2, options=SMALL),
        Stage("conditional_gan", "conditional_gan-3d", rounds=2, steps=2, options={**SMALL, "dimensions": 3}),
        Stage("phantom_gan", "phantom_gan", rounds=2, steps=2, options=SMALL),
        Stage("phantom_gan", "phantom_gan-3d", rounds=2, steps=2, options={**SMALL, "dimensions": 3}),
        Stage("wgan_gp", "wgan_gp-3d", rounds=2, steps=3, options={**SMALL, "dimensions": 3}),
        Stage("phantom_votes", "phantom_votes", options={"candidates": 6}),
        Stage("stylegan", "stylegan", rounds=2, steps=2, options=SMALL),
        Stage("cyclegan", "cyclegan", rounds=2, steps=2, options={"features": [8] * 6, "width": 4}),
        Stage("segment", "segment", rounds=2, steps=2),
        Stage("classify", "classify", rounds=2, steps=2),
        Stage("levels", "levels", rounds=2, steps=2, options={"features": [4, 4, 4, 4, 4, 4], "width": 4, "tokens": 8}),
        Stage("encode", "encode", rounds=2, steps=2),
        Stage("encode", "encode-deep", of="segment", rounds=2, steps=2, options={"axes": 3}),
        Stage("atlas", "atlas", of="encode", rounds=2, options={"anchors": 8, "tokens": 3}),
        Stage("tokens", "tokens", of="encode", options={"tokens": 3}),
        Stage("evaluate", "segment-test", of="segment"),
        Stage("evaluate", "classify-test", of="classify"),
        Stage("evaluate", "encode-test", of="encode"),
        Stage("evaluate", "levels-test", of="levels"),
    )
    plan = check_plan(Plan("tiny", seed=seed, data=DATA, stage=stages))
    check_tasks(plan)
    return plan


def is_trained(stage: Stage) -> bool:
    """Return whether the stage trains a network rather than measures."""
    return not hasattr(importlib.import_module(f"fedspine.tasks.{stage.task}"), "MEASURES")


def random_patient(generator: torch.Generator, *, complete: bool = False) -> PatientTensors:
    """Return a patient of noise; parts may be missing unless `complete`."""

    def there(probability: float) -> bool:
        return complete or float(torch.rand((), generator=generator)) < probability

    contrasts, columns = len(DATA.contrasts), len(DATA.omics)
    present = torch.tensor([float(there(0.8)) for _ in range(contrasts)])
    slices = int(torch.randint(1, 4, (), generator=generator))
    images = torch.rand(slices, contrasts, DATA.size, DATA.size, generator=generator) * present[:, None, None]
    mask = (torch.rand(slices, 1, DATA.size, DATA.size, generator=generator) > 0.9).float() if there(0.8) else None
    known = torch.tensor([float(there(0.7)) for _ in range(columns)])
    omics = torch.randn(columns, generator=generator) * 3 * known
    label = int(torch.randint(0, 3, (), generator=generator)) if there(0.8) else -1
    places = torch.full((len(VERTEBRAE), 3), torch.nan)
    places[17:22] = torch.rand(5, 3, generator=generator) * torch.tensor([slices - 1, DATA.size - 1.0, DATA.size - 1.0])
    levels = places if there(0.8) else None
    person = Person(60.0 if there(0.8) else None, "F" if there(0.8) else None, 0.4 if there(0.8) else None)
    batch = int(torch.randint(0, 4, (), generator=generator)) if bool(present.any()) else -1
    return PatientTensors(images, present, mask, label, omics.clamp(-4, 4), known, levels, person, batch=batch)


@dataclass
class House:
    """The tiny plan with every stage ready to compute."""

    plan: Plan
    shared: dict[str, Tensor] = field(default_factory=dict)
    models: dict[str, nn.Module] = field(default_factory=dict)
    tasks: dict[str, Trained | Measured] = field(default_factory=dict)


@pytest.fixture(scope="session")
def house() -> House:
    """Return the tiny plan's tasks with fresh networks and the public values of every stage."""
    result = House(tiny_plan())
    torch.manual_seed(0)
    for stage in result.plan.stage:
        inner = result.models[stage.of].state_dict() if stage.of else None
        result.shared |= public_values(result.plan, stage, result.shared, inner)
        task = make(result.plan, stage, result.shared, inner)
        if isinstance(task, Trained):
            result.models[stage.name] = task.build()
        result.tasks[stage.name] = task
    assert {stage.task for stage in result.plan.stage} == set(TASKS), "a new task must stand in the tiny plan"
    return result

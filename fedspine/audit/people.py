"""The patients of a run as attacks need them: those who trained and those kept from it, and networks trained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import phantoms
from fedspine.audit.subject import Subject
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import HELD_OUT, TRAIN, Plan, PrivacyPlan, Stage
from fedspine.tasks._federation import start, train
from fedspine.tasks._task import Trained

FEWEST = 10
"""Patients of either side with whom an attack says anything."""

PHANTOMS, PURPOSE = 160, 1
"""The public phantoms of pre-training: as many, and drawn as the coordinator's, so that the start is the run's own."""


@dataclass(frozen=True, eq=False)
class People:
    """Patients of a run, in memory.

    Args:
        members: of each site, those who trained.
        others: of each site, those held out.
    """

    members: tuple[tuple[PatientTensors, ...], ...] = field(repr=False)
    others: tuple[tuple[PatientTensors, ...], ...] = field(repr=False)

    @property
    def every_member(self) -> list[PatientTensors]:
        """All who trained, site after site."""
        return [patient for site in self.members for patient in site]

    @property
    def every_other(self) -> list[PatientTensors]:
        """All held out, site after site."""
        return [patient for site in self.others for patient in site]

    @property
    def enough(self) -> bool:
        """Whether there are enough on both sides."""
        return min(len(self.every_member), len(self.every_other)) >= FEWEST


def people(subject: Subject, task: Trained | None = None, model: nn.Module | None = None) -> People:
    """Return the run's patients; with a task and its network, those of whom it has something to say."""
    draws = torch.Generator()

    def speaks(patient: PatientTensors) -> bool:
        if task is None or model is None:
            return True
        with torch.no_grad():
            return task.patient_loss(model, patient, draws.manual_seed(0)) is not None

    def side(fold: str) -> tuple[tuple[PatientTensors, ...], ...]:
        return tuple(tuple(filter(speaks, site.patients.get(fold, ()))) for site in subject.sites)

    return People(side(TRAIN), side(HELD_OUT))


def public_start(plan: Plan, stage: Stage, task: Trained) -> Mapping[str, Tensor]:
    """Return the weights before round 1, as anybody can make them from the plan (without its `initial`, if any)."""
    public = phantoms(plan, PHANTOMS, PURPOSE) if stage.pretrain_steps else []
    return start(task, stage, public, plan.seed)


def without_privacy(
    task: Trained,
    stage: Stage,
    patients: Sequence[PatientTensors],
    weights: Mapping[str, Tensor],
    *,
    steps: int,
    batch: float,
    rate: float,
    seed: int,
) -> nn.Module:
    """Return the stage's network after it was overfitted to `patients` in one room, with neither clip nor noise.

    Args:
        task: of the stage, such that all weights are trained.
        stage: options; its rounds, rates and augmentation do not count here.
        patients: whom it is to remember.
        weights: to begin with.
        steps: of the optimiser.
        batch: expected patients a step.
        rate: of learning.
        seed: of sampling.
    """
    bare = Plan("control", privacy=PrivacyPlan("none"))
    share = min(1.0, batch / len(patients))
    long = replace(stage, rounds=1, steps=steps, sample_rate=share, learning_rate=rate, augment="none", views=1)
    return train(task, bare, replace(long, server="average", average=0.0), [patients], weights, seed=seed)

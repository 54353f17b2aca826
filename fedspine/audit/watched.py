"""Look into the real training round: what is released step by step, and fake patients whose gradient is known.

Nothing of the engine is copied. `fedspine.tasks._rounds.train_round` runs as at a hospital, on a task and a network
that are wrapped: the wrapper reads the gradient that a step released where the engine hands it over (`after_step`), and
adds dummy coordinates to the network, which feed nothing. Canary i is a fake patient whose loss is a large multiple of
dummy coordinate i: after clipping its gradient is all of the gradient's share of the bound, on that coordinate alone.
It passes the same sampler, clipper and noiser as patients do, and costs the network nothing.

A round here starts with given weights and takes steps of length 0, so every step is at the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.tasks import _rounds
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Trained

FIRST_CANARY = 10**9
"""The number of the first canary's scanner: no site has as many."""

STEEP = 1e6
"""Slope of a canary's loss: any clip below it takes effect."""


@dataclass(frozen=True)
class Step:
    """What one step did.

    Args:
        released: per private tensor, the gradient that left the mechanism; the dummy coordinates come last.
        canaries: the canaries in the step's sample, by number.
        patients: how many others there were.
    """

    released: list[Tensor] = field(repr=False)
    canaries: tuple[int, ...]
    patients: int


@dataclass(frozen=True)
class Seen:
    """A round as it was seen.

    Args:
        steps: in order.
        loss: the released mean loss of the round.
        failures: how many patients' losses could not be computed.
    """

    steps: tuple[Step, ...]
    loss: float
    failures: int


class Extended(nn.Module):
    """A network with dummy coordinates, which feed nothing.

    Args:
        inner: the network.
        coordinates: how many.
    """

    def __init__(self, inner: nn.Module, coordinates: int) -> None:
        super().__init__()
        self.inner = inner
        self.dummy = nn.Parameter(torch.zeros(coordinates))


class Watched:
    """A trained task that is watched; see `Trained` in `tasks._task`.

    Args:
        task: the real one.
        whole: whether the network's own private weights are trained too, or the dummy coordinates alone (faster).
        before: called with (patient as the step sees it, its generator) before each real loss.
    """

    def __init__(
        self,
        task: Trained,
        whole: bool = True,
        before: Callable[[PatientTensors, torch.Generator], None] | None = None,
    ) -> None:
        self.task, self.whole, self.before = task, whole, before
        self.loss_bound, self.betas = task.loss_bound, task.betas
        self.apart = bool(getattr(task, "apart", False))
        self.steps: list[Step] = []
        self._canaries: list[int] = []
        self._patients = 0

    def build(self) -> nn.Module:
        """Return the task's network."""
        return self.task.build()

    def sampled(self, patient: PatientTensors, draws: torch.Generator) -> PatientTensors:
        """Return what the task takes of a patient; a canary is as it is."""
        taken = getattr(self.task, "sampled", None)
        return patient if taken is None or patient.batch >= FIRST_CANARY else taken(patient, draws)

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return the task's loss, or a canary's."""
        assert isinstance(model, Extended)
        if patient.batch >= FIRST_CANARY:
            self._canaries.append(patient.batch - FIRST_CANARY)
            return STEEP * model.dummy[self._canaries[-1]]
        self._patients += 1
        if self.before is not None:
            self.before(patient, draws)
        return self.task.patient_loss(model.inner, patient, draws)

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train, then the dummy coordinates."""
        assert isinstance(model, Extended)
        return [*(self.task.private_parameters(model.inner) if self.whole else ()), model.dummy]

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: what no patient enters is not looked at."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Write down what the step released."""
        gradients = [parameter.grad for parameter in self.private_parameters(model)]
        released = [gradient.detach().clone() for gradient in gradients if gradient is not None]
        self.steps.append(Step(released, tuple(self._canaries), self._patients))
        self._canaries, self._patients = [], 0


def watch(
    task: Watched,
    model: nn.Module,
    cohort: Sequence[PatientTensors],
    stage: Stage,
    strength: Strength,
    noise: np.random.Generator,
    coordinates: int = 1,
) -> Seen:
    """Run one real round over `cohort` and return what was seen.

    Args:
        task: fresh.
        model: the task's network.
        cohort: patients, canaries or both.
        stage: steps, sampling rate, views, augmentation.
        strength: clip and noise in force.
        noise: generator of sampling, seeds and noise.
        coordinates: dummy coordinates, at least one.
    """
    failed: list[Exception] = []
    extended = Extended(model, coordinates)
    optimiser = torch.optim.SGD(extended.parameters(), lr=0.0)
    draws = torch.Generator().manual_seed(0)
    loss = _rounds.train_round(task, extended, optimiser, cohort, stage, strength, noise, draws, failed.append)
    return Seen(tuple(task.steps), loss, len(failed))


def canaries(plan: Plan, numbers: Sequence[int]) -> list[PatientTensors]:
    """Return fake patients, one for each dummy coordinate in `numbers`."""
    images = torch.zeros(1, max(len(plan.data.contrasts), 1), plan.data.size, plan.data.size)
    present, omics = torch.ones(images.shape[1]), torch.zeros(len(plan.data.omics))
    return [PatientTensors(images, present, None, -1, omics, omics, batch=FIRST_CANARY + number) for number in numbers]


def gradient_share(clip: float) -> float:
    """Return the bound on a patient's gradient: what the loss leaves of `clip` (see `privacy.sgd`)."""
    return clip * math.sqrt(1 - LOSS_NORM**2) if math.isfinite(clip) else clip


def divisor(stage: Stage, patients: int) -> float:
    """Return the public constant by which a sum over a step's sample is divided."""
    return max(stage.sample_rate * patients, 1.0)

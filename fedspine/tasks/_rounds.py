"""One round of a stage at a hospital, and public pre-training at the server; knows tasks, not Flower."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedspine.cohort.augment import FAR, Strengths, traditional
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.privacy.guarded import guarded
from fedspine.privacy.integer_sum import IntegerSum
from fedspine.privacy.patient_sum import PatientSum, poisson_sample
from fedspine.privacy.sgd import private_gradient
from fedspine.tasks._device import placed, where
from fedspine.tasks._moments import recall, remember
from fedspine.tasks._task import Measured, Trained

NO_NOISE = np.random.default_rng(0)
"""What a sum over phantoms is released with: their noise multiplier is 0, so nothing is ever drawn from it."""

PRETRAIN_BATCH = 4
"""Phantoms a public step."""


@dataclass(frozen=True)
class Strength:
    """Clip and noise in force: the stage's, or none at all where the plan says `mechanism = "none"`."""

    clip: float
    noise_multiplier: float

    @classmethod
    def of(cls, plan: Plan, stage: Stage) -> Strength:
        """Return what `plan` demands of `stage`."""
        if plan.privacy.mechanism == "none":
            return cls(math.inf, 0.0)
        return cls(stage.clip, stage.noise_multiplier)


def train_round(
    task: Trained,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    patients: Sequence[PatientTensors],
    stage: Stage,
    strength: Strength,
    noise: np.random.Generator,
    draws: torch.Generator,
    note: Callable[[Exception], None] | None = None,
    *,
    number: int = 1,
) -> float:
    """Take the stage's private steps of one round and return the noised mean loss of a patient.

    A loss may be random (augmentation, interpolates). Argument: every view of a patient in the sample gets a generator
    of its own, seeded by exactly one draw from `noise`, whatever other patients use up. So seeds are independent and
    alike distributed whoever else is there; couple the two neighbouring cohorts such that common patients have the
    same seeds, and their terms are equal in both: the sums differ by the one patient's clipped term, as without
    randomness.
    The seeds never leave (a site's `noise` is secret in production), so the mixture over them keeps the guarantee.

    Args:
        task: what is trained.
        model: changed in place, wherever it is; see `where`.
        optimiser: over all of the model's trainable weights.
        patients: of the stage's fold.
        stage: steps, sampling rate.
        strength: clip and noise.
        noise: generator of sampling, noise and the patients' seeds, secret in production.
        draws: generator of public randomness (made images).
        note: told of a patient whose loss could not be computed; see `guarded`.
        number: of the round, from 1.
    """
    private = task.private_parameters(model)
    losses = []
    loss_of = loss_at(task, model, patients, stage, noise)
    model.train()
    for step in range(stage.steps):
        released = private_gradient(
            private,
            poisson_sample(len(patients), stage.sample_rate, noise),
            loss_of,
            clip=strength.clip,
            noise_multiplier=strength.noise_multiplier,
            expected=stage.sample_rate * len(patients),
            loss_bound=task.loss_bound,
            generator=noise,
            views=stage.views,
            note=note,
        )
        take_step(task, model, optimiser, private, released.gradients, draws, (number - 1) * stage.steps + step)
        losses.append(released.loss)
    return sum(losses) / len(losses)


def loss_at(
    task: Trained,
    model: nn.Module,
    patients: Sequence[PatientTensors],
    stage: Stage,
    noise: np.random.Generator,
) -> Callable[[int], Tensor | None]:
    """Return the loss of the patient at an index, a view with a seed of its own; see `train_round`."""

    def loss(index: int) -> Tensor | None:
        own = torch.Generator().manual_seed(int(noise.integers(2**63)))
        return _loss(task, model, _view(task, stage, patients[index], own), own)

    return loss


def pretrain(
    task: Trained, model: nn.Module, phantoms: Sequence[PatientTensors], stage: Stage, draws: torch.Generator
) -> None:
    """Take the stage's `pretrain_steps` on public phantoms, a few at a time, without noise.

    The learning rate rises to `pretrain_rate` and falls again, one cycle (Smith 2018).
    """
    task = getattr(task, "for_phantoms", lambda: task)()
    optimiser, steps = optimiser_of(task, model, stage.pretrain_rate), stage.pretrain_steps
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps + 1, cycle_momentum=False)
    everything = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train()
    for step in range(steps):
        _public_step(task, model, optimiser, everything, phantoms, stage, draws, step)
        schedule.step()


def teach(
    task: Trained,
    model: nn.Module,
    patients: Sequence[PatientTensors],
    stage: Stage,
    draws: torch.Generator,
    number: int,
    memory: dict[str, Tensor],
) -> None:
    """Take the stage's `public_steps` on public or made `patients`, on the weights that patients train, without noise.

    Their gradients are functions of public and released values (post-processing). They pull the weights back from
    where noise has carried them, as added public gradients do (Amid et al. 2022), at the server and once for all sites.

    Args:
        task: what is trained.
        model: changed in place.
        patients: public or made.
        stage: steps, rate, schedule.
        draws: public randomness.
        number: of the round, from 1.
        memory: the optimiser's moments from round to round, changed: a few steps of an Adam that has just begun are
            steps of full length whichever way, and undo what patients taught.
    """
    optimiser = optimiser_of(task, model, stage.pretrain_rate)
    set_rate(optimiser, stage, number)
    recall(optimiser, model, memory, "public")
    chosen = task.private_parameters(model)
    model.train()
    for step in range(stage.public_steps):
        so_far = (number - 1) * stage.public_steps + step
        _public_step(task, model, optimiser, chosen, patients, stage, draws, so_far)
    remember(optimiser, model, memory, "public")


def _public_step(
    task: Trained,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    patients: Sequence[PatientTensors],
    stage: Stage,
    draws: torch.Generator,
    step: int,
) -> None:
    chosen = torch.randint(len(patients), (PRETRAIN_BATCH,), generator=draws).tolist()
    released = private_gradient(
        parameters,
        [patients[i] for i in chosen],
        lambda patient: _loss(task, model, _view(task, stage, patient, draws, FAR), draws),
        clip=math.inf,
        noise_multiplier=0.0,
        expected=len(chosen),
        loss_bound=task.loss_bound,
        generator=NO_NOISE,
    )
    take_step(task, model, optimiser, parameters, released.gradients, draws, step)


def _loss(task: Trained, model: nn.Module, seen: PatientTensors, draws: torch.Generator) -> Tensor | None:
    """Return a patient's loss, computed where the network is."""
    there, own = placed(model, draws)
    with there:
        return task.patient_loss(model, seen.to(where(model)), own)


def _view(
    task: Trained, stage: Stage, patient: PatientTensors, draws: torch.Generator, strengths: Strengths | None = None
) -> PatientTensors:
    """Return what a step sees of a patient: what the task takes of it, augmented as the stage says."""
    taken: Callable[[PatientTensors, torch.Generator], PatientTensors] | None = getattr(task, "sampled", None)
    seen = patient if taken is None else taken(patient, draws)
    if stage.augment != "traditional":
        return seen
    return traditional(seen, draws, strengths, apart=getattr(task, "apart", False))


def optimiser_of(task: Trained, model: nn.Module, rate: float) -> torch.optim.Adam:
    """Return the local optimiser; weights that get no gradient, private or public, stay as they are.

    A task's `rates` give some weights another learning rate than `rate`, such as two time scales (Heusel 2017).
    """
    rates: Mapping[str, float] = getattr(task, "rates", {})
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for start, factor in rates.items() if name.startswith(start)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    chosen = [
        {"params": parameters, "lr": rate * factor, "initial_lr": rate * factor}
        for factor, parameters in groups.items()
    ]
    return torch.optim.Adam(chosen, lr=rate, betas=task.betas)


def set_rate(optimiser: torch.optim.Optimizer, stage: Stage, number: int) -> None:
    """Set the learning rate of round `number`, counted from 1, as the stage's schedule says."""
    share = (1 + math.cos(math.pi * (number - 1) / stage.rounds)) / 2 if stage.schedule == "cosine" else 1.0
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * share


def measure(
    task: Measured,
    patients: Sequence[PatientTensors],
    strength: Strength,
    noise: np.random.Generator,
    note: Callable[[Exception], None] | None = None,
) -> dict[str, Tensor]:
    """Return the noised sum of the patients' terms, by name."""
    zeros = task.zeros()
    total = PatientSum(list(zeros.values()), strength.clip)
    add_terms(total, task, patients, note)
    return dict(zip(zeros, total.release(strength.noise_multiplier, noise), strict=True))


def add_terms(
    total: PatientSum | IntegerSum,
    task: Measured,
    patients: Sequence[PatientTensors],
    note: Callable[[Exception], None] | None,
) -> None:
    """Add every patient's term to `total`, in the order of the task's `zeros`."""
    names = list(task.zeros())

    def term_at(index: int) -> Mapping[str, Tensor] | None:
        return task.term(patients[index])

    term_of = guarded(term_at, note)
    for index in range(len(patients)):
        term = term_of(index)
        if term is not None:
            total.add([term[name] for name in names])


def take_step(
    task: Trained,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    private: Sequence[nn.Parameter],
    gradients: Sequence[Tensor],
    draws: torch.Generator,
    step: int,
) -> None:
    """Take one step on the private gradients and, where the task has one, the public loss."""
    optimiser.zero_grad(set_to_none=True)
    there, own = placed(model, draws)
    with there:
        public = task.public_loss(model, own, step)
    if public is not None:
        public.backward()  # type: ignore[no-untyped-call]
    for parameter, gradient in zip(private, gradients, strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    optimiser.step()
    with there:
        task.after_step(model)

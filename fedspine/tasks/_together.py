"""Stages whose rounds are one secure sum over sites: which those are, what a site sends, and the step that follows.

Under `sums = "secure"` a stage is one sum where its result needs the total alone: a task that measures and says
`POOLS`, or a trained one that takes one step a round and keeps nothing at the site. Then the server takes the step.
Every other stage keeps each site's own noise. For rows per scanner that is the better way: the sum over sites of rows
that only one of them fills tells that site's sum all the same, so masks would hide nothing, and shares of noise would
add up to no less than the site's own while leaving less against a coalition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.privacy.integer_sum import Integers, IntegerSum
from fedspine.privacy.patient_sum import poisson_sample, public_generator
from fedspine.privacy.sgd import gradient_share, mean_of
from fedspine.tasks._moments import recall, remember
from fedspine.tasks._rounds import Strength, add_terms, loss_at, optimiser_of, set_rate, take_step
from fedspine.tasks._task import TOGETHER, Measured, Trained

MEMORY = "together"
"""What the server's moments of its optimiser are called in a stage's memory."""


def is_one_sum(plan: Plan, stage: Stage, task: Trained | Measured) -> bool:
    """Return whether a round of `stage` is one secure sum."""
    if plan.privacy.sums != "secure":
        return False
    if isinstance(task, Trained):
        return stage.steps == 1 and not getattr(task, "stays", ())
    return bool(getattr(task, "pools", False))


def zeros_of(task: Trained | Measured, model: nn.Module | None) -> dict[str, Tensor]:
    """Return zeros of the names, shapes and kinds of what is summed: a term's parts, or gradients and the loss."""
    if isinstance(task, Trained) and model is not None:
        private = task.private_parameters(model)
        return {f"{i}": torch.zeros_like(p, device="cpu") for i, p in enumerate(private)} | {"loss": torch.zeros(())}
    assert isinstance(task, Measured)
    return task.zeros()


def dimension_of(task: Trained | Measured, model: nn.Module | None) -> int:
    """Return how many entries a stage's sum has."""
    return sum(value.numel() for value in zeros_of(task, model).values())


def share_of_gradient(
    task: Trained,
    model: nn.Module,
    patients: Sequence[PatientTensors],
    stage: Stage,
    strength: Strength,
    parts: int,
    noise: np.random.Generator,
    note: Callable[[Exception], None] | None = None,
) -> Integers:
    """Return a site's part of one step: the sum over a Poisson sample, in steps, with its share of the noise.

    Sampling at each site with the same probability is sampling from all of their patients together, and the argument of
    `_rounds.train_round` holds as it stands.

    Args:
        task: what is trained.
        model: with the round's weights.
        patients: of the stage's fold.
        stage: sampling rate, views.
        strength: clip and noise.
        parts: how many sites' shares make up the whole noise.
        noise: generator of sampling, noise and the patients' seeds, secret in production.
        note: told of a patient whose loss could not be computed.
    """
    model.train()
    return gradient_share(
        task.private_parameters(model),
        poisson_sample(len(patients), stage.sample_rate, noise),
        loss_at(task, model, patients, stage, noise),
        clip=strength.clip,
        noise_multiplier=strength.noise_multiplier,
        parts=parts,
        loss_bound=task.loss_bound,
        generator=noise,
        views=stage.views,
        note=note,
    )


def share_of_terms(
    task: Measured,
    patients: Sequence[PatientTensors],
    strength: Strength,
    parts: int,
    noise: np.random.Generator,
    note: Callable[[Exception], None] | None = None,
) -> Integers:
    """Return a site's part of a measurement: the sum of the patients' terms, in steps, with its share of the noise."""
    total = IntegerSum(dimension_of(task, None), strength.clip)
    add_terms(total, task, patients, note)
    return total.release_share(strength.noise_multiplier, parts, noise)


def step_together(
    task: Trained,
    plan: Plan,
    stage: Stage,
    weights: Mapping[str, Tensor],
    total: Sequence[Tensor],
    expected: float,
    number: int,
    memory: dict[str, Tensor],
) -> tuple[dict[str, Tensor], float]:
    """Return the weights after the one step of round `number`, and the released mean loss of a patient; at the server.

    It is the step that a site with everybody's patients would take, public loss and all: post-processing of the sum.

    Args:
        task: what is trained.
        plan: its seed, of public randomness.
        stage: learning rate, schedule, clip.
        weights: of the whole network.
        total: the noised sum of gradients and losses, in `zeros_of`'s order; changed.
        expected: patients expected in the sample, of all sites in the sum.
        number: of the round, from 1.
        memory: the optimiser's moments from round to round, changed.
    """
    released = mean_of(total, stage.clip, task.loss_bound, expected)
    model = task.build()
    model.load_state_dict(dict(weights))
    optimiser = optimiser_of(task, model, stage.learning_rate)
    set_rate(optimiser, stage, number)
    recall(optimiser, model, memory, MEMORY)
    model.train()
    draws = public_generator(plan.seed, "draws", TOGETHER, stage.name, number)
    take_step(task, model, optimiser, task.private_parameters(model), released.gradients, draws, number - 1)
    remember(optimiser, model, memory, MEMORY)
    return {key: value.detach().clone() for key, value in model.state_dict().items()}, released.loss

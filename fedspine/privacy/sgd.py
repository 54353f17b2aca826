"""Private SGD, a patient at a time: backward, clip, accumulate; noise once a step.

All slices, contrasts and omics of a patient are one ordinary batch, so any loss on one patient is private by
construction (design: "a patient's contribution is a bounded sum"). No hooks, no per-sample gradients.

The loss rides along. A training curve of raw losses would be an un-noised release, so each patient's term is the pair
(gradient, loss): the gradient clipped to cos(θ)·C, the loss clamped to [0, L] and scaled to at most sin(θ)·C. The
pair's norm is at most C, so one Gaussian release of multiplier σ covers both and the curve costs nothing further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fedspine.privacy.guarded import Note, guarded
from fedspine.privacy.integer_sum import Integers, IntegerSum
from fedspine.privacy.patient_sum import PatientSum

LOSS_NORM = 0.3
"""sin(θ): the share of the bound kept for the loss; the gradient keeps 95 % of C."""

P = TypeVar("P")


@dataclass(frozen=True)
class Released:
    """One noised step.

    Args:
        gradients: mean gradient per parameter (sum over the sample divided by the expected sample size).
        loss: noised mean loss of a patient.
    """

    gradients: list[Tensor]
    loss: float


def private_gradient(
    parameters: Sequence[Tensor],
    sample: Sequence[P],
    loss: Callable[[P], Tensor | None],
    *,
    clip: float,
    noise_multiplier: float,
    expected: float,
    loss_bound: float,
    generator: np.random.Generator,
    views: int = 1,
    note: Note | None = None,
) -> Released:
    """Return the noised mean gradient of `loss` over a Poisson `sample` of patients.

    Args:
        parameters: what is trained; gradients come in the same order.
        sample: the patients of this step, possibly none.
        loss: a patient's loss, from that patient alone; `None` where the patient has nothing to say (a zero term).
        clip: C, the L2 bound on a patient's term; infinity trains without privacy.
        noise_multiplier: σ.
        expected: sampling rate times the site's number of patients: a constant, never the size drawn.
        loss_bound: L, losses above it count as L.
        generator: of the noise.
        views: how often `loss` is asked of a patient, if it is random; the mean of the gradients is clipped once, so
            the patient's term is as bounded as with one view (augmentation multiplicity, De et al. 2022), and they are
            taken one after the other, so memory stays that of one.
        note: told of a patient whose loss or gradient could not be computed; see `privacy.guarded`.
    """
    total = PatientSum([*parameters, parameters[0].new_zeros(())], clip)
    _accumulate(total, parameters, sample, loss, clip, loss_bound, views, note)
    return mean_of(total.release(noise_multiplier, generator), clip, loss_bound, expected)


def gradient_share(
    parameters: Sequence[Tensor],
    sample: Sequence[P],
    loss: Callable[[P], Tensor | None],
    *,
    clip: float,
    noise_multiplier: float,
    parts: int,
    loss_bound: float,
    generator: np.random.Generator,
    views: int = 1,
    note: Note | None = None,
) -> Integers:
    """Return the same sum in whole steps with this site's share of the noise, for a secure sum over sites.

    Returns:
        (entry,) gradients in the order of `parameters`, then the loss; `mean_of` reads what all sites' add up to.

    Args:
        parts: how many sites' shares make up the whole noise.
        parameters, sample, loss, clip, noise_multiplier, loss_bound, generator, views, note: as for
            `private_gradient`.
    """
    total = IntegerSum(sum(map(torch.numel, parameters)) + 1, clip)
    _accumulate(total, parameters, sample, loss, clip, loss_bound, views, note)
    return total.release_share(noise_multiplier, parts, generator)


def mean_of(total: Sequence[Tensor], clip: float, loss_bound: float, expected: float) -> Released:
    """Return what a noised sum of gradients and a loss, in its order, says of a patient on average.

    Args:
        total: changed in place.
        clip, loss_bound: as the terms were made with.
        expected: patients expected in the sample, of all sites that are in the sum.
    """
    *gradients, loss = total
    divisor = max(expected, 1.0)
    return Released([g.div_(divisor) for g in gradients], float(loss) / _loss_scale(clip, loss_bound) / divisor)


def _loss_scale(clip: float, loss_bound: float) -> float:
    return LOSS_NORM * clip / loss_bound if math.isfinite(clip) else 1.0


def _accumulate(
    total: PatientSum | IntegerSum,
    parameters: Sequence[Tensor],
    sample: Sequence[P],
    loss: Callable[[P], Tensor | None],
    clip: float,
    loss_bound: float,
    views: int,
    note: Note | None,
) -> None:
    limit = clip * math.sqrt(1 - LOSS_NORM**2) if math.isfinite(clip) else clip
    loss_scale = _loss_scale(clip, loss_bound)

    def term_of(patient: P) -> tuple[list[Tensor], Tensor] | None:
        return _mean_gradient(parameters, patient, loss, views)

    gradient_of = guarded(term_of, note)

    def add(patient: P) -> None:  # a function, so that one patient's gradient is gone before the next one's is made
        found = gradient_of(patient)
        if found is not None:
            term, value = found
            total.add([*_clipped(term, limit), value.clamp(0, loss_bound) * loss_scale])

    for patient in sample:
        add(patient)


def _mean_gradient(
    parameters: Sequence[Tensor], patient: P, loss: Callable[[P], Tensor | None], views: int
) -> tuple[list[Tensor], Tensor] | None:
    """Return the mean over views of a patient's gradient, and of the loss; `None` where no view had anything to say."""
    term, said, mean = None, 0, torch.zeros(())
    for _ in range(views):
        value = loss(patient)
        if value is None:
            continue
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        pairs = zip(parameters, gradients, strict=True)
        one = [torch.zeros_like(p) if g is None else g.contiguous() for p, g in pairs]
        if term is None:
            term = one
        else:
            torch._foreach_add_(term, one)
        said, mean = said + 1, mean + value.detach()
    if term is not None and said > 1:
        torch._foreach_div_(term, float(said))
    return None if term is None else (term, mean / said)


def _clipped(term: list[Tensor], limit: float) -> list[Tensor]:
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(term))))
    if norm > limit:
        torch._foreach_mul_(term, limit / norm)
    return term

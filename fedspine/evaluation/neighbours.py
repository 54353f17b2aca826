"""Whether made images repeat the patients that a generator was trained on, more than others like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedspine.evaluation.bootstrap import Estimate

DRAWS = 1000

FARTHEST = 100.0
"""The largest ratio that is told: beyond it, made images are held-out patients themselves."""


@dataclass(frozen=True)
class Memory:
    """How near made images come to patients who trained, against patients who did not.

    Args:
        ratio: median over training patients of the distance to the nearest made image, over the same of held-out
            patients. About 1 where nobody is remembered; well below 1 where training patients are copied.
        nearer: probability that a training patient lies nearer to the made images than a held-out one (0.5 by chance;
            the area under the curve of this distance as an attack on membership).
        closest: the smallest distance of a training patient over the held-out patients' median: one copy shows here.
    """

    ratio: Estimate
    nearer: Estimate
    closest: float


def memorisation(
    made: Tensor, trained: Sequence[Tensor], held_out: Sequence[Tensor], *, level: float = 0.95, seed: int = 0
) -> Memory:
    """Return how near the made images come to training and to held-out patients.

    Each patient counts once, by the slice that comes nearest, and patients are drawn anew for the intervals. A patient
    of many slices comes nearer by chance, so both sides must have been given about equally many slices a patient.

    Args:
        made: (image, feature).
        trained: of each training patient, (slice, feature).
        held_out: of each patient who was kept from training.
        level: of the intervals.
        seed: of the draws.
    """
    one, other = (np.array([float(torch.cdist(x, made).min()) for x in side]) for side in (trained, held_out))
    if not len(one) or not len(other):
        nothing = Estimate(float("nan"), float("nan"), float("nan"))
        return Memory(nothing, nothing, float("nan"))
    random = np.random.default_rng(seed)
    drawn = [random.choice(x, (DRAWS, len(x))) for x in (one, other)]
    tails = ((1 - level) / 2, (1 + level) / 2)

    def estimate(value: float, values: np.ndarray) -> Estimate:
        low, high = np.quantile(values, tails)
        return Estimate(value, float(low), float(high))

    ratios = _over(np.median(drawn[0], axis=1), np.median(drawn[1], axis=1))
    middle = np.median(other)
    return Memory(
        ratio=estimate(float(_over(np.median(one), middle)), ratios),
        nearer=estimate(_nearer(one[None], other[None])[0], _nearer(*drawn)),
        closest=float(_over(one.min(), middle)),
    )


def _over(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum(one / np.maximum(other, 1e-12), FARTHEST))


def _nearer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the Mann-Whitney probability that an entry of `one` is the smaller, ties halved: (draw,)."""
    below = (one[:, :, None] < other[:, None, :]).mean((1, 2))
    ties = (one[:, :, None] == other[:, None, :]).mean((1, 2))
    return np.asarray(below + ties / 2)

"""How large an honest release can be: what the gate compares a message with before it leaves.

These checks catch a fault, such as raw values in a release's place, a clip or a noise left out. They add nothing to the
guarantee, which is the mechanism's, and they cost nothing: all they look at is what is about to be released, and public
numbers. An honest release fails one of them with probability at most `CHANCE`.

What they cannot see: that a short vector of sums lacks its noise. Where noise in d entries is not longer than what N
patients may add (√d·σ ≤ N, about), no look at the numbers alone can tell. The audit of the mechanism tests that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

CHANCE = 1e-12
"""With which an honest release is stopped by one of the checks."""

ROUNDING = 1e-3
"""Relative slack for sums in float32."""


def longest(patients: int, clip: float, noise_multiplier: float, entries: int) -> float:
    """Return what the L2 norm of a noised sum exceeds with probability at most `CHANCE`.

    At most N terms of norm C, and Gaussian noise of standard deviation σC in d entries. The norm of a standard normal
    vector is 1-Lipschitz in it and has mean at most √d, so it exceeds √d + s with probability at most e^(−s²/2)
    (Boucheron, Lugosi, Massart 2013, theorem 5.6).
    """
    noise = noise_multiplier * clip * (math.sqrt(entries) + _far()) if noise_multiplier else 0.0
    return (patients * clip + noise) * (1 + ROUNDING)


def shortest(patients: int, clip: float, noise_multiplier: float, entries: int) -> float:
    """Return what the L2 norm of a noised sum falls below with probability at most `CHANCE`; 0 where nothing is known.

    The mean norm of the noise is at least σC·√(d−1), and patients can take away at most N·C.
    """
    noise = noise_multiplier * clip * (math.sqrt(max(entries - 1, 0)) - _far())
    return max(0.0, (noise - patients * clip) * (1 - ROUNDING))


def repeats(values: Tensor, noise_deviation: float) -> tuple[int, int]:
    """Return how many entries of `values` repeat another one, and how many may where each has its own Gaussian noise.

    Sums without noise are full of zeros and of equal counts. With noise two entries are equal by chance alone: for
    spacing u of floating-point numbers as large as the largest entry, with probability at most u / (2√π·σ), and where
    the draws themselves are coarser, at 2⁻²² (float32 draws of 23 bits). The number of equal pairs is about Poisson.
    """
    flat = values.detach().reshape(-1).numpy()
    found = len(flat) - len(np.unique(flat))
    largest = max(float(np.abs(flat).max(initial=0.0)), noise_deviation)
    spacing = float(np.spacing(np.asarray(largest, dtype=np.float32)))
    equal = spacing / (2 * math.sqrt(math.pi) * noise_deviation) + 2**-22
    pairs = len(flat) * (len(flat) - 1) / 2
    return found, int(stats.poisson.isf(CHANCE, 2 * pairs * equal))


def adam_travel(rate: float, betas: tuple[float, float], steps: int, before: int = 0) -> float:
    """Return how far `steps` steps of Adam can move a weight, whatever the gradients.

    By Cauchy-Schwarz the first moment is at most √(Σ_{k<t} (β₁²/β₂)^k)·(1−β₁)/√(1−β₂) times the root of the second;
    with the bias corrections of step t this bounds the step in units of the learning rate (Kingma, Ba 2015, section
    2.1, has the limits).

    Args:
        rate: learning rate, at most.
        betas: β₁, β₂ of Adam.
        steps: how many.
        before: steps that the optimiser has taken at most, in earlier rounds.
    """
    first, second = betas
    t = np.arange(1, min(before + steps, _SETTLED) + 1, dtype=np.float64)
    sums = np.cumsum((first**2 / second) ** (t - 1))
    step = (1 - first) / math.sqrt(1 - second) * np.sqrt(sums) * np.sqrt(1 - second**t) / (1 - first**t)
    return rate * steps * float(step.max())


_SETTLED = 20_000
"""Steps after which the bias corrections are 1 to the last digit."""


def loss_range(patients: int, expected: float, noise_multiplier: float, bound: float, share: float) -> float:
    """Return what a released mean loss exceeds in size with probability at most `CHANCE`.

    Each of at most N patients counts at most `bound`; the noise of a step is σ·bound/share before the division by the
    expected number of patients (`privacy.sgd`), and the mean over steps is at most the largest.
    """
    return (patients + noise_multiplier * 2 * _far() / share) * bound / max(expected, 1.0) * (1 + ROUNDING)


def joint_norm(arrays: Sequence[Tensor]) -> float:
    """Return the L2 norm of several tensors together."""
    return math.sqrt(sum(float(torch.linalg.vector_norm(array.double())) ** 2 for array in arrays))


def _far() -> float:
    return math.sqrt(2 * math.log(1 / CHANCE))

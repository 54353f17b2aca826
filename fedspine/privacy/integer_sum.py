"""The same primitive in whole numbers, for sums that several hospitals make together and noise in shares.

    release of a site = Σ_{patient in sample} round(clip(f(patient), C) · s / C) + Skellam(σ²s² / (K - t))

A mask hides a number only modulo 2³² or 2⁶⁴, so what is masked must be whole numbers, and the noise must be whole
numbers whose sums are of the same family. Skellam's are: the difference of two Poisson numbers, of variance v₁ at one
site and v₂ at another, adds up to Skellam of variance v₁ + v₂ (Agarwal, Kairouz, Liu 2021, arXiv:2110.04995). Of K
sites each adds 1/(K - t) of the variance σ²s²; whatever t of them reveal or leave out, σ²s² is left in the total.

Argument. Neighbouring cohorts differ by one patient of one site. Each patient's term is clipped to norm C, multiplied
by s/C and rounded *before* it is added, from that patient alone. To the nearest whole number first, which may lengthen
it; where its norm then is over B = √(s² + d/4), towards zero instead, which never lengthens. So the integer vector of
every patient has norm B at most, not only most likely, and the two totals differ by one such vector. Skellam noise of
variance σ²s² on a whole-number query of L2 sensitivity B and L1 sensitivity √d·B has the Rényi bound of that
paper, which `privacy.accounting` composes. B exceeds s by 0.05 % at most: see `steps_for`. Reducing the total
modulo 2³² or 2⁶⁴ is post-processing.

The noise is exact but for one thing: NumPy accepts or rejects a Poisson number of mean λ by a difference of two numbers
near λ·ln λ, whose last binary digit is uncertain, so a number's probability may be off by a factor 1 ± 10⁻¹⁶·λ·ln λ.
A larger mean is therefore drawn in pieces of at most `MOST_MEAN`, where that is 3·10⁻⁶.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspine.errors import PrivacyError

Integers = NDArray[np.int64]

LEAST_STEPS, STEPS_PER_ENTRY = 4096, 16
"""Steps that C is divided into: at least so many, and so many for each unit of √d."""

DEAREST = (LEAST_STEPS // STEPS_PER_ENTRY) ** 2
"""The dimension at which a secure sum of a given σ costs most: with fewer entries B/s falls, with more s rises."""

MOST_MEAN = 2.0**30
"""Of one Poisson draw."""


def steps_for(dimension: int) -> int:
    """Return s, the whole steps that the bound C is divided into for vectors of so many entries.

    An entry of a typical long vector, C/√d, is 16 steps or more; rounding then adds √(1/12)/16 = 2 % of it at random,
    and with s ≥ 16·√d the bound B is at most √(1 + 1/1024) times s.
    """
    return max(LEAST_STEPS, math.ceil(STEPS_PER_ENTRY * math.sqrt(dimension)))


class IntegerSum:
    """Accumulates clipped, rounded terms and releases this site's share once.

    Args:
        dimension: d, entries of a term, all its tensors together.
        clip: the bound C on a term's joint L2 norm.
    """

    def __init__(self, dimension: int, clip: float) -> None:
        if not 0 < clip < math.inf:
            raise PrivacyError(f"clip of a secure sum must be positive and finite, got {clip}")
        self.total: Integers = np.zeros(dimension, np.int64)
        self.steps = steps_for(dimension)
        self._clip = clip
        self._released = False

    def add(self, term: Sequence[Tensor]) -> None:
        """Add one patient's `term`, clipped and rounded; zero if it is not finite."""
        flat = torch.cat([part.detach().reshape(-1).to("cpu", torch.float64) for part in term]).numpy()
        norm = float(np.linalg.norm(flat))
        if not math.isfinite(norm):
            return
        self.total += whole(flat * (self.steps / max(norm, self._clip)), self.steps)

    def release_share(self, noise_multiplier: float, parts: int, generator: np.random.Generator) -> Integers:
        """Return the sum plus this site's share of the noise, in steps; only once.

        Args:
            noise_multiplier: σ, standard deviation in units of C of what `parts` sites add together.
            parts: K - t, how many sites' shares make up the whole.
            generator: of the noise.

        Raises:
            PrivacyError: at a second release, or without noise.
        """
        if self._released:
            raise PrivacyError("a patient sum is released once; make another for another release")
        if not (0 < noise_multiplier < math.inf and parts >= 1):
            raise PrivacyError(
                f"a secure sum must have noise, and a site to add it, got {noise_multiplier} in {parts} parts"
            )
        self._released = True
        return self.total + skellam(len(self.total), (noise_multiplier * self.steps) ** 2 / parts, generator)


def whole(scaled: NDArray[np.float64], steps: int) -> Integers:
    """Return `scaled`, whose norm is at most `steps`, in whole numbers of norm B at most.

    >>> whole(np.array([3.4, -0.6]), 4).tolist()
    [3, -1]
    """
    nearest = np.rint(scaled)
    if float(nearest @ nearest) > steps**2 + len(scaled) / 4:
        nearest = np.trunc(scaled)
    return nearest.astype(np.int64)


def skellam(size: int, variance: float, generator: np.random.Generator) -> Integers:
    """Return `size` Skellam numbers of mean 0: differences of two Poisson numbers of mean `variance`/2 each."""
    pieces = max(1, math.ceil(variance / 2 / MOST_MEAN))
    mean = variance / 2 / pieces
    noise: Integers = np.zeros(size, np.int64)
    for _ in range(pieces):
        noise += generator.poisson(mean, size)
        noise -= generator.poisson(mean, size)
    return noise

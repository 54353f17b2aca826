"""Empirical Bayes for a batch's location and scale, exact or under noise.

ComBat's priors (Johnson et al. 2007) lie across the features of one batch: γ ~ N(γ̄, τ²), δ ~ inverse gamma with the
mean and variance of the estimates. Noise of a release is known, so its variance is taken off the priors' spread and
added to the likelihood: a noisy batch is moved less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.harmony.moments import Array

Flags = NDArray[np.bool_]

FLOOR = 1e-8
CONVERGED = 1e-4
ITERATIONS = 1000
LOCATION_SPREAD = 1.0
"""Public guess of how far γ scatters over scanners, in units of σ: of weight only where noise hides the real one."""
SCALE_SPREAD = 0.4
"""The same for δ, about 1."""
SCALE_LIMITS = (0.25, 4.0)
"""A noisy scale outside of these is noise's doing."""


def drawn(found: Array, prior: Array | float, noise: Array | float, spread: Array | float) -> Array:
    """Return `found` drawn towards `prior`: by nothing without noise, wholly where noise drowns it.

    Args:
        found: estimate.
        prior: public guess.
        noise: variance of the noise on `found`.
        spread: variance of the truth about `prior`.
    """
    return np.asarray(prior + (found - prior) / (1 + noise / spread)) if np.any(noise) else np.asarray(found)


@dataclass(frozen=True, eq=False)
class Prior:
    """What is believed of a batch's γ before its patients are seen, in units of σ.

    Args:
        mean: (feature,).
        variance: (feature,) of γ about `mean`.
        mean_variance: (feature,) how uncertain `mean` itself is, for the posterior's variance only.
    """

    mean: Array
    variance: Array
    mean_variance: Array

    @staticmethod
    def across(location: Array, noise: Array, known: Flags) -> Prior:
        """Return ComBat's prior: mean and variance over the batch's features, less what its noise adds.

        With fewer than two features nothing can be borrowed: no effect, with the public spread.
        """
        ones = np.ones_like(location)
        size = int(known.sum())
        if size < 2:
            return Prior(0 * ones, LOCATION_SPREAD**2 * ones, 0 * ones)
        extra = float(noise[known].mean())
        mean = float(drawn(np.asarray(location[known].mean()), 0.0, extra / size, LOCATION_SPREAD**2))
        spread = float(location[known].var(ddof=1)) - extra
        uncertain = 2 * extra**2 / (size - 1)
        spread = max(float(drawn(np.asarray(spread), LOCATION_SPREAD**2, uncertain, LOCATION_SPREAD**4)), FLOOR)
        return Prior(mean * ones, spread * ones, (spread + extra) / size * ones)


@dataclass(frozen=True, eq=False)
class Scale:
    """A batch's scale before shrinkage.

    Args:
        estimate: (feature,) δ̂, 1 where it cannot be told.
        squares: (feature,) the sum of squares about the batch's own mean that goes with it, in units of σ².
        mean: of δ over features.
        shape, rate: of the inverse gamma prior.
    """

    estimate: Array
    squares: Array
    mean: float
    shape: float
    rate: float


def scales(squares: Array, count: Array, noise: Array, several: Flags) -> Scale:
    """Return δ̂ and its prior.

    Args:
        squares: (feature,) Σ(z - z̄)².
        count: (feature,).
        noise: (feature,) variance of the noise on `squares`.
        several: (feature,) bool, where a scale can be told at all.
    """
    freedom = np.maximum(count - 1.0, 1.0)
    estimate = squares / freedom
    estimate = np.where(several & (estimate > 0), estimate, 1.0)
    size = int(several.sum())
    if size < 2:
        mean, spread = 1.0, 1.0
    else:
        mean, spread = float(estimate[several].mean()), float(estimate[several].var(ddof=1))
    if noise[several].any():
        own = noise / freedom**2
        mean, spread, estimate = _denoised(squares / freedom, own, several)
    spread = max(spread, FLOOR)
    shape, rate = (2 * spread + mean**2) / spread, (mean * spread + mean**3) / spread
    return Scale(estimate, estimate * freedom, mean, shape, rate)


def _denoised(estimate: Array, noise: Array, several: Flags) -> tuple[float, float, Array]:
    """Return the mean and variance of δ over features, and δ̂ drawn towards that mean by as much as noise weighs."""
    found, own = estimate[several], noise[several]
    weight = 1 / (own + SCALE_SPREAD**2)
    mean = float((weight * found).sum() / weight.sum())
    mean = float(drawn(np.asarray(mean), 1.0, 1 / float(weight.sum()), SCALE_SPREAD**2))
    mean = float(np.clip(mean, *SCALE_LIMITS))
    uncertain = 2 * float(own.mean()) ** 2 / max(len(found) - 1, 1)
    about = float(found.var(ddof=1)) - float(own.mean()) if len(found) > 1 else SCALE_SPREAD**2
    spread = max(float(drawn(np.asarray(about), SCALE_SPREAD**2, uncertain, SCALE_SPREAD**4)), FLOOR)
    shrunk = np.clip(mean + (estimate - mean) * spread / (spread + noise), *SCALE_LIMITS)
    return mean, spread, np.where(several, shrunk, 1.0)


def posterior(
    location: Array, count: Array, noise: Array, scale: Scale, prior: Prior, several: Flags
) -> tuple[Array, Array]:
    """Return γ* and δ*, both (feature,), by ComBat's iteration.

    It stops by the *signed* ratio of the reference implementation, where a negative γ never counts: else γ* differ by
    1e-6 from what every published ComBat gives.

    Args:
        location: (feature,) γ̂.
        count: (feature,).
        noise: (feature,) variance that the release's noise adds to `location`.
        scale: before shrinkage.
        prior: of γ.
        several: (feature,) bool, where δ is estimated; elsewhere it stays as it is.
    """
    gamma, delta = location, scale.estimate
    for _ in range(ITERATIONS):
        likelihood = delta / count
        new_gamma = (prior.variance * location + (likelihood + noise) * prior.mean) / (
            prior.variance + likelihood + noise
        )
        sampled = likelihood / (likelihood + noise)  # the share of (γ̂ - γ)² that is the patients', not the noise's
        about = scale.squares + count * sampled * (location - new_gamma) ** 2
        new_delta = np.where(several, (0.5 * about + scale.rate) / (count / 2 + scale.shape - 1), delta)
        change = max(_largest(new_gamma - gamma, gamma), _largest(new_delta - delta, delta))
        gamma, delta = new_gamma, new_delta
        if not change > CONVERGED:
            break
    return gamma, delta


def _largest(change: Array, old: Array) -> float:
    ratio = np.divide(np.abs(change), old, out=np.zeros_like(change), where=old != 0)
    return float(ratio.max(initial=-np.inf))

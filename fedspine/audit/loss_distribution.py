"""An accountant of the audit's own: privacy-loss distributions convolved by FFT, without the ledger's library.

The loss of one Gaussian release, Poisson-sampled at rate q, is log of the ratio of the mixture (1 - q) N(0, σ²) +
q N(1, σ²) to N(0, σ²), for a patient removed, and of the inverse ratio for one added (Zhu, Dong, Wang 2022). It is
monotone in what is released, so its distribution is known in closed form; it is laid on a grid, to the nearest point,
and releases are composed by multiplying Fourier transforms (Koskela, Jälkö, Honkela 2020). Rounding to the nearest is
neither above nor below the truth: a check on an accountant that never errs to one side, not a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.stats import norm

Array = NDArray[np.float64]

FINEST, COARSEST = 2e-5, 1e-3
"""Bounds on the grid's step, in nats."""

MOST_POINTS = 2**22


@dataclass(frozen=True)
class Release:
    """`count` Gaussian releases.

    Args:
        noise_multiplier: σ, above 0.
        sample_rate: Poisson probability of a patient.
        count: how many.
    """

    noise_multiplier: float
    sample_rate: float
    count: int


def epsilon(releases: Sequence[Release], delta: float) -> float:
    """Return epsilon at `delta` of all releases together, the larger of the two for a patient added or removed."""
    merged = _merged(releases)
    if not merged:
        return 0.0
    if any(release.noise_multiplier <= 0 for release in merged):
        return math.inf
    return max(_one_way(merged, delta, removed) for removed in (True, False))


def _merged(releases: Sequence[Release]) -> list[Release]:
    """Return one release for each kind; those of everybody are one of σ = (Σ 1/σ²)^(-1/2)."""
    if any(release.noise_multiplier <= 0 for release in releases):
        return [Release(0.0, 1.0, 1)]
    counts: dict[tuple[float, float], int] = {}
    whole = 0.0
    for release in releases:
        if release.sample_rate >= 1:
            whole += release.count / release.noise_multiplier**2
        else:
            key = release.noise_multiplier, release.sample_rate
            counts[key] = counts.get(key, 0) + release.count
    merged = [Release(sigma, rate, count) for (sigma, rate), count in counts.items()]
    return [*merged, Release(whole**-0.5, 1.0, 1)] if whole > 0 else merged


def _one_way(releases: Sequence[Release], delta: float, removed: bool) -> float:
    distributions = [_distribution(release, removed) for release in releases]
    moments = [_moments(distribution) for distribution in distributions]
    mean = sum(m * r.count for (m, _), r in zip(moments, releases, strict=True))
    deviation = math.sqrt(sum(d**2 * r.count for (_, d), r in zip(moments, releases, strict=True)))
    reach = abs(mean) + 12 * deviation + 40 * max(d for _, d in moments)
    step = min(max(min(d for _, d in moments) / 8, FINEST), COARSEST)
    points = min(fft.next_fast_len(2 * math.ceil(reach / step) + 1), MOST_POINTS)
    step = max(step, 2 * reach / points)
    losses = step * (np.arange(points) - points // 2)
    product: NDArray[np.complex128] | None = None
    for distribution, release in zip(distributions, releases, strict=True):
        edges = np.concatenate([losses - step / 2, [losses[-1] + step / 2]])
        cells = np.diff(distribution(edges))
        transformed = fft.rfft(fft.ifftshift(cells)) ** release.count
        product = transformed if product is None else product * transformed
    assert product is not None
    masses = np.clip(fft.fftshift(fft.irfft(product, points)), 0.0, None)
    return _epsilon_of(losses, masses, delta)


def _distribution(release: Release, removed: bool) -> Callable[[Array], Array]:
    """Return the distribution function of one release's privacy loss."""
    sigma, rate = release.noise_multiplier, release.sample_rate

    def place(loss: Array) -> Array:
        """Return where the log ratio of mixture to plain is `loss`; minus infinity below what it can be."""
        if rate >= 1:
            return sigma**2 * loss + 0.5
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inside = np.log1p((np.expm1(loss)) / rate)
            return np.where(np.exp(loss) > 1 - rate, sigma**2 * inside + 0.5, -np.inf)

    def of_removed(loss: Array) -> Array:
        at = place(loss)
        return np.asarray((1 - rate) * norm.cdf(at / sigma) + rate * norm.cdf((at - 1) / sigma))

    def of_added(loss: Array) -> Array:
        return np.asarray(norm.sf(place(-loss) / sigma))

    return of_removed if removed else of_added


def _moments(distribution: Callable[[Array], Array]) -> tuple[float, float]:
    """Return mean and standard deviation, on a grid that is fine near 0 and wide."""
    positive = np.geomspace(1e-7, 1e3, 6000)
    edges = np.concatenate([-positive[::-1], [0.0], positive])
    masses, middles = np.diff(distribution(edges)), (edges[1:] + edges[:-1]) / 2
    mean = float(masses @ middles)
    return mean, max(math.sqrt(max(float(masses @ (middles - mean) ** 2), 0.0)), 1e-7)


def _epsilon_of(losses: Array, masses: Array, delta: float) -> float:
    """Return the smallest epsilon at which Σ (1 - e^(ε - loss))₊ mass is `delta` at most."""
    beyond = max(1.0 - float(masses.sum()), 0.0)

    def excess(value: float) -> float:
        over = losses > value
        return beyond + float(masses[over] @ -np.expm1(value - losses[over])) - delta

    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, float(losses[-1])
    if excess(high) > 0:
        return math.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high

"""What a book of releases costs a patient, by two accountants of Google's `dp-accounting`.

Every release is a Gaussian event or a secure integer sum with Skellam noise, Poisson-subsampled or not. Assumptions,
printed with every number: neighbours differ by one patient, added or removed; patients are sampled independently at
the stated rate; the number of patients a site brings is public. RDP (Mironov 2017) is the run-time stop, since it stays
valid when later releases depend on earlier ones; PLD (Koskela et al. 2020; Doroshenko et al. 2022) is tight and is what
a plan, fixed beforehand, claims.

Gaussian DP's central-limit approximation (Dong, Roth, Su 2019; Opacus' "gdp") is not used anywhere: it has no error
bound and under-reports, and a test shows where.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import dp_accounting
import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant, compute_epsilon
from numpy.typing import NDArray

from fedspine.errors import PrivacyError
from fedspine.privacy.skellam import renyi_divergence, sampled

ASSUMPTION = (
    "patient-level, neighbours add or remove one patient, Poisson sampling over patients, the number of patients public"
)

GAUSSIAN, SKELLAM = "gaussian", "skellam"

ORDERS = (*range(2, 64), 64, 80, 96, 128, 192, 256, 512, 1024)
"""Whole Rényi orders: exact finite sums, while fractional ones may fail to converge at high sampling rates."""

INTERVAL = 1e-3
"""Step of the discretised privacy loss. Losses are rounded to the dear side, so a coarse step never flatters."""

SPLITS = (0.1, 0.5, 0.9)
"""Shares of delta that the Gaussian events of a mixed book may take."""


@dataclass(frozen=True)
class Event:
    """`count` releases of one kind.

    Args:
        noise_multiplier: σ, noise standard deviation over the L2 bound; 0 means no privacy at all. Of a secure sum, the
            noise of the total.
        sample_rate: Poisson probability of a patient; 1 for everyone.
        count: how many.
        mechanism: `"gaussian"`, or `"skellam"` for a secure sum of integers.
        dimension: entries of a secure sum; 0 otherwise.
        scale: integer steps that the L2 bound has in a secure sum; 0 otherwise. See `privacy.skellam` for the cost.
    """

    noise_multiplier: float
    sample_rate: float = 1.0
    count: int = 1
    mechanism: str = GAUSSIAN
    dimension: int = 0
    scale: float = 0.0


def grouped(events: Iterable[Event]) -> tuple[Event, ...]:
    """Return `events` with those of one kind counted together; what is no valid release is an error, never a guess."""
    counts: Counter[Event] = Counter()
    for event in events:
        whole = event.mechanism == GAUSSIAN or (
            event.mechanism == SKELLAM and event.dimension >= 1 and 0 < event.scale < math.inf
        )
        if not (whole and event.noise_multiplier >= 0 and 0 < event.sample_rate <= 1 and event.count >= 1):
            raise PrivacyError(f"an event must be a Gaussian release or a secure sum with valid numbers, got {event}")
        counts[replace(event, count=1)] += event.count
    kinds = sorted(counts, key=lambda kind: (kind.mechanism, kind.noise_multiplier, kind.sample_rate, repr(kind)))
    return tuple(replace(kind, count=counts[kind]) for kind in kinds)


def epsilon_rdp(events: Iterable[Event], delta: float) -> float:
    """Return epsilon at `delta` by Rényi accounting; infinity if a release had no noise."""
    return _rdp(grouped(events), delta)


def epsilon_pld(events: Iterable[Event], delta: float) -> float:
    """Return epsilon at `delta` by privacy-loss distributions (pessimistic discretisation, never below the truth).

    The worst case of a secure sum in many dimensions has no known privacy-loss distribution. A book that holds some is
    bounded by the least of: Rényi accounting of everything; and for a few shares s, the sum of PLD of the Gaussian
    events at s·delta and Rényi accounting of the secure sums at (1 − s)·delta. Argument: each of these is an upper
    bound (the second by basic composition, Dwork et al. 2006), and which one is taken depends on public numbers alone.
    """
    return _pld(grouped(events), delta)


def marginal_costs(events: Sequence[Event], delta: float) -> list[float]:
    """Return by how much epsilon falls as the noise of each of `events` grows: -∂ε/∂ln σ, by Rényi accounting.

    Epsilon is the sum of the divergences at the order that decides, plus what depends on that order alone; at the best
    order the derivative is that of the divergences (envelope theorem).
    """
    curve = sum(kind.count * _curve(replace(kind, count=1)) for kind in grouped(events))
    order = ORDERS.index(compute_epsilon(ORDERS, curve, delta)[1])
    step = 0.01

    def divergence(event: Event, factor: float) -> float:
        return float(_curve(replace(event, noise_multiplier=event.noise_multiplier * factor, count=1))[order])

    return [e.count * (divergence(e, 1 - step) - divergence(e, 1 + step)) / (2 * step) for e in events]


def loss_distribution(events: Iterable[Event]) -> privacy_loss_distribution.PrivacyLossDistribution:
    """Return the privacy-loss distribution of a book of Gaussian releases.

    Those of everyone are merged first, which is exact: releases at σ₁, σ₂, … are together one at 1/√(Σ 1/σᵢ²).

    Raises:
        PrivacyError: if one had no noise or is a secure sum.
    """
    kinds = grouped(events)
    if any(kind.noise_multiplier == 0 or kind.mechanism != GAUSSIAN for kind in kinds):
        raise PrivacyError("a privacy-loss distribution must be one of Gaussian releases with noise; found another")
    whole = sum(kind.count / kind.noise_multiplier**2 for kind in kinds if kind.sample_rate == 1)
    parts = [(1.0, 1 / math.sqrt(whole), 1)] if whole else []
    parts += [(kind.sample_rate, kind.noise_multiplier, kind.count) for kind in kinds if kind.sample_rate < 1]
    total = privacy_loss_distribution.identity(INTERVAL)
    for rate, sigma, count in parts:
        one = privacy_loss_distribution.from_gaussian_mechanism(
            sigma, value_discretization_interval=INTERVAL, sampling_prob=rate
        )
        total = total.compose(one.self_compose(count) if count > 1 else one)
    return total


@lru_cache(maxsize=1024)
def _rdp(kinds: tuple[Event, ...], delta: float) -> float:
    if not kinds:
        return 0.0
    if any(kind.noise_multiplier == 0 for kind in kinds):
        return math.inf
    curve = sum(kind.count * _curve(replace(kind, count=1)) for kind in kinds)
    return float(compute_epsilon(ORDERS, curve, delta)[0])


@lru_cache(maxsize=4096)
def _curve(kind: Event) -> NDArray[np.float64]:
    """Return the Rényi divergence of one release at each of `ORDERS`; it adds up over releases."""
    if kind.mechanism == SKELLAM:
        sigma, scale, dimension = kind.noise_multiplier, kind.scale, kind.dimension
        divergence = renyi_divergence(np.arange(2, ORDERS[-1] + 1), sigma, scale, dimension)
        return sampled(divergence, kind.sample_rate, ORDERS)
    accountant = RdpAccountant(ORDERS)
    gaussian = dp_accounting.GaussianDpEvent(kind.noise_multiplier)
    if kind.sample_rate < 1:
        accountant.compose(dp_accounting.PoissonSampledDpEvent(kind.sample_rate, gaussian))
    else:
        accountant.compose(gaussian)
    return np.asarray(accountant.rdp)


@lru_cache(maxsize=256)
def _pld(kinds: tuple[Event, ...], delta: float) -> float:
    if not kinds:
        return 0.0
    if any(kind.noise_multiplier == 0 for kind in kinds):
        return math.inf
    secure = tuple(kind for kind in kinds if kind.mechanism == SKELLAM)
    if not secure:
        return float(loss_distribution(kinds).get_epsilon_for_delta(delta))
    plain = tuple(kind for kind in kinds if kind.mechanism == GAUSSIAN)
    bounds = [_rdp(kinds, delta)]
    if plain:
        distribution = loss_distribution(plain)
        bounds += [_shared(distribution, secure, delta, share) for share in SPLITS]
    return min(bounds)


def _shared(
    plain: privacy_loss_distribution.PrivacyLossDistribution, secure: Sequence[Event], delta: float, share: float
) -> float:
    return float(plain.get_epsilon_for_delta(share * delta)) + _rdp(tuple(secure), (1 - share) * delta)

"""What a book of Gaussian releases costs a patient, by two accountants of Google's `dp-accounting`.

Every release is a Gaussian event, Poisson-subsampled or not. Assumptions, printed with every number: neighbours differ
by one patient, added or removed; patients are sampled independently at the stated rate; the number of patients a site
brings is public. RDP (Mironov 2017) is the run-time stop, since it stays valid when later releases depend on earlier
ones; PLD (Koskela et al. 2020; Doroshenko et al. 2022) is tight and is what a plan, fixed beforehand, claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import dp_accounting
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from fedspine.errors import PrivacyError

ASSUMPTION = (
    "patient-level, neighbours add or remove one patient, Poisson sampling over patients, the number of patients public"
)


ORDERS = (*range(2, 64), 64, 80, 96, 128, 192, 256, 512, 1024)
"""Whole Rényi orders: exact finite sums, while fractional ones may fail to converge at high sampling rates."""


@dataclass(frozen=True)
class Event:
    """`count` Gaussian releases of one kind.

    Args:
        noise_multiplier: σ, noise standard deviation over the L2 bound; 0 means no privacy at all.
        sample_rate: Poisson probability of a patient; 1 for everyone.
        count: how many.
    """

    noise_multiplier: float
    sample_rate: float = 1.0
    count: int = 1


def _grouped(events: Iterable[Event]) -> tuple[Event, ...]:
    counts: Counter[tuple[float, float]] = Counter()
    for event in events:
        if not (event.noise_multiplier >= 0 and 0 < event.sample_rate <= 1 and event.count >= 1):
            raise PrivacyError(f"an event must be a Gaussian release with valid numbers, got {event}")
        counts[event.noise_multiplier, event.sample_rate] += event.count
    return tuple(Event(s, q, n) for (s, q), n in sorted(counts.items()))


def _dp_event(event: Event) -> dp_accounting.DpEvent:
    gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    if event.sample_rate < 1:
        return dp_accounting.PoissonSampledDpEvent(event.sample_rate, gaussian)
    return gaussian


def epsilon_rdp(events: Iterable[Event], delta: float) -> float:
    """Return epsilon at `delta` by Rényi accounting; infinity if a release had no noise."""
    return _rdp(_grouped(events), delta)


def epsilon_pld(events: Iterable[Event], delta: float) -> float:
    """Return epsilon at `delta` by privacy-loss distributions (pessimistic discretisation, never below the truth)."""
    return _pld(_grouped(events), delta)


@lru_cache(maxsize=4096)
def _rdp(events: tuple[Event, ...], delta: float) -> float:
    if not events:
        return 0.0
    if any(event.noise_multiplier == 0 for event in events):
        return float("inf")
    accountant = RdpAccountant(ORDERS)
    for event in events:
        accountant.compose(_dp_event(event), event.count)
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=256)
def _pld(events: tuple[Event, ...], delta: float) -> float:
    if not events:
        return 0.0
    if any(event.noise_multiplier == 0 for event in events):
        return float("inf")
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    for event in events:
        accountant.compose(_dp_event(event), event.count)
    return float(accountant.get_epsilon(delta))

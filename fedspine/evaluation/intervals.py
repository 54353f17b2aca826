"""Intervals of metrics that are read off released, noised counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Counts = Mapping[str, Tensor]


def interval(
    counts: Counts,
    metrics: Callable[[Counts], dict[str, float]],
    *,
    noise_sd: float,
    units: Mapping[str, float] | None = None,
    totals: Callable[[Counts], Mapping[str, Tensor]] | None = None,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Return value, low and high of every metric by a parametric bootstrap.

    Each draw resamples the patients (n of them as Poisson with mean n, the released count floored at zero) and the
    mechanism (Gaussian noise of `noise_sd`), then computes the metrics again. So the interval holds both the few
    patients and the noise. A metric that is undefined in the release or in over half of the draws is `None`.

    A sum of a value from 0 to 1 a patient, such as of Dice, belongs to the patients that it is over: it is drawn for as
    many as were drawn, their mean as of values that are 0 or 1 (Jeffreys' Beta distribution, which spreads at 0 and 1
    too). How a value really spreads is not released; of all of one mean in [0, 1] those spread most (Bhatia and Davis
    2000), so an interval is rather too wide.

    Args:
        counts: summed counts.
        metrics: from counts to values, NaN where undefined.
        noise_sd: standard deviation of the noise on every entry.
        units: what one patient adds to an entry of each count; 1 if left out.
        totals: from counts to the patients that sums of values are over; see `Scored.totals`; none are such sums if
            left out.
        draws: bootstrap draws.
        level: of the interval.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    values = metrics(counts)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(draws):
        again = _redrawn(counts, units or {}, totals, random)
        noised = {
            key: value + noise_sd * torch.from_numpy(random.normal(size=value.shape)) for key, value in again.items()
        }
        for name, value in metrics(noised).items():
            if not math.isnan(value):
                drawn[name].append(value)
    tail = (1 - level) / 2
    result: dict[str, dict[str, float | None]] = {}
    for name, value in values.items():
        if math.isnan(value) or len(drawn[name]) < draws / 2:
            result[name] = {"value": None, "low": None, "high": None}
            continue
        low, high = np.quantile(drawn[name], (tail, 1 - tail))
        result[name] = {"value": value, "low": min(float(low), value), "high": max(float(high), value)}
    return result


def _redrawn(
    counts: Counts,
    units: Mapping[str, float],
    totals: Callable[[Counts], Mapping[str, Tensor]] | None,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    """Return counts of patients drawn anew, without noise."""
    floored = {key: value.double().clamp(min=0) for key, value in counts.items()}
    drawn = {key: _poisson(value, units.get(key, 1.0), random) for key, value in floored.items()}
    over, again = (totals(some) if totals else {} for some in (floored, drawn))
    for key, patients in over.items():
        share = (floored[key] / patients.clamp(min=1e-9)).clamp(0, 1).nan_to_num(0.0)
        unit = units.get(key, 1.0)
        tries = (again[key].nan_to_num(0.0) / unit).numpy()
        means = random.beta(share.numpy() * tries + 0.5, (1 - share.numpy()) * tries + 0.5)
        sums = unit * torch.from_numpy(np.asarray(tries * means, dtype=np.float64))
        drawn[key] = torch.where(patients.isnan(), drawn[key], sums)
    return drawn


def _poisson(tensor: Tensor, unit: float, random: np.random.Generator) -> Tensor:
    return unit * torch.from_numpy(np.asarray(random.poisson(tensor.numpy() / unit), dtype=np.float64))

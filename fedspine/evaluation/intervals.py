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
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Return value, low and high of every metric by a parametric bootstrap.

    Each draw resamples the patients (n of them as Poisson with mean n, the released count floored at zero) and the
    mechanism (Gaussian noise of `noise_sd`), then computes the metrics again. So the interval holds both the few
    patients and the noise. A metric that is undefined in the release or in over half of the draws is `None`.

    Args:
        counts: summed counts; non-integer sums (such as a sum of Dice scores) are resampled in the same way.
        metrics: from counts to values, NaN where undefined.
        noise_sd: standard deviation of the noise on every entry.
        units: what one patient adds to an entry of each count; 1 if left out.
        draws: bootstrap draws.
        level: of the interval.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    values = metrics(counts)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(draws):
        again = {key: _redrawn(tensor, noise_sd, (units or {}).get(key, 1.0), random) for key, tensor in counts.items()}
        for name, value in metrics(again).items():
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


def _redrawn(tensor: Tensor, noise_sd: float, unit: float, random: np.random.Generator) -> Tensor:
    patients = tensor.double().clamp(min=0).numpy() / unit
    values = unit * random.poisson(patients) + random.normal(0.0, noise_sd, patients.shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float64))

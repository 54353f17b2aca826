"""Intervals over patients who are in one hand; for released counts see `intervals`, which know of the noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning
from scipy.stats import bootstrap as resampled

Values = NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where there is none."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """Return it as JSON has it, `None` for what is not a number."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {key: value if math.isfinite(value) else None for key, value in values.items()}


def mean_interval(values: Values, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the mean over patients and its interval (bias-corrected and accelerated; Efron 1987).

    Args:
        values: (patient,), one each: a patient's several series or slices are averaged before. NaN is left out.
        level: of the interval.
        draws: of the bootstrap.
        seed: of the draws.
    """
    known = values[np.isfinite(values)]
    return interval_of(lambda x: x.mean(axis=-1), known, level=level, draws=draws, seed=seed, vectorised=True)


def interval_of(
    statistic: Callable[..., Values | float],
    *columns: Values,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    vectorised: bool = False,
    method: str = "BCa",
) -> Estimate:
    """Return any statistic of patients and its interval: patients are drawn anew, all of a patient's values together.

    Args:
        statistic: of arrays of (patient,) each, such as an AUC of truth and score.
        columns: one array or more, (patient,) each.
        level: of the interval.
        draws: of the bootstrap.
        seed: of the draws.
        vectorised: whether the statistic takes (..., patient) and an `axis`-free reduction of the last axis.
        method: scipy's: "BCa", "percentile" or "basic".

    Where BCa is not defined (all values alike, or a statistic that some draws leave undefined) the percentile interval
    over the defined draws takes its place.
    """
    patients = len(columns[0])
    value = float(statistic(*columns)) if patients else math.nan
    if patients < 2 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = resampled(
            columns,
            (lambda *x, axis: statistic(*x)) if vectorised else statistic,
            n_resamples=draws,
            paired=True,
            vectorized=vectorised,
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    if not (math.isfinite(low) and math.isfinite(high)):
        drawn = found.bootstrap_distribution[np.isfinite(found.bootstrap_distribution)]
        low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2)) if len(drawn) else (math.nan, math.nan)
    return Estimate(value, float(low), float(high))

"""Which of two arms of a study does better, on the same patients and with the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from fedspine.errors import InputError
from fedspine.evaluation.bootstrap import Estimate

Scores = NDArray[np.float64]

DRAWS = 10_000

Name = TypeVar("Name")


@dataclass(frozen=True)
class Comparison:
    """One arm against another.

    Args:
        difference: mean of (this arm - the other), with its interval over patients and seeds.
        bootstrap_p: two-sided, from the same draws.
        wilcoxon_p: two-sided signed-rank test over patients, each patient's difference averaged over seeds.
        adjusted_p: `bootstrap_p`, which knows of seeds, after Holm's correction for the comparisons made together.
        patients: how many.
        seeds: how many.
    """

    difference: Estimate
    bootstrap_p: float
    wilcoxon_p: float
    adjusted_p: float
    patients: int
    seeds: int


def compare(arm: Scores, other: Scores, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Comparison:
    """Return how much better `arm` is than `other`.

    Patients and seeds are drawn anew, each on its own, and the differences of the drawn patients under the drawn seeds
    are averaged (the pigeonhole bootstrap, Owen 2007: it holds both kinds of chance, and errs on the wide side). With
    one seed only patients are drawn, and the interval says nothing of other seeds.

    Args:
        arm: (seed, patient) scores, a patient's once a seed; what one arm lacks (NaN, such as of a patient who trained
            under a seed) is left out of both, and a patient whom no seed tests is left out.
        other: the same seeds and patients in the same order.
        level: of the interval.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        InputError: if the two do not match.
    """
    if arm.shape != other.shape or arm.ndim != 2:
        raise InputError("two arms must have (seed, patient) scores of the same shape", "others", "pair them")
    both = arm - other
    both = both[:, np.isfinite(both).any(axis=0)]
    seeds, patients = both.shape
    if patients < 2:
        nothing = Estimate(math.nan, math.nan, math.nan)
        return Comparison(nothing, math.nan, math.nan, math.nan, patients, seeds)
    random = np.random.default_rng(seed)
    by_seed = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    by_patient = random.multinomial(patients, np.full(patients, 1 / patients), size=draws) / patients
    known, filled = np.isfinite(both).astype(float), np.nan_to_num(both)
    sums, weights = (np.einsum("ds,sp,dp->d", by_seed, one, by_patient, optimize=True) for one in (filled, known))
    drawn = sums[weights > 0] / weights[weights > 0]
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    below, above = (int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1))
    difference = Estimate(float(np.nanmean(both)), float(low), float(high))
    rank_p = signed_rank(np.nanmean(both, axis=0))
    return Comparison(difference, p, rank_p, p, patients, seeds)


def compare_all(
    arms: Mapping[str, Scores], against: str, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Comparison]:
    """Return every arm compared with the arm `against`, p-values corrected together by Holm's method."""
    return corrected(
        {name: compare(arm, arms[against], draws=draws, seed=seed) for name, arm in arms.items() if name != against}
    )


def corrected(found: Mapping[Name, Comparison]) -> dict[Name, Comparison]:
    """Return comparisons that were made together, with their `adjusted_p`."""
    adjusted = holm([one.bootstrap_p for one in found.values()])
    return {name: replace(one, adjusted_p=p) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def signed_rank(differences: Scores) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; 1 where nobody differs (Pratt 1959 for single zeros)."""
    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences, zero_method="pratt").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several (Holm 1979); NaN stays, and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted, highest = list(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted

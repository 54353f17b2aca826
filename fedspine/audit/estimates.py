"""What the scores of canaries say about epsilon: two estimates from one run, and what the stricter one can say at most.

Both get the scores of canaries that were in and of those that were out, and guess "in" above a threshold.

- `gaussian_epsilon` (Nasr 2023; Maddock 2024): whoever's error rates are too good for μ-Gaussian differential privacy
  shows a larger μ; the bound on μ is turned into epsilon (Dong, Roth, Su 2022, Corollary 2.13). It takes canaries to be
  independent and releases to be as bad as one Gaussian one: right for a test of an implementation, where both hold by
  construction; no bound on arbitrary attacks.
- `one_run_epsilon` (Steinke, Nasr, Jagielski 2023, Theorem 5.2): valid whatever the mechanism, and so weak that m
  canaries all guessed right cannot say more than `ceiling`. Above its ceiling no claim can fail by it.

Thresholds are the corners of the concave hull of the error rates, with Bonferroni's correction over them, as in the
auditing module of jax-privacy 2.0, whose numbers are golden in the tests. One thing differs: there, the absolute value
of μ is taken, so that two upper limits near 1 pass for a large μ (scores of one distribution, in and out alike, gave
epsilon 4.27 in a test); a limit from above bounds nothing from below, so here a negative μ is none.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST = 100.0
"""An epsilon above this is given as this."""


def gaussian_epsilon(inside: Array, outside: Array, delta: float, significance: float) -> float:
    """Return a lower estimate of epsilon at `delta`, too large with probability `significance` at most.

    Args:
        inside: scores of canaries that were in, (canary,).
        outside: of those that were not.
        delta: at which epsilon is stated.
        significance: for all thresholds together.
    """
    missed, rejected = _counts(inside, outside)
    level = significance / (2 * len(missed))
    misses = _upper(missed, len(inside), level)
    alarms = _upper(len(outside) - rejected, len(outside), level)
    usable = np.maximum(misses, alarms) < 1 - delta
    if not usable.any():
        return 0.0
    return epsilon_of_mu(float((stats.norm.isf(alarms[usable]) - stats.norm.ppf(misses[usable])).max()), delta)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return epsilon at `delta` of μ-Gaussian differential privacy, `MOST` at most."""
    if mu <= 0:
        return 0.0

    def gap(epsilon: float) -> float:
        first = stats.norm.logcdf(mu / 2 - epsilon / mu)
        second = epsilon + stats.norm.logcdf(-mu / 2 - epsilon / mu)
        return float(first + np.log1p(-np.exp(min(second - first, 0.0))) - math.log(delta))

    if gap(0.0) <= 0:
        return 0.0
    return MOST if gap(MOST) >= 0 else float(brentq(gap, 0.0, MOST, xtol=1e-6))


def one_run_epsilon(inside: Array, outside: Array, delta: float, significance: float) -> float:
    """Return the epsilon that one run proves wrong at `delta`, with confidence 1 - `significance`."""
    missed, rejected = _counts(inside, outside)
    right, wrong = len(inside) - missed, len(outside) - rejected
    canaries, level, best = len(inside) + len(outside), significance / len(missed), 0.0
    for correct, guesses in zip(right.tolist(), (right + wrong).tolist(), strict=True):
        if guesses:
            best = max(best, _one_run(canaries, guesses, correct, delta, level, best))
    return best


def ceiling(canaries: int, delta: float, significance: float) -> float:
    """Return the most that `one_run_epsilon` can say of so many canaries: half of them in, all found, no error."""
    return _one_run(canaries, canaries // 2, canaries // 2, delta, significance / 3, 0.0)


def one_run_p(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Return how likely so many correct guesses are at most under (epsilon, delta) (Steinke 2023, Theorem 5.2)."""
    rate = float(expit(epsilon))
    tail = float(stats.binom.sf(correct - 1, guesses, rate))
    if delta == 0:
        return tail
    by = np.arange(1, correct + 1)
    excess = stats.binom.sf(correct - by - 1, guesses, rate) - tail
    return min(tail + max(float((excess / by).max(initial=0.0)), 0.0) * delta * 2 * canaries, 1.0)


def _one_run(canaries: int, guesses: int, correct: int, delta: float, significance: float, least: float) -> float:
    """Return the largest epsilon at which so many correct guesses are less likely than `significance`, or `least`."""

    def surplus(epsilon: float) -> float:
        return significance - one_run_p(canaries, guesses, correct, epsilon, delta)

    if surplus(least) <= 0:
        return least
    low, high = least, max(1.0, 2 * least)
    while surplus(high) > 0:
        low, high = high, 2 * high
    return float(brentq(surplus, low, high, xtol=1e-6))


def _upper(errors: Counts, trials: int, level: float) -> Array:
    """Return Clopper and Pearson's one-sided upper limit of a rate."""
    few = np.minimum(errors, trials - 1)
    limit = stats.beta.ppf(1 - level, few + 1, trials - few)
    return np.where(errors < trials, limit, 1.0)


def _counts(inside: Array, outside: Array) -> tuple[Counts, Counts]:
    """Return, by threshold, how many that were in are missed and how many that were out are rejected."""
    thresholds = np.concatenate([np.union1d(inside, outside), [np.inf]])
    missed = np.searchsorted(np.sort(inside), thresholds)
    rejected = np.searchsorted(np.sort(outside), thresholds)
    kept = np.arange(len(thresholds))
    while len(kept) > 2:  # drop what lies on or below the line between its neighbours, until nothing does
        steps_missed, steps_rejected = np.diff(missed[kept]), np.diff(rejected[kept])
        below = steps_rejected[:-1] * steps_missed[1:] - steps_rejected[1:] * steps_missed[:-1] <= 0
        if not below.any():
            break
        kept = kept[np.r_[True, ~below, True]]
    return missed[kept], rejected[kept]

"""When a statistical test is an alarm, so that an honest system hardly ever hears one.

A line of an audit makes k tests. One counts as an alarm where its p-value times k is below `ALARM` (Bonferroni), so a
line alarms on an honest system once in 10,000 audits at most, and the three lines that test by chance (A6, A7, A8)
together three times in 10,000. There is power to spare for so low a level: the faults to be found are 2 % of the noise,
eight standard deviations away, and larger ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALARM = 1e-4
"""How often a line may alarm on an honest system."""


@dataclass(frozen=True)
class Test:
    """One statistical test.

    Args:
        what: was tested, in words.
        p: probability of a result as far off on an honest system.
    """

    __test__ = False

    what: str
    p: float


def smallest(tests: Sequence[Test]) -> Test:
    """Return the test with the smallest p-value."""
    return min(tests, key=lambda test: test.p)


def alarms(tests: Sequence[Test]) -> list[Test]:
    """Return the tests that are alarms, the clearest first."""
    return sorted((test for test in tests if test.p * len(tests) < ALARM), key=lambda test: test.p)


def figures(tests: Sequence[Test]) -> Mapping[str, float]:
    """Return p-values by name."""
    return {test.what: test.p for test in tests}


def chi_square(statistic: float, freedom: float) -> float:
    """Return the two-sided p-value of a chi-square statistic."""
    return float(min(1.0, 2 * min(stats.chi2.cdf(statistic, freedom), stats.chi2.sf(statistic, freedom))))


def spread(squares: float, count: int, excess: float) -> float:
    """Return the two-sided p-value of a sum of `count` squares of mean 1 and variance 2 + `excess`.

    A scaled chi-square with the same mean and variance stands for their distribution (Satterthwaite 1946).

    Args:
        squares: the sum.
        count: how many.
        excess: kurtosis, above that of a Gaussian, of what is squared.
    """
    scale = 1 + excess / 2
    return chi_square(squares / scale, count / scale)


def centred(values: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the mean of many values of variance 1 being 0."""
    return float(2 * stats.norm.sf(abs(values.mean()) * np.sqrt(values.size)))

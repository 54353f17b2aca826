"""The estimates of epsilon against published and other people's numbers; their false alarms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.audit.alarms import ALARM, Test, alarms, chi_square, spread
from fedspine.audit.canaries import CANARIES
from fedspine.audit.estimates import _one_run as bound_of_guesses
from fedspine.audit.estimates import (
    ceiling,
    epsilon_of_mu,
    gaussian_epsilon,
    one_run_epsilon,
    one_run_p,
)
from fedspine.audit.loss_distribution import Release, epsilon
from fedspine.privacy.accounting import Event, epsilon_pld

SIGMA, RATE, STEPS, CLAIM = 2.0, 32 / 300, 469, 5.77
"""A training whose epsilon is 5.77 at delta 1e-5."""


def test_the_one_run_bound_gives_the_numbers_of_its_paper() -> None:
    """Steinke, Nasr, Jagielski 2023: the example of theorem 5.2 and two of the paper's bounds."""
    assert one_run_p(100, 100, 75, math.log(3), 0.0) == pytest.approx(0.5535, abs=5e-5)
    assert bound_of_guesses(1000, 100, 75, 1e-4, 0.05, 0.0) == pytest.approx(0.673, abs=5e-5)
    assert bound_of_guesses(100_000, 1510, 1439, 1e-5, 0.05, 0.0) == pytest.approx(2.675, abs=1e-3)


@pytest.mark.parametrize(
    ("seed", "shift", "canaries", "gaussian", "one_run"),
    [
        (0, 1.0, 200, 1.8417878888648176, 1.3052907735599508),
        (1, 2.5, 1000, 11.281975009944519, 3.2978807720853274),
        (2, 6.0, 1000, 30.280638039860733, 4.754829588834729),
    ],
)
def test_estimates_are_those_of_jax_privacy(
    seed: int, shift: float, canaries: int, gaussian: float, one_run: float
) -> None:
    """Golden: `CanaryScoreAuditor` of jax-privacy 2.0.0 at 0.05 and delta 1e-5."""
    draws = np.random.default_rng(seed)
    inside, outside = draws.normal(shift, 1, canaries // 2), draws.normal(0, 1, canaries // 2)
    assert gaussian_epsilon(inside, outside, 1e-5, 0.05) == pytest.approx(gaussian, abs=1e-5)
    assert one_run_epsilon(inside, outside, 1e-5, 0.05) == pytest.approx(one_run, abs=1e-5)


def test_scores_that_tell_nothing_prove_no_epsilon() -> None:
    """One pair of sets out of one distribution for which the absolute value of μ would give 4.27."""
    draws = np.random.default_rng(3)
    inside, outside = draws.normal(0, 1, 150), draws.normal(0, 1, 150)
    assert gaussian_epsilon(inside, outside, 1e-5, 0.05) == 0.0


def test_nobody_can_prove_more_than_the_ceiling() -> None:
    inside, outside = 9.0 + np.arange(500.0), -np.arange(500.0)
    most = ceiling(1000, 1e-5, 0.05)
    assert one_run_epsilon(inside, outside, 1e-5, 0.05) == pytest.approx(most, rel=1e-6)
    assert most < CLAIM  # so this bound could not fail at such a claim


def scores(draws: np.random.Generator, noise: float = 1.0, weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of canaries as the mechanism gives them, noise and weight of a canary off by a factor."""
    taken = draws.binomial(STEPS, RATE, CANARIES // 2)
    spread_ = noise * SIGMA * math.sqrt(STEPS)
    return weight * taken + draws.normal(0, spread_, CANARIES // 2), draws.normal(0, spread_, CANARIES // 2)


def test_honest_scores_stay_below_the_claim_and_halved_noise_is_above() -> None:
    draws = np.random.default_rng(0)
    honest = [gaussian_epsilon(*scores(draws), 1e-5, ALARM) for _ in range(20)]
    halved = [gaussian_epsilon(*scores(draws, noise=0.5), 1e-5, ALARM) for _ in range(20)]
    assert max(honest) < CLAIM < min(halved)


def test_epsilon_of_gaussian_privacy_is_that_of_one_gaussian_release() -> None:
    for mu in (0.3, 1.0, 2.5):
        assert epsilon_of_mu(mu, 1e-5) == pytest.approx(epsilon([Release(1 / mu, 1.0, 1)], 1e-5), rel=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_the_second_accountant_agrees_with_the_first(seed: int) -> None:
    draws = np.random.default_rng(seed)
    history = [
        (float(draws.uniform(0.8, 9)), float(draws.choice([1.0, 0.5, 0.25, 0.1, 0.02])), int(draws.integers(1, 60)))
        for _ in range(draws.integers(1, 6))
    ]
    own = epsilon([Release(*one) for one in history], 1e-5)
    assert own == pytest.approx(epsilon_pld([Event(*one) for one in history], 1e-5), rel=5e-3)


def test_the_second_accountant_gives_the_closed_form_of_plain_releases() -> None:
    mu = math.sqrt(4 / 20**2 + 2 / 15**2)
    assert epsilon([Release(20.0, 1.0, 4), Release(15.0, 1.0, 2)], 1e-5) == pytest.approx(
        epsilon_of_mu(mu, 1e-5), rel=1e-3
    )


@given(st.floats(0.7, 8), st.sampled_from([0.05, 0.3, 1.0]))
def test_epsilon_grows_with_every_release(sigma: float, rate: float) -> None:
    costs = [epsilon([Release(sigma, rate, count)], 1e-5) for count in (1, 4, 16)]
    assert all(one < other for one, other in pairwise(costs))


def test_a_release_without_noise_has_no_epsilon() -> None:
    assert epsilon([Release(0.0, 1.0, 1), Release(2.0, 0.1, 5)], 1e-5) == math.inf


def test_honest_p_values_are_uniform() -> None:
    draws = np.random.default_rng(1)
    squares = (draws.normal(0, 1, (4000, 50)) ** 2).sum(1)
    flips = ((draws.random((4000, 256, 1)) < 0.5) * 2 - 1.0)[..., 0]
    found = [chi_square(float(one), 50) for one in squares]
    assert np.mean(np.array(found) < 0.01) == pytest.approx(0.01, abs=0.005)
    counts = [spread(float((row.reshape(16, 16).sum(1) ** 2 / 16).sum()), 16, -2 / 16) for row in flips]
    assert np.mean(np.array(counts) < 0.01) == pytest.approx(0.01, abs=0.006)


def test_an_alarm_counts_how_many_tests_there_were() -> None:
    tests = [Test("one", 5e-5), *(Test(str(index), 0.5) for index in range(9))]
    assert not alarms(tests)
    assert alarms(tests[:1])

"""Epsilon agrees with an independent accountant, adds up, and is solved for."""

from __future__ import annotations

import math
import warnings

import pytest

from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.errors import ConfigError, PrivacyError
from fedspine.privacy.accounting import Event, epsilon_pld, epsilon_rdp
from fedspine.privacy.calibrate import calibrate, plan_epsilon

DELTA = 1e-5


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.0, 0.1067, 469), (2.0, 0.1, 300), (2.9, 0.5, 20)])
def test_epsilon_equals_an_independent_accountant_to_one_per_cent(sigma: float, rate: float, steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus' own import-time deprecations
        from opacus.accountants import PRVAccountant

        independent = PRVAccountant()
        independent.history = [(sigma, rate, steps)]
        expected = independent.get_epsilon(delta=DELTA)
    assert epsilon_pld([Event(sigma, rate, steps)], DELTA) == pytest.approx(expected, rel=0.01)


def test_epsilon_of_a_plain_gaussian_equals_the_closed_form() -> None:
    from scipy.optimize import brentq
    from scipy.stats import norm

    mu = math.sqrt(7) / 3.0  # seven releases of noise multiplier 3 (Balle and Wang 2018)

    def excess(epsilon: float) -> float:
        return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)) - DELTA

    assert epsilon_pld([Event(3.0, 1.0, 7)], DELTA) == pytest.approx(brentq(excess, 0, 100), rel=0.01)


def test_different_releases_compose_to_the_known_total() -> None:
    book = [Event(2.0, 0.1, 300), Event(2.5, 0.1, 300), Event(2.0, 0.1, 300), Event(20.0, 1.0, 4), Event(15.0, 1.0, 2)]
    tight, rdp = epsilon_pld(book, DELTA), epsilon_rdp(book, DELTA)
    assert tight == pytest.approx(7.20, rel=0.01)
    assert tight < rdp < 8.0


def test_epsilon_grows_with_steps_and_falls_with_noise() -> None:
    costs = [epsilon_rdp([Event(2.0, 0.3, steps)], DELTA) for steps in (1, 10, 100)]
    assert costs == sorted(costs)
    assert epsilon_rdp([Event(4.0, 0.3, 10)], DELTA) < costs[1]


def test_a_release_without_noise_costs_infinity_and_nothing_costs_nothing() -> None:
    assert epsilon_pld([Event(0.0)], DELTA) == epsilon_rdp([Event(0.0)], DELTA) == math.inf
    assert epsilon_pld([], DELTA) == epsilon_rdp([], DELTA) == 0.0


def test_an_event_that_is_no_gaussian_release_is_an_error() -> None:
    with pytest.raises(PrivacyError, match="Gaussian release"):
        epsilon_rdp([Event(1.0, 1.5)], DELTA)


def _plan(*stages: Stage, epsilon: float = 4.0) -> Plan:
    return Plan("p", privacy=PrivacyPlan(epsilon=epsilon), stage=stages)


def test_calibration_spends_the_budget_and_never_more() -> None:
    plan = calibrate(
        _plan(
            Stage("harmonise", "h", share=0.5),
            Stage("segment", "s", rounds=5, steps=4, sample_rate=0.5),
            Stage("evaluate", "e", of="s"),
        )
    )
    for fold in ("train", "held-out"):
        assert 0.97 * 4.0 < plan_epsilon(plan, fold) <= 4.0
    assert plan.find("s").noise_multiplier > 0


def test_calibration_leaves_given_noise_alone_and_says_when_it_cannot_fit() -> None:
    given = Stage("segment", "s", rounds=5, noise_multiplier=3.0)
    assert calibrate(_plan(given, Stage("harmonise", "h"))).find("s").noise_multiplier == 3.0
    with pytest.raises(ConfigError, match=r"must cost at most epsilon 0\.5"):
        calibrate(_plan(given, epsilon=0.5))

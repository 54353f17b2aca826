"""Epsilon agrees with an independent accountant, adds up, and is solved for."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.errors import ConfigError, PrivacyError
from fedspine.privacy.accounting import Event, epsilon_pld, epsilon_rdp, marginal_costs
from fedspine.privacy.calibrate import calibrate, plan_epsilon

DELTA = 1e-5


def independent(history: list[tuple[float, float, int]], error: float) -> tuple[float, float, float]:
    """Return Opacus' PRV accountant's lower bound, estimate and upper bound (Gopi, Lee, Wutschitz 2021)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus' own import-time deprecations, and log(1 - q) where q is 1
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = history
        found = accountant._get_dprv(error, DELTA / 1000).compute_epsilon(DELTA, DELTA / 1000, error)
    lower, estimate, upper = map(float, found)
    return lower, estimate, upper


def histories(count: int) -> Iterator[list[tuple[float, float, int]]]:
    """Yield random books of one to five kinds, sampled and plain, that cost from 0.5 to 12."""
    random = np.random.default_rng(27)
    while count:
        book = []
        for _ in range(random.integers(1, 6)):
            plain = float(random.uniform(2, 20)), 1.0, int(random.integers(1, 6))
            sampled = float(random.uniform(1, 6)), float(random.uniform(0.05, 0.7)), int(random.integers(1, 120))
            book.append(plain if random.random() < 0.4 else sampled)
        if 0.5 < epsilon_pld([Event(*kind) for kind in book], DELTA) < 12:
            count -= 1
            yield book


def agrees(book: list[tuple[float, float, int]]) -> None:
    found = epsilon_pld([Event(*kind) for kind in book], DELTA)
    lower, estimate, _ = independent(book, 0.005 * found)
    assert found == pytest.approx(estimate, rel=0.01)
    assert found >= lower
    assert epsilon_rdp([Event(*kind) for kind in book], DELTA) >= found


def test_epsilon_equals_an_independent_accountant_to_one_per_cent() -> None:
    agrees([(2.0, 0.3, 20), (8.0, 1.0, 3)])


@pytest.mark.slow
def test_epsilon_equals_an_independent_accountant_to_one_per_cent_on_fifty_books() -> None:
    for book in histories(50):
        agrees(book)


@pytest.mark.parametrize(
    ("sigma", "delta", "rate", "steps", "pld"),
    [
        (1.0, 1e-5, 0.1067, 469, 17.20),
        (1.0, 1e-5, 0.1, 500, 16.56),
        (1.0, 1e-3, 0.1067, 469, 12.97),
        (2.0, 1e-5, 0.1067, 469, 5.77),
        (0.6, 1e-5, 0.1067, 469, 51.6),
    ],
)
def test_epsilon_of_a_usual_training_run_is_what_it_is_known_to_be(
    sigma: float, delta: float, rate: float, steps: int, pld: float
) -> None:
    assert epsilon_pld([Event(sigma, rate, steps)], delta) == pytest.approx(pld, rel=2e-3)
    assert epsilon_rdp([Event(sigma, rate, steps)], delta) > pld


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.0, 0.1, 500), (1.0, 0.1, 10), (2.0, 0.1067, 469)])
def test_the_gaussian_approximation_under_reports_where_these_accountants_do_not(
    sigma: float, rate: float, steps: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import GaussianAccountant

        approximate = GaussianAccountant()
        approximate.history = [(sigma, rate, steps)]
        said = approximate.get_epsilon(delta=DELTA)
    truth = independent([(sigma, rate, steps)], 0.05)[0]
    assert said < truth <= epsilon_pld([Event(sigma, rate, steps)], DELTA)


def test_no_room_of_the_house_knows_the_accountants_of_opacus() -> None:
    root = Path(__file__).parents[2]
    files = [file for room in ("fedspine", "client", "server", "simulations") for file in (root / room).rglob("*.py")]
    assert len(files) > 100
    assert not [file.name for file in files if re.search(r"^\s*(from|import) opacus", file.read_text("utf-8"), re.M)]


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


@pytest.mark.parametrize(
    "event",
    [
        Event(1.0, 1.5),
        Event(-1.0),
        Event(math.nan),
        Event(1.0, count=0),
        Event(1.0, mechanism="laplace"),
        Event(1.0, mechanism="skellam", dimension=0, scale=8.0),
        Event(1.0, mechanism="skellam", dimension=8),
    ],
)
def test_an_event_that_is_no_known_release_is_an_error(event: Event) -> None:
    for accountant in (epsilon_rdp, epsilon_pld):
        with pytest.raises(PrivacyError, match="Gaussian release or a secure sum"):
            accountant([event], DELTA)


SECURE = Event(3.0, mechanism="skellam", dimension=100, scale=4096.0)


def test_secure_sums_compose_with_gaussian_releases_and_no_bound_is_below_what_is_certain() -> None:
    gaussian = [Event(2.0, 0.1, 300), Event(4.0, 1.0, 3)]
    mixed, as_if = [*gaussian, SECURE], [*gaussian, Event(3.0)]
    assert epsilon_pld(as_if, DELTA) < epsilon_pld(mixed, DELTA) <= epsilon_rdp(mixed, DELTA)
    assert epsilon_rdp(mixed, DELTA) == pytest.approx(epsilon_rdp(as_if, DELTA), rel=1e-3)
    assert epsilon_pld([SECURE], DELTA) == epsilon_rdp([SECURE], DELTA) > epsilon_rdp([Event(3.0)], DELTA)


def test_little_beside_much_costs_least_by_both_accountants_together() -> None:
    much, little = [Event(1.0, 0.1067, 469)], replace(SECURE, noise_multiplier=60.0)
    both = epsilon_pld([*much, little], DELTA)
    assert epsilon_pld(much, DELTA) < both < 0.95 * epsilon_rdp([*much, little], DELTA)


def test_marginal_costs_are_the_slope_of_epsilon() -> None:
    book = [Event(3.0, 0.5, 20), Event(4.0)]
    for index, slope in enumerate(marginal_costs(book, DELTA)):
        sides = [
            epsilon_rdp(
                [
                    replace(e, noise_multiplier=e.noise_multiplier * (f if i == index else 1))
                    for i, e in enumerate(book)
                ],
                DELTA,
            )
            for f in (0.999, 1.001)
        ]
        assert slope == pytest.approx((sides[0] - sides[1]) / 0.002, rel=0.02)


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

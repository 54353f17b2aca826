"""The cost of a secure sum is never below the exact divergence, and hardly above it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ive

from fedspine.privacy.accounting import ORDERS
from fedspine.privacy.integer_sum import whole
from fedspine.privacy.skellam import renyi_divergence, sampled, sensitivities

ALL = np.arange(2, ORDERS[-1] + 1)


def log_mass(variance: float, shift: int, far: int) -> NDArray[np.float64]:
    """Return the log probabilities of Skellam noise about `shift` at -far … far: exp(-μ)·I(z, μ), Skellam 1946."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(ive(np.abs(np.arange(-far, far + 1) - shift), variance)))


def exact(order: int, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the Rényi divergence of two distributions over the same numbers; below 1e-300 counts as nothing."""
    told = np.isfinite(one) & np.isfinite(other)
    return float(np.logaddexp.reduce(order * one[told] + (1 - order) * other[told])) / (order - 1)


@pytest.mark.parametrize(("sigma", "scale"), [(1.0, 3), (2.0, 3), (4.0, 2), (1.5, 12)])
def test_the_bound_covers_the_exact_divergence_of_one_entry(sigma: float, scale: int) -> None:
    variance = (sigma * scale) ** 2
    for order in (2, 3, 8, 16):
        far = int(order * scale + 14 * np.sqrt(variance)) + 40
        truth = exact(order, log_mass(variance, scale, far), log_mass(variance, 0, far))
        bound = float(renyi_divergence(np.array([order]), sigma, scale, 1)[0])
        assert truth <= bound
        assert scale < 12 or bound <= 1.08 * truth


def test_the_bound_tends_to_the_gaussian_as_steps_grow_finer() -> None:
    gaussian = ALL / (2 * 3.0**2)
    found = [renyi_divergence(ALL, 3.0, scale, 100) / gaussian - 1 for scale in (64.0, 512.0, 4096.0)]
    assert (found[0] > found[1]).all()
    assert (found[1] > found[2]).all()
    assert 0 < found[2].max() < 1e-4


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("shift", [1, 4])
def test_sampling_makes_exactly_the_divergence_of_adding_and_removing_has_no_more(rate: float, shift: int) -> None:
    without, moved = log_mass(9.0, 0, 140), log_mass(9.0, shift, 140)
    mixture = np.logaddexp(np.log1p(-rate) + without, np.log(rate) + moved)
    orders = (2, 3, 5, 12)
    divergence = np.array([exact(order, moved, without) for order in range(2, 13)])
    for order, found in zip(orders, sampled(divergence, rate, orders), strict=True):
        assert found == pytest.approx(exact(order, mixture, without), rel=1e-6)
        assert exact(order, without, mixture) <= found


def test_a_sum_over_everybody_is_not_sampled() -> None:
    divergence = renyi_divergence(ALL, 2.0, 4096.0, 10)
    assert sampled(divergence, 1.0, ORDERS).tolist() == [divergence[order - 2] for order in ORDERS]
    assert (sampled(divergence, 0.5, ORDERS) < sampled(divergence, 1.0, ORDERS)).all()


def test_no_rounded_term_is_longer_than_the_sensitivities_say() -> None:
    random = np.random.default_rng(1)
    longest = 0.0
    for dimension, steps in itertools.product((1, 3, 40, 700), (2, 8, 64)):
        first, second = sensitivities(steps, dimension)
        for _ in range(60):
            term = random.normal(size=dimension) * random.random(dimension) ** 4
            rounded = whole(term * (steps / np.linalg.norm(term)), steps)
            assert np.abs(rounded).sum() <= first
            assert np.linalg.norm(rounded) <= second
            longest = max(longest, float(np.linalg.norm(rounded)) / steps)
    assert longest > 1, "rounding does lengthen: without its slack the bound would be wrong"

"""The harmonisation space is the same for every site, and made of patients rather than of noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspine.errors import InputError
from fedspine.harmony.moments import Array
from fedspine.harmony.space import SpaceSums, fit_space, projected, restored, space_sums, space_term


def patients(seed: int, count: int, shift: float = 0.0) -> Array:
    """Draw features (count, 8) that two hidden axes make, and a little more."""
    axes = np.random.default_rng(0).normal(0, 1, (2, 8))
    random = np.random.default_rng(seed)
    hidden = random.normal(0, 1, (count, 2)) * [0.9, 0.5]
    return np.asarray(shift + hidden @ axes + 0.15 * random.normal(0, 1, (count, 8)))


def summed(rows: Array, noise_multiplier: float | None = None, seed: int = 0) -> SpaceSums:
    bounded = noise_multiplier is not None
    terms = [space_term(row, np.ones(len(row)), bounded=bounded) for row in rows]
    random = np.random.default_rng(seed)
    total = {part: np.sum([term[part] for term in terms], axis=0) for part in terms[0]}
    noisy = {part: v + (noise_multiplier or 0.0) * random.standard_normal(v.shape) for part, v in total.items()}
    return space_sums(noisy, len(rows), noise_multiplier)


def test_the_axes_are_those_of_the_pooled_covariance_within_batches() -> None:
    one, other = patients(1, 80), patients(2, 120, shift=5.0)
    space = fit_space([summed(one), summed(other)], most=3)
    within = np.concatenate([one - one.mean(0), other - other.mean(0)])
    variance = np.linalg.svd(within, compute_uv=False)[:3] ** 2 / 200
    np.testing.assert_allclose(space.variance, variance)
    np.testing.assert_allclose(space.axes @ space.axes.T, np.eye(3), atol=1e-8)
    np.testing.assert_allclose((within @ space.axes.T).var(0), variance, rtol=1e-6)


def test_all_axes_bring_every_patient_back() -> None:
    rows = patients(3, 50)
    space = fit_space([summed(rows)], most=8)
    np.testing.assert_allclose(restored(projected(rows, space), space), rows, atol=1e-7)
    two = fit_space([summed(rows)], most=2)
    left = np.sqrt(np.mean((restored(projected(rows, two), two) - rows) ** 2))
    assert left < 0.2


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 100))
def test_the_order_of_sites_and_the_solvers_sign_change_nothing(order: list[int], seed: int) -> None:
    batches = [summed(patients(seed + site, 30)) for site in range(4)]
    space = fit_space(batches, most=2)
    again = fit_space([batches[site] for site in order], most=2)
    np.testing.assert_allclose(space.axes, again.axes, atol=1e-8)
    for axis in space.axes:
        assert axis[np.abs(axis).argmax()] > 0


def test_noise_alone_makes_no_axis_and_axes_above_it_stay() -> None:
    rows = [patients(site, 400) for site in range(4)]
    noisy = [summed(one, 1.5, seed=site) for site, one in enumerate(rows)]
    space, exact = fit_space(noisy, most=8), fit_space([summed(one) for one in rows], most=2)
    assert 1 <= len(space.axes) <= 2
    assert abs(space.axes[0] @ exact.axes[0]) > 0.95
    empty = [summed(np.zeros((400, 8)), 1.5, seed=site) for site in range(4)]
    assert len(fit_space(empty, most=8).axes) <= 1
    drowned = [summed(one, 500.0, seed=site) for site, one in enumerate(rows)]
    assert len(fit_space(drowned, most=8).axes) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1e6), st.integers(1, 12))
def test_no_patient_whatever_has_a_term_above_norm_1(seed: int, size: float, features: int) -> None:
    random = np.random.default_rng(seed)
    term = space_term(size * random.normal(0, 1, features), np.ones(features), bounded=True)
    assert np.sqrt(sum(float((part**2).sum()) for part in term.values())) <= 1 + 1e-12


def test_a_space_needs_patients() -> None:
    with pytest.raises(InputError, match="needs patients"):
        fit_space([space_sums(space_term(np.zeros(3), np.ones(3), bounded=False), 0)], most=2)

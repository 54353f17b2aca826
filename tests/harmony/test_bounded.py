"""One patient's bounded term: its norm, its noise, and what can be told from sums of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspine.errors import InputError
from fedspine.harmony.bounded import Bounds, Weights, batch_sums, bounded_term, in_units
from fedspine.harmony.combat import batch_effect, pool
from fedspine.harmony.moments import Array, BatchSums
from simulations.combat_study import draw, price


def public(features: int, weights: Weights | None = None) -> Bounds:
    centre, spread = np.full(features, 10.0), np.full(features, 2.0)
    return Bounds(centre, spread, np.array([60.0, 0.5]), np.array([12.0, 0.5]), weights or Weights())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1e6), st.integers(1, 12))
def test_no_patient_whatever_has_a_bounded_term_above_norm_1(seed: int, size: float, features: int) -> None:
    random = np.random.default_rng(seed)
    known = (random.random(features) < 0.7).astype(np.float64)
    term = bounded_term(
        size * random.normal(0, 1, features),
        known,
        size * random.normal(0, 1, 2),
        public(features, Weights(lacking=0.2)),
    )
    assert np.sqrt(sum(float((part**2).sum()) for part in term.values())) <= 1 + 1e-12


def test_the_known_noise_is_the_noise() -> None:
    bounds = public(3)
    nothing = {part: np.zeros_like(v) for part, v in bounded_term(*ordinary(3), bounds).items()}
    random = np.random.default_rng(0)
    draws = [
        batch_sums({part: v + 2.0 * random.standard_normal(v.shape) for part, v in nothing.items()}, 50, bounds, 2.0)
        for _ in range(400)
    ]
    # how much was cut is drawn too, and scales the rest: compare with each draw's own
    first = np.array([batch.first / batch.noise.first for batch in draws])
    assert abs(first.std() - 1) < 0.05
    assert abs(np.std([b.covariates / b.noise.covariates for b in draws]) - 1) < 0.05


def ordinary(features: int) -> tuple[Array, Array, Array]:
    return np.full(features, 10.0), np.ones(features), np.array([60.0, 0.5])


def test_bounded_terms_without_noise_tell_the_same_as_exact_ones_where_nobody_is_cut() -> None:
    consortium = draw(6, (50, 50), 5, np.zeros((2, 5)))
    bounds = Bounds(consortium.centre, np.full(5, 3.0), np.array([60.0, 0.5]), np.array([20.0, 0.5]))
    batches = []
    for scanner in range(2):
        here = consortium.scanner == scanner
        terms = [
            bounded_term(v, np.ones(5), c, bounds)
            for v, c in zip(consortium.values[here], consortium.covariates[here], strict=True)
        ]
        batches.append(
            batch_sums({part: np.sum([t[part] for t in terms], axis=0) for part in terms[0]}, 50, bounds, 0.0)
        )
    found = in_units(pool(batches), bounds)
    exact = pool([consortium.sums(0), consortium.sums(1)])
    for one, other in zip(vars(found).values(), vars(exact).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("features", [10, 40])
def test_at_epsilon_1_noise_moves_features_by_under_half_of_the_removed_site_effect(features: int) -> None:
    torch.set_num_threads(1)
    distance, removed = np.mean([price(seed, features, 1.0) for seed in range(4)], axis=0)
    assert distance < 0.5 * removed


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="positive"):
        Weights(cross=0.0)


def summed(values: Array, known: Array, covariates: Array, bounds: Bounds, sd: float = 0.0) -> BatchSums:
    random = np.random.default_rng(0)
    terms = [bounded_term(*row, bounds) for row in zip(values, known, covariates, strict=True)]
    total = {part: np.sum([term[part] for term in terms], axis=0) for part in terms[0]}
    return batch_sums({k: v + sd * random.standard_normal(v.shape) for k, v in total.items()}, len(terms), bounds, sd)


def test_a_scanner_whose_patients_are_all_cut_keeps_its_effect() -> None:
    gamma = np.vstack([np.zeros(20), np.full(20, 4.0)])
    consortium = draw(8, (200, 200), 20, gamma)
    bounds = Bounds(consortium.centre, np.ones(20), np.array([60.0, 0.5]), np.array([12.0, 0.5]))
    halves = [consortium.scanner == scanner for scanner in range(2)]
    batches = [summed(consortium.values[h], np.ones((200, 20)), consortium.covariates[h], bounds) for h in halves]
    exact = [bounds.standard(consortium.values[h]).mean(0) for h in halves]
    assert np.linalg.norm(bounds.standard(consortium.values[halves[1]]), axis=1).min() > bounds.radii()["first"]
    assert np.abs(batches[1].first / 200 - exact[1]).mean() < 0.1 * np.abs(exact[1]).mean()


@pytest.mark.parametrize("sd", [0.0, 0.5])
def test_how_many_lack_a_feature_is_told_where_values_are_missing(sd: float) -> None:
    consortium = draw(9, (200, 200), 6)
    known = np.ones((200, 6))
    known[:100, 0], known[:, 1] = 0.0, 0.0
    bounds = Bounds(
        consortium.centre, np.full(6, 2.0), np.array([60.0, 0.5]), np.array([12.0, 0.5]), Weights(lacking=0.3)
    )
    here = slice(0, 200)
    batch = summed(consortium.values[here], known, consortium.covariates[here], bounds, sd)
    np.testing.assert_allclose(batch.known, [100, 0, 200, 200, 200, 200], atol=0.1 if sd == 0 else 20)
    other = summed(consortium.values[200:], np.ones((200, 6)), consortium.covariates[200:], bounds, sd)
    effect = batch_effect(batch, pool([batch, other]))
    assert np.isfinite(effect.gamma).all()


def test_a_batch_without_patients_has_sums_of_nothing() -> None:
    bounds = public(3, Weights(lacking=0.1))
    nothing = {part: np.zeros_like(v) for part, v in bounded_term(*ordinary(3), bounds).items()}
    batch = batch_sums(nothing, 0, bounds, 1.0)
    assert (batch.known == 0).all()
    assert (batch.first == 0).all()

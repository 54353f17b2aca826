"""ComBat from sums equals the reference implementation, and its noise-aware form stays sane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedspine.errors import InputError
from fedspine.harmony import moments
from fedspine.harmony.combat import BatchEffect, Pooled, adjust, batch_effect, pool
from fedspine.harmony.moments import PARTS, Array, BatchSums, Noise
from fedspine.harmony.shrinkage import Prior
from fedspine.privacy.patient_sum import PatientSum, noise_generator
from simulations.combat_study import REFERENCE, draw, reference_outputs

DATA = Path(__file__).parent.parent / "data"


def fixture() -> tuple[Array, Array, Array, dict[str, Array]]:
    with np.load(DATA / "combat_fixture.npz") as file:
        data = dict(file)
    covariates = data["cov"][:, [2, 3, 1]].astype(np.float64)
    covariates[:, 2] = covariates[:, 2].astype(np.float32)  # the reference rounds continuous covariates
    return data["Y"], covariates, data["batch"].astype(int), data


def released(values: Array, covariates: Array) -> BatchSums:
    """Add terms one patient at a time, as a hospital does."""
    zeros = moments.zeros(values.shape[1], covariates.shape[1])
    total = PatientSum([torch.from_numpy(zeros[part]) for part in PARTS], clip=float("inf"))
    for row, c in zip(values, covariates, strict=True):
        term = moments.term(row, np.isfinite(row).astype(np.float64), c)
        total.add([torch.from_numpy(term[part]) for part in PARTS])
    parts = total.release(0.0, noise_generator(0))
    assert all(part.dtype == torch.float64 for part in parts)
    return moments.from_parts({name: part.numpy() for name, part in zip(PARTS, parts, strict=True)})


def test_batches_held_by_different_sites_give_the_reference_implementations_numbers() -> None:
    rows, covariates, batch, expected = fixture()
    batches = [released(rows[batch == b], covariates[batch == b]) for b in range(4)]
    pooled = pool(batches)
    assert np.abs(pooled.sigma**2 - expected["var_pooled"]).max() < 1e-10
    for b in range(4):
        effect = batch_effect(batches[b], pooled)
        assert np.abs(effect.gamma - expected["gamma_star"][b]).max() < 1e-10
        assert np.abs(effect.delta - expected["delta_star"][b]).max() < 1e-10
        found = adjust(rows[batch == b], covariates[batch == b], pooled, effect)
        assert np.abs(found - expected["harmonised"][batch == b]).max() < 1e-10


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_outputs_are_met(name: str) -> None:
    expected = np.loadtxt(DATA / "combat_reference" / f"expected_parametric_{name}.csv", delimiter=",").T
    assert np.abs(reference_outputs(name) - expected).max() < 1e-5


def test_one_release_of_raw_sums_tells_what_the_two_rounds_tell() -> None:
    rows, covariates, batch, _ = fixture()
    parts = [(rows[batch == b], covariates[batch == b]) for b in range(4)]
    centred = [(y - y.mean(0), c - c.mean(0)) for y, c in parts]
    beta = np.linalg.solve(sum(c.T @ c for _, c in centred), sum(c.T @ y for y, c in centred))  # first round
    intercepts = [y.mean(0) - c.mean(0) @ beta for y, c in parts]  # second round
    squares = sum(((y - a - c @ beta) ** 2).sum(0) for (y, c), a in zip(parts, intercepts, strict=True))
    alpha = sum(len(y) * a for (y, _), a in zip(parts, intercepts, strict=True)) / len(rows)
    pooled = pool([moments.sums(y, c) for y, c in parts])
    np.testing.assert_allclose(pooled.beta, beta, atol=1e-11)
    np.testing.assert_allclose(pooled.alpha, alpha, atol=1e-10)
    np.testing.assert_allclose(pooled.sigma**2, squares / len(rows), atol=1e-10)


def test_a_feature_known_in_some_patients_is_regressed_on_those_alone() -> None:
    consortium = draw(0, (30, 40, 25), 6)
    values = consortium.values.copy()
    values[np.random.default_rng(0).random(len(values)) < 0.4, 2] = np.nan
    seen = np.isfinite(values[:, 2])
    alone = pool([moments.sums(values[o][:, 2:3], consortium.covariates[o]) for o in own(consortium.scanner, seen)])
    batches = [released(values[o], consortium.covariates[o]) for o in own(consortium.scanner, np.ones_like(seen))]
    pooled = pool(batches)
    for found, expected in zip(vars(pooled).values(), vars(alone).values(), strict=True):
        np.testing.assert_allclose(found[..., 2], expected[..., 0], atol=1e-10)
    adjusted = adjust(values[:30], consortium.covariates[:30], pooled, batch_effect(batches[0], pooled))
    assert (np.isnan(adjusted) == np.isnan(values[:30])).all()


def own(scanner: NDArray[np.int64], chosen: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero((scanner == s) & chosen) for s in np.unique(scanner)]


def test_a_batch_of_one_patient_keeps_its_scale_and_nobody_has_no_effect() -> None:
    consortium = draw(1, (40, 40, 1), 8)
    pooled = pool([consortium.sums(scanner) for scanner in range(3)])
    one = batch_effect(consortium.sums(2), pooled)
    assert (one.delta == 1).all()
    assert np.isfinite(one.gamma).all()
    assert (one.gamma_variance > batch_effect(consortium.sums(1), pooled).gamma_variance).all()
    nobody = batch_effect(consortium.sums(2, 0), pooled)
    assert (nobody.gamma == 0).all()
    assert (nobody.delta == 1).all()
    assert (nobody.gamma_variance == 1).all()
    prior = Prior(np.full(8, 0.5), np.full(8, 0.1), np.zeros(8))
    np.testing.assert_array_equal(batch_effect(consortium.sums(2, 0), pooled, prior=prior).gamma, prior.mean)


def test_a_feature_unknown_in_a_batch_gets_the_prior_and_disturbs_no_other() -> None:
    consortium = draw(2, (40, 40), 8)
    lacking = consortium.values[:40].copy()
    lacking[:, 0] = np.nan
    full, other = consortium.sums(0), consortium.sums(1)
    pooled = pool([full, other])
    effect = batch_effect(moments.sums(lacking, consortium.covariates[:40]), pooled)
    seven = Pooled(pooled.beta[:, 1:], pooled.alpha[1:], pooled.sigma[1:])
    expected = batch_effect(moments.sums(lacking[:, 1:], consortium.covariates[:40]), seven)
    np.testing.assert_allclose(effect.gamma[1:], expected.gamma)
    assert np.isfinite(effect.gamma[0])
    assert effect.gamma_variance[0] > effect.gamma_variance[1:].max()


def test_a_covariate_that_is_constant_in_every_batch_does_no_harm() -> None:
    consortium = draw(3, (30, 30), 4)
    constant = np.column_stack([consortium.covariates, np.where(consortium.scanner > 0, 3.0, 1.0)])
    plain = pool([consortium.sums(0), consortium.sums(1)])
    found = pool([moments.sums(consortium.values[h], constant[h]) for h in (slice(0, 30), slice(30, 60))])
    np.testing.assert_allclose(found.beta[:2], plain.beta, atol=1e-8)
    np.testing.assert_allclose(found.beta[2], 0, atol=1e-8)


def test_a_feature_that_never_varies_keeps_unit_scale() -> None:
    consortium = draw(4, (30, 30), 4)
    values = consortium.values.copy()
    values[:, 1] = np.where(consortium.scanner > 0, 7.3, 5.1)
    batches = [moments.sums(values[h], consortium.covariates[h]) for h in (slice(0, 30), slice(30, 60))]
    pooled = pool(batches)
    assert pooled.sigma[1] == 1
    assert np.abs(batch_effect(batches[0], pooled).gamma).max() < 10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_harmonising_onto_ones_own_scanner_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    pooled = Pooled(random.normal(0, 1, (2, 5)), random.normal(0, 5, 5), random.uniform(0.5, 2, 5))
    effects = [
        BatchEffect(random.normal(0, 1, 5), random.uniform(0.3, 3, 5), random.uniform(0, 1, 5)) for _ in range(2)
    ]
    values, covariates = random.normal(0, 5, (7, 5)), random.normal(0, 1, (7, 2))
    there = adjust(values, covariates, pooled, effects[0], reference=effects[1])
    back = adjust(there, covariates, pooled, effects[1], reference=effects[0])
    np.testing.assert_allclose(adjust(values, covariates, pooled, effects[0], reference=effects[0]), values)
    np.testing.assert_allclose(back, values)


def test_a_patient_on_the_reference_scanner_measures_what_adjust_says() -> None:
    consortium = draw(5, (400, 400), 6)
    batches = [consortium.sums(0), consortium.sums(1)]
    pooled = pool(batches)
    first, second = (batch_effect(batch, pooled) for batch in batches)
    found = adjust(consortium.values[:400], consortium.covariates[:400], pooled, first, reference=second)
    clean = consortium.clean
    for g in range(6):  # what the second scanner makes of a clean value, told from its own patients
        slope, offset = np.polyfit(clean[400:, g], consortium.values[400:, g], 1)
        assert np.sqrt(np.mean((found[:, g] - (slope * clean[:400, g] + offset)) ** 2)) < 0.35


def test_most_true_effects_lie_in_the_interval_of_the_posterior() -> None:
    inside = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        gamma = random.normal(0, 0.7, (6, 20))
        consortium = draw(seed, (15, 15, 15, 400, 400, 400), 20, gamma)
        batches = [consortium.sums(scanner) for scanner in range(6)]
        pooled = pool(batches)
        share = np.array([15, 15, 15, 400, 400, 400]) / 1245
        unit = pool([moments.sums(consortium.clean, consortium.covariates)]).sigma / pooled.sigma
        for scanner in range(3):
            effect = batch_effect(batches[scanner], pooled)
            exact = (gamma[scanner] - share @ gamma) * unit
            inside.append(np.abs(effect.gamma - exact) <= 1.645 * np.sqrt(effect.gamma_variance))
    assert 0.82 <= np.mean(inside) <= 0.97


def test_noise_moves_a_batch_less_not_more() -> None:
    random = np.random.default_rng(0)
    shift = random.normal(0, 1, 10)
    near, far = random.normal(0, 1, (40, 10)), random.normal(0, 1, (40, 10)) + shift

    def gamma(sd: float) -> float:
        noise = Noise(first=sd, second=sd)
        batches = [BatchSums(**{**vars(moments.sums(rows, np.zeros((40, 0)))), "noise": noise}) for rows in (near, far)]
        return float(np.abs(batch_effect(batches[1], pool(batches)).gamma).mean())

    exact, noisy, drowned = gamma(0.0), gamma(30.0), gamma(1e5)
    assert exact > noisy > drowned
    assert np.isfinite(drowned)


@pytest.mark.parametrize("lowest", [-1e6, 0.0])
def test_noisy_squares_below_zero_do_not_give_an_absurd_scale(lowest: float) -> None:
    parts = {**moments.zeros(4, 0), "known": np.full(4, 20.0), "first": np.ones(4), "second": np.full(4, lowest)}
    batch = moments.from_parts(parts, Noise(first=20.0, second=40.0))
    pooled = pool([batch, batch])
    effect = batch_effect(batch, pooled)
    assert (pooled.sigma > 0.3).all()
    assert ((effect.delta > 0.1) & (effect.delta < 10)).all()


def test_a_term_that_does_not_fit_is_refused_without_its_values() -> None:
    with pytest.raises(InputError, match="one row"):
        moments.term(np.zeros((2, 3)), np.ones((2, 3)), np.zeros(1))
    with pytest.raises(InputError, match="finite"):
        moments.term(np.array([np.nan]), np.ones(1), np.zeros(1))


def test_merging_two_releases_of_a_batch_adds_their_sums_and_their_noise() -> None:
    consortium = draw(7, (20, 20), 3)
    noisy = [BatchSums(**{**vars(consortium.sums(s)), "noise": Noise(first=3.0 + s)}) for s in range(2)]
    both = moments.merged(noisy)
    np.testing.assert_allclose(both.cross, moments.sums(consortium.values, consortium.covariates).cross)
    assert both.noise.first == pytest.approx(5.0)

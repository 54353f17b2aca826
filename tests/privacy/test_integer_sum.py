"""The whole-number mechanism: how far a patient moves it, what its noise is, and what a plan pays for it at most."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare
from scipy.stats import skellam as oracle

from fedspine.config import Stage
from fedspine.errors import PrivacyError
from fedspine.privacy.accounting import SKELLAM, Event, epsilon_rdp
from fedspine.privacy.calibrate import stage_event
from fedspine.privacy.integer_sum import DEAREST, IntegerSum, skellam, steps_for, whole
from fedspine.privacy.skellam import sensitivities

Row = np.ndarray[tuple[int], np.dtype[np.float64]]


def summed(rows: list[Row], clip: float) -> IntegerSum:
    total = IntegerSum(len(rows[0]), clip)
    for row in rows:
        total.add([torch.from_numpy(row)])
    return total


@given(
    st.lists(arrays(np.float64, 6, elements=st.floats(-1e6, 1e6)), min_size=1, max_size=5),
    st.sampled_from([0.01, 1.0, 700.0]),
)
def test_leaving_one_patient_out_moves_the_integers_by_the_bound_at_most(rows: list[Row], clip: float) -> None:
    everyone = summed(rows, clip)
    most = sensitivities(everyone.steps, 6)[1]
    for left_out in range(len(rows)):
        others = [row for index, row in enumerate(rows) if index != left_out]
        rest = summed(others, clip).total if others else np.zeros(6, np.int64)
        assert math.sqrt(int(((everyone.total - rest) ** 2).sum())) <= most


@pytest.mark.parametrize("dimension", [1, 100, 30_000])
def test_the_bound_is_reached_but_for_little_and_holds_where_rounding_lengthens(dimension: int) -> None:
    steps, generator = steps_for(dimension), np.random.default_rng(0)
    most = sensitivities(steps, dimension)[1]
    assert most <= steps * math.sqrt(1 + 1 / 1024)
    lengths = []
    for _ in range(20):
        row = generator.standard_normal(dimension)
        lengths.append(float(np.linalg.norm(whole(row * (steps / np.linalg.norm(row)), steps))))
    assert 0.99 * steps < max(lengths) <= most
    awkward = np.full(9, 0.5001)  # to the nearest: three times as long as the bound says
    assert np.linalg.norm(whole(awkward, 1)) <= sensitivities(1, 9)[1] < np.linalg.norm(np.rint(awkward))


def test_a_term_is_clipped_over_all_its_tensors_and_one_that_is_not_finite_is_nothing() -> None:
    total = IntegerSum(5, 1.0)
    total.add([torch.full((2, 2), 100.0), torch.tensor([100.0])])  # 1831.8 each, whose nearest would be too long
    assert total.total.tolist() == [math.floor(steps_for(5) / math.sqrt(5))] * 5
    for strange in (math.nan, math.inf):
        total.add([torch.full((2, 2), strange), torch.tensor([1.0])])
    assert total.total.tolist() == [math.floor(steps_for(5) / math.sqrt(5))] * 5


def test_small_terms_lose_nothing_by_the_clip() -> None:
    total = IntegerSum(2, 8.0)
    total.add([torch.tensor([1.0, -2.0])])
    assert total.total.tolist() == [steps_for(2) // 8, -steps_for(2) // 4]


@pytest.mark.parametrize("variance", [0.4, 9.0, 400.0])
def test_noise_is_skellam(variance: float) -> None:
    drawn = skellam(200_000, variance, np.random.default_rng(3))
    edge = math.ceil(3 * math.sqrt(variance))
    values = np.arange(-edge, edge + 1)
    share = np.array([oracle.pmf(k, variance / 2, variance / 2) for k in values])
    counts = np.array([(drawn == k).sum() for k in values])
    rest = len(drawn) - counts.sum()
    assert chisquare([*counts, rest], [*(share * len(drawn)), (1 - share.sum()) * len(drawn)]).pvalue > 1e-4


def test_noise_in_pieces_is_as_strong_as_in_one() -> None:
    variance = 2 * 3.4 * 2.0**30
    drawn = skellam(50_000, variance, np.random.default_rng(4))
    assert drawn.std() == pytest.approx(math.sqrt(variance), rel=0.015)
    assert abs(drawn.mean()) < 5 * math.sqrt(variance / len(drawn))


def test_shares_add_up_to_the_whole_noise_and_one_site_more_for_each_that_may_collude() -> None:
    size, sigma, sites, colluding = 20_000, 0.5, 6, 2
    shares = [
        IntegerSum(size, 1.0).release_share(sigma, sites - colluding, np.random.default_rng([5, i]))
        for i in range(sites)
    ]
    without = np.sum(shares[colluding:], axis=0) / steps_for(size)
    assert without.std() == pytest.approx(sigma, rel=0.02)
    everybody = np.sum(shares, axis=0) / steps_for(size)
    assert everybody.std() == pytest.approx(sigma * math.sqrt(sites / (sites - colluding)), rel=0.02)


def test_a_sum_is_released_once_and_never_without_noise() -> None:
    generator = np.random.default_rng(0)
    for sigma, parts in ((0.0, 2), (math.inf, 2), (1.0, 0)):
        with pytest.raises(PrivacyError, match="must have noise"):
            IntegerSum(3, 1.0).release_share(sigma, parts, generator)
    total = IntegerSum(3, 1.0)
    total.release_share(1.0, 2, generator)
    with pytest.raises(PrivacyError, match="released once"):
        total.release_share(1.0, 2, generator)
    with pytest.raises(PrivacyError, match="positive and finite"):
        IntegerSum(3, math.inf)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 10**7), st.floats(0.3, 50.0), st.sampled_from([0.1, 1.0]))
def test_no_secure_sum_costs_more_than_its_plan_says(dimension: int, sigma: float, rate: float) -> None:
    stage = Stage("evaluate", "s", rounds=3, sample_rate=rate, noise_multiplier=sigma)
    booked = [Event(sigma, rate, 3, SKELLAM, dimension, steps_for(dimension))]
    priced = epsilon_rdp([stage_event(stage, "secure")], 1e-5)
    assert epsilon_rdp(booked, 1e-5) <= priced * (1 + 1e-9)
    assert epsilon_rdp([stage_event(stage)], 1e-5) <= priced <= 1.005 * epsilon_rdp([stage_event(stage)], 1e-5)


def test_the_dearest_dimension_is_where_steps_begin_to_grow() -> None:
    assert steps_for(DEAREST) == steps_for(1) < steps_for(DEAREST + 1000)

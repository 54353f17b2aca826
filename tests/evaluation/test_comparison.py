"""Intervals cover what they claim, paired tests find what is there and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, false_discovery_control, wilcoxon
from sklearn.metrics import roc_auc_score

from fedspine.errors import InputError
from fedspine.evaluation.bootstrap import interval_of, mean_interval
from fedspine.evaluation.comparison import compare, compare_all, holm, signed_rank


def test_the_mean_has_scipys_interval_and_covers_the_truth_nine_times_in_ten() -> None:
    random = np.random.default_rng(0)
    values = random.beta(5, 2, 40)
    found = mean_interval(values, draws=999)
    expected = bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(0))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval))
    covered = [
        one.low <= 5 / 7 <= one.high for one in (mean_interval(random.beta(5, 2, 30), draws=300) for _ in range(150))
    ]
    assert np.mean(covered) > 0.88


def test_an_area_has_an_interval_over_patients_whose_truth_and_score_stay_together() -> None:
    random = np.random.default_rng(1)
    truth = np.repeat([0.0, 1.0], 30)
    score = truth + random.normal(0, 1, 60)

    def area(truths: np.ndarray, scores: np.ndarray) -> float:
        return float(roc_auc_score(truths, scores)) if 0 < truths.sum() < len(truths) else math.nan

    found = interval_of(area, truth, score, draws=300)
    assert found.low < found.value < found.high
    assert 0.1 < found.high - found.low < 0.4


def test_one_patient_or_nobody_or_all_alike_gives_no_false_width() -> None:
    assert math.isnan(mean_interval(np.array([])).value)
    assert math.isnan(mean_interval(np.array([0.5])).low)
    alike = mean_interval(np.full(10, 0.7), draws=100)
    assert (alike.low, alike.high) == pytest.approx((0.7, 0.7))
    assert mean_interval(np.array([0.5])).as_dict() == {"value": 0.5, "low": None, "high": None}


def test_no_difference_is_found_as_often_as_the_level_allows_and_a_true_one_is_found() -> None:
    random = np.random.default_rng(2)
    false = []
    for trial in range(120):
        noise = random.normal(0, 0.1, (2, 5, 20)) + random.normal(0, 0.2, 20)
        found = compare(noise[0], noise[1], draws=400, seed=trial)
        false.append(not found.difference.low <= 0 <= found.difference.high)
    assert np.mean(false) <= 0.08
    patients = random.normal(0.5, 0.2, 20)
    better = compare(patients + 0.05 + random.normal(0, 0.03, (5, 20)), patients + random.normal(0, 0.03, (5, 20)))
    assert better.difference.low > 0
    assert better.bootstrap_p < 0.01
    assert better.wilcoxon_p < 0.01
    assert (better.patients, better.seeds) == (20, 5)


def test_where_every_seed_tests_others_chance_alone_is_still_rarely_a_difference() -> None:
    random = np.random.default_rng(5)
    false = []
    for trial in range(200):
        patients, seeds = random.normal(0, 0.05, (1, 30)), random.normal(0, 0.03, (5, 1))
        arm = patients + seeds + random.normal(0, 0.05, (5, 30))
        arm[random.random((5, 30)) < 0.4] = math.nan
        found = compare(arm, np.zeros((5, 30)), draws=400, seed=trial)
        false.append(not found.difference.low <= 0 <= found.difference.high)
    assert np.mean(false) <= 0.1


def test_seeds_that_disagree_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    base = random.normal(0, 0.02, (4, 30))
    seeds = np.array([[-0.2], [0.2], [-0.1], [0.1]])
    steady, fickle = (compare(base + shift, np.zeros((4, 30))) for shift in (0.0, seeds))
    assert fickle.difference.high - fickle.difference.low > 5 * (steady.difference.high - steady.difference.low)


def test_what_one_arm_lacks_is_left_out_of_both() -> None:
    arm, other = np.full((2, 5), 0.6), np.full((2, 5), 0.5)
    arm[1, 3], arm[0, 0] = math.nan, 9.0
    other[:, 0] = math.nan
    found = compare(arm, other, draws=50)
    assert found.patients == 4
    assert [found.difference.value, found.difference.low] == pytest.approx([0.1, 0.1])
    with pytest.raises(InputError, match="same shape"):
        compare(arm, other[:, :4])


def test_signed_ranks_are_scipys_and_nobody_differing_is_no_evidence() -> None:
    values = np.random.default_rng(4).normal(0.3, 1, 25)
    assert signed_rank(values) == pytest.approx(float(wilcoxon(values).pvalue))
    assert signed_rank(np.zeros(8)) == 1.0


def test_holm_by_hand_and_never_milder_than_the_false_discovery_rate() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([math.nan, 0.02])[1] == 0.02
    values = np.random.default_rng(5).uniform(0, 0.2, 6)
    assert (np.array(holm(list(values))) >= false_discovery_control(values) - 1e-12).all()


def test_arms_are_corrected_together() -> None:
    random = np.random.default_rng(6)
    arms = {name: random.normal(shift, 0.1, (3, 15)) for name, shift in (("none", 0.0), ("a", 0.05), ("b", 0.3))}
    found = compare_all(arms, "none", draws=200)
    assert set(found) == {"a", "b"}
    assert found["b"].adjusted_p >= found["b"].bootstrap_p
    assert [one.adjusted_p for one in found.values()] == pytest.approx(holm([o.bootstrap_p for o in found.values()]))

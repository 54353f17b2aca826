"""A plan's price is known before it starts, and its budget can be split no better."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fedspine.config import Plan, PrivacyPlan, Stage, load_plan
from fedspine.plans.shipped import find_plan
from fedspine.privacy.accounting import Event, epsilon_pld
from fedspine.privacy.calibrate import calibrate, plan_epsilon
from fedspine.privacy.price import _risks, best_split, noise_in_mean, price, solved_for, spoilt

KNOWN = Plan(
    "known",
    privacy=PrivacyPlan(epsilon=8.0),
    stage=(
        Stage("segment", "u-net", rounds=30, steps=10, sample_rate=0.1, noise_multiplier=2.0),
        Stage("classify", "classifier", rounds=30, steps=10, sample_rate=0.1, noise_multiplier=2.5),
        Stage("gan", "critic", rounds=30, steps=10, sample_rate=0.1, noise_multiplier=2.0),
        *(Stage("standardise", f"mean-{i}", noise_multiplier=20.0) for i in range(4)),
        *(Stage("harmonise", f"covariance-{i}", noise_multiplier=15.0) for i in range(2)),
    ),
)


def test_three_networks_and_statistics_cost_far_less_together_than_one_by_one() -> None:
    (fold,) = price(KNOWN, 300).folds
    assert fold.pld == pytest.approx(7.20, rel=0.002)
    assert fold.rdp == pytest.approx(7.79, rel=0.005)
    assert [round(stage.epsilon, 2) for stage in price(KNOWN, 300).stages[:3]] == [4.18, 3.13, 4.18]
    assert fold.alone == pytest.approx(2 * 4.183 + 3.128 + 4 * 0.160 + 2 * 0.219, rel=0.002)
    assert fold.saved > 0.42


@pytest.mark.slow
def test_the_default_plan_saves_more_than_45_per_cent_by_composing() -> None:
    plan = load_plan(find_plan("default"))
    training = price(plan, 40).folds[0]
    assert training.saved > 0.5
    few = [s for s in plan.stage if s.task in ("standardise", "harmonise", "gan", "segment", "classify")]
    (fold,) = price(replace(plan, stage=tuple(few)), 40).folds
    assert fold.saved > 0.45


@pytest.mark.slow
def test_a_price_is_of_the_plan_as_it_would_run() -> None:
    plan = load_plan(find_plan("socce"))
    found = price(plan, 200)
    assert found.plan == calibrate(plan)
    training, held_out = found.folds
    assert (training.patients, held_out.patients) == (150, 50)
    assert training.pld == plan_epsilon(found.plan, "train", epsilon_pld) < training.rdp <= plan.privacy.epsilon
    assert not found.delta_too_large
    assert price(plan, 100_000).delta_too_large


def test_noise_in_a_mean_falls_with_patients_sampling_and_steps() -> None:
    assert noise_in_mean(Event(4.0), 100) == pytest.approx(0.04)
    assert noise_in_mean(Event(4.0, 0.5, 16), 100) == pytest.approx(0.02)
    assert noise_in_mean(Event(4.0), 0) == math.inf


@pytest.mark.parametrize(
    ("sigma", "true_positives", "accuracy"),
    [(1.0, 0.66, 0.91), (1.5, 0.26, 0.80), (2.0, 0.14, 0.73), (3.0, 0.063, 0.65), (4.0, 0.041, 0.615)],
)
def test_what_epsilon_means_is_the_best_attack(sigma: float, true_positives: float, accuracy: float) -> None:
    assert _risks([Event(sigma, 0.1067, 469)]) == pytest.approx((true_positives, accuracy), rel=0.04)


def test_the_best_attack_on_one_gaussian_release_is_the_known_one() -> None:
    from scipy.stats import norm

    found, right = _risks([Event(1.0)])
    assert found == pytest.approx(norm.cdf(norm.ppf(0.01) + 1), rel=0.01)
    assert right == pytest.approx(norm.cdf(0.5), rel=0.01)


def test_without_noise_every_attack_succeeds_and_for_secure_sums_nothing_is_said() -> None:
    bare = price(replace(KNOWN, privacy=replace(KNOWN.privacy, mechanism="none")), 40)
    assert bare.folds[0].pld == bare.folds[0].rdp == math.inf
    assert bare.folds[0].true_positives == 1.0
    secure = price(replace(KNOWN, privacy=replace(KNOWN.privacy, sums="secure")), 40)
    assert secure.folds[0].true_positives is None
    assert secure.folds[0].pld >= price(KNOWN, 40).folds[0].pld


def test_noise_is_solved_anew_for_a_budget() -> None:
    plan = solved_for(KNOWN, 3.0)
    assert plan.privacy.epsilon == 3.0
    assert 0.97 * 3 < plan_epsilon(plan, "train") <= 3.0
    assert plan.find("u-net").noise_multiplier > 2 * 2.0


ENTRIES = {"a": 80, "b": 2400, "c": 300, "a-test": 7, "b-test": 99}
SPLIT = Plan(
    "split",
    privacy=PrivacyPlan(epsilon=4.0),
    stage=(
        Stage("standardise", "a"),
        Stage("encode", "b", rounds=6, steps=5, sample_rate=0.5),
        Stage("segment", "c", rounds=4, steps=5, sample_rate=0.3),
        Stage("evaluate", "a-test", of="c"),
        Stage("evaluate", "b-test", of="c"),
    ),
)


@pytest.mark.slow
def test_no_other_split_of_the_budget_is_better() -> None:
    best = best_split(SPLIT, ENTRIES)
    for fold in ("train", "held-out"):
        least = spoilt(best, fold, ENTRIES, 40)
        assert plan_epsilon(best, fold) <= 4.0
        assert least < spoilt(calibrate(SPLIT), fold, ENTRIES, 40)
        for index, stage in enumerate(best.stage):
            for factor in (0.85, 1.15) if stage.fold == fold else ():
                stages = list(best.stage)
                stages[index] = replace(stage, share=stage.share * factor)
                moved = solved_for(replace(best, stage=tuple(stages)), 4.0)
                assert spoilt(moved, fold, ENTRIES, 40) > least * 1.001


def test_of_sums_over_everybody_the_best_share_goes_with_the_fourth_root_of_the_entries() -> None:
    everybody = tuple(stage for stage in SPLIT.stage if stage.sample_rate == 1)
    best = best_split(replace(SPLIT, stage=everybody), ENTRIES)
    few, many = best.find("a-test").share, best.find("b-test").share
    assert many == 1.0
    assert few == pytest.approx((7 / 99) ** 0.25, rel=0.01)

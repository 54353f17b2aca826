"""The bound on attacks, and the rule by which one contradicts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fedspine.audit.subject import SiteRecord, Subject
from fedspine.audit.trade_off import FALSE_ALARMS, UNSURE, Promise, behind, largest_found, promise, rates
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import TRAIN, Plan, Stage
from fedspine.privacy.accounting import Event
from fedspine.privacy.ledger import Entry, Ledger

ONE = Promise(((Event(1.0),),))


@pytest.mark.parametrize("sigma", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("alarms", [0.001, 0.01, 0.2])
def test_the_bound_of_one_gaussian_release_is_its_closed_form(sigma: float, alarms: float) -> None:
    exact = norm.cdf(norm.ppf(alarms) + 1 / sigma)
    assert exact - 1e-7 <= largest_found((Event(sigma),), alarms) <= exact + 2e-3


def test_the_bound_of_a_secure_sum_is_looser_than_that_of_a_gaussian_release_and_still_a_bound() -> None:
    secure = largest_found((Event(2.0, mechanism="skellam", dimension=10, scale=1e6),), 0.01)
    assert largest_found((Event(2.0),), 0.01) <= secure < 0.5


def test_the_best_attack_on_an_honest_mechanism_is_hardly_ever_accused() -> None:
    random, accused = np.random.default_rng(0), 0
    for _ in range(300):
        found = rates(random.normal(1.0, 1.0, 65), random.normal(0.0, 1.0, 31))
        accused += found.beyond(ONE)
    assert accused <= 2 * 300 * UNSURE


def test_a_mechanism_with_an_eighth_of_its_noise_is_accused() -> None:
    random = np.random.default_rng(1)
    found = [rates(random.normal(8.0, 1.0, 65), random.normal(0.0, 1.0, 31)) for _ in range(20)]
    assert all(one.beyond(ONE) for one in found)


def test_the_upper_limit_of_false_alarms_holds_though_the_threshold_is_picked_from_the_scores() -> None:
    random, missed = np.random.default_rng(2), 0
    for _ in range(400):
        others = random.random(31)
        missed += 1 - np.sort(others)[-1] > rates(np.ones(1), others).most_alarms
    assert missed <= 4


def test_the_least_share_that_would_contradict_does_and_one_less_does_not() -> None:
    others = np.arange(31.0)
    least = rates(np.zeros(65), others).least_found(ONE)
    count = round(least * 65)

    def accused(found: int) -> bool:
        return rates(np.where(np.arange(65) < found, 99.0, -1.0), others).beyond(ONE)

    assert accused(count)
    assert not accused(count - 1)


def test_an_attack_that_tells_everybody_a_little_is_accused_by_its_area_alone() -> None:
    random = np.random.default_rng(6)
    members, others = random.normal(1.5, 0.5, 65), np.append(random.normal(0.0, 0.5, 30), 9.0)
    found = rates(members, others)
    assert found.found == 0
    assert found.area > found.least_area(ONE)
    assert found.beyond(ONE)


def test_the_area_under_the_bound_is_that_of_the_gaussian_curve_and_not_below() -> None:
    exact = norm.cdf(1 / np.sqrt(2))
    assert exact <= ONE.area <= exact + 0.005


def test_scores_that_tell_nothing_do_not_leak_and_those_that_tell_all_do() -> None:
    random = np.random.default_rng(3)
    assert not rates(random.random(40), random.random(40)).leaks
    assert rates(random.random(40) + 1, random.random(40)).leaks


STAGES = (
    Stage("standardise", "standardise", noise_multiplier=4.0),
    Stage("gan", "gan", noise_multiplier=7.0),
    Stage("segment", "segment", noise_multiplier=3.0),
    Stage("classify", "classify", noise_multiplier=2.0, steps=3, sample_rate=0.5),
    Stage("evaluate", "classify-test", of="classify", noise_multiplier=1.0),
)
PLAN = Plan("small", stage=STAGES)
NONE = torch.zeros(0)
SOMEBODY = PatientTensors(torch.zeros(1, 0, 8, 8), NONE, None, -1, NONE, NONE)


def booked(folder: Path, *stages: Stage, noise: float | None = None) -> Subject:
    for stage in stages:
        event = Event(stage.noise_multiplier if noise is None else noise, stage.sample_rate, stage.steps)
        line = Entry(stage.name, 1, stage.fold, "0", event, 1.0, PLAN.digest(), "os entropy")
        Ledger(folder / "ledger.jsonl").book(line, max_epsilon=float("inf"), delta=1e-5)
    site = SiteRecord("site", folder, {TRAIN: [SOMEBODY]})
    return Subject(folder, PLAN, {}, {"gan": {}, "segment": {}, "classify": {}}, (site,), True)


def test_a_network_is_promised_what_its_own_releases_and_those_that_scaled_its_patients_promise(tmp_path: Path) -> None:
    subject = booked(tmp_path, *STAGES)
    expected = ((Event(4.0), Event(2.0, 0.5, 3)),)
    assert promise(subject, PLAN.find("classify")).sites == expected


def test_a_network_that_learned_from_made_patients_pays_for_their_maker(tmp_path: Path) -> None:
    plan = replace(PLAN, stage=(*STAGES[:2], replace(STAGES[2], synthetic="gan")))
    subject = replace(booked(tmp_path), plan=plan)
    assert [stage.name for stage in behind(subject, plan.stage[2])] == ["standardise", "gan", "segment"]


@pytest.mark.parametrize("noise", [None, 0.0])
def test_a_ledger_without_the_stage_or_without_noise_promises_nothing(tmp_path: Path, noise: float | None) -> None:
    subject = booked(tmp_path, *(() if noise is None else STAGES), noise=noise)
    claim = promise(subject, PLAN.find("classify"))
    assert not claim.made
    assert claim.largest(FALSE_ALARMS) == 1.0


def test_the_site_that_promises_least_counts() -> None:
    both = Promise(((Event(1.0),), (Event(4.0),)))
    assert both.largest(FALSE_ALARMS) == largest_found((Event(1.0),), FALSE_ALARMS)


def test_a_site_whose_patients_are_not_at_hand_is_not_waited_for(tmp_path: Path) -> None:
    subject = booked(tmp_path, *STAGES)
    elsewhere = SiteRecord("elsewhere", tmp_path / "nowhere", {})
    both = replace(subject, sites=(*subject.sites, elsewhere))
    assert promise(both, PLAN.find("classify")) == promise(subject, PLAN.find("classify"))

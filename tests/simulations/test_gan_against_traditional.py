"""The study of GAN augmentation: equal budgets, paired patients, a file that a rerun goes on from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.errors import InputError
from fedspine.evaluation.bootstrap import Estimate
from fedspine.evaluation.comparison import holm
from fedspine.plans.default import phantom_data
from fedspine.tasks import segment
from simulations.gan_against_traditional import arms
from simulations.gan_against_traditional.arms import STEPS, Study, network_stage
from simulations.gan_against_traditional.cells import ARMS, CONTROL, Cell, Result, add_result, cells, load_results
from simulations.gan_against_traditional.data import StudySite, load_sites
from simulations.gan_against_traditional.summary import best_local, mean_of, scores, together, versus, write_report

CELL = Cell("segment", "none", 2, 0.0, "federated", "dcgan", 0)
QUESTION = ("segment", 2, 0.0, "dcgan")


def test_every_arm_takes_the_same_optimiser_steps() -> None:
    for arm in ARMS:
        stage = network_stage(replace(CELL, arm=arm), 0.5)
        assert stage.pretrain_steps + stage.rounds * stage.steps == STEPS
        assert bool(stage.pretrain_steps) == (arm in arms.FED)
        assert (stage.pretrain_rate, stage.sample_rate) == (arms.BEGUN, 0.5)
        assert (stage.augment == "traditional") == (arm in ("traditional", "both", "phantoms + traditional"))
    for arm, control in CONTROL.items():
        assert network_stage(replace(CELL, arm=arm), 0.5) == network_stage(replace(CELL, arm=control), 0.5)


def test_pooled_and_local_stand_beside_the_first_question_and_arms_that_share_a_generator_follow_each_other() -> None:
    asked = list(cells(["segment"], [8, 4], [0.0, 8.0], "dcgan", range(2)))
    assert len(asked) == len(set(asked)) == 2 * len(ARMS) * (4 + 2)
    assert {(c.amount, c.epsilon) for c in asked if c.regime != "federated"} == {(8, 0.0)}
    generators = [(c.seed, c.amount, c.epsilon, c.regime) for c in asked if c.arm in ("gan", "both")]
    assert len(list(dict.fromkeys(generators))) == len(generators) / 2


def test_a_line_that_was_cut_off_is_run_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for seed in (0, 1):
        add_result(file, Result(replace(CELL, seed=seed), {"dice": {"a": [0.5]}}, 1.0))
    file.write_text(file.read_text()[:-20])
    assert list(load_results(file)) == [replace(CELL, seed=0)]
    for seed in (1, 2):
        add_result(file, Result(replace(CELL, seed=seed), {"dice": {"a": [0.5]}}, 1.0))
    assert [cell.seed for cell in load_results(file)] == [0, 1, 2]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, list[StudySite]]:
    from fedspine.phantom.writer import write_consortium

    folder = tmp_path_factory.mktemp("study") / "sites"
    write_consortium(folder, sites=2, patients=8, shape=(3, 32, 32))
    plan = Plan("study", data=phantom_data(DataPlan(size=32, slices=2)), stage=(Stage("segment", "segment"),))
    return load_sites(folder, plan)


def test_tested_patients_never_train_and_more_patients_hold_the_fewer_ones(
    sites: tuple[Plan, list[StudySite]],
) -> None:
    for site in sites[1]:
        assert len(site.patients) == 8
        assert len(site.held) == 2
        few, more = site.some(2, seed=3), site.some(4, seed=3)
        assert [len(few), len(more)] == [2, 4]
        assert set(few) < set(more) < set(site.some(None, seed=3))
        assert set(site.some(None, seed=3)) == set(range(8)) - site.held
        assert len({tuple(site.some(2, seed=seed)) for seed in range(5)}) > 1


def test_a_folder_without_sites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of site folders"):
        load_sites(tmp_path, Plan("study"))


@pytest.mark.slow
def test_every_arm_runs_under_every_regime_and_the_report_shows_them_side_by_side(
    sites: tuple[Plan, list[StudySite]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "STEPS", 3)
    monkeypatch.setattr(arms, "FIRST", 2)
    monkeypatch.setattr(arms, "ROUND", 1)
    monkeypatch.setattr(arms, "MADE", 6)
    plan, hospitals = sites
    generator = Stage(
        "dcgan", "generator", rounds=1, steps=1, pretrain_steps=1, options={"size": 16, "width": 4, "critic_width": 4}
    )
    study = Study(plan, tuple(hospitals), generator)
    file = tmp_path / "results.jsonl"
    wanted = list(cells(["segment", "classify"], [2], [0.0, 8.0], "dcgan", [0]))
    for cell in wanted:
        add_result(file, Result(cell, study.run(cell), 0.1))
    found = load_results(file)
    assert list(found) == wanted
    for line in file.read_text().splitlines():
        assert set(json.loads(line)) == {"cell", "scores", "seconds"}
    text = write_report(found, tmp_path).read_text()
    lines = text.splitlines()
    for arm in ARMS:
        tables = [scores(found, QUESTION, arm, regime, "dice") for regime in ("pooled", "federated")]
        assert all(set(table) == {"site-1", "site-2"} for table in tables)
        site, local = best_local(found, QUESTION, arm) or ("", mean_of(np.zeros((0, 0))))
        told = [
            f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})" for value in (*map(mean_over_sites, tables), local)
        ]
        assert f"| dcgan | none | 2 | {arm} | {told[0]} | {told[2]} ({site}) | {told[1]} |" in lines
    assert sum(line.startswith("| dcgan | ε = 8 | 2 |") for line in lines) == 2 * (1 + len(ARMS))
    assert len(list(tmp_path.glob("*.svg"))) == 4


def mean_over_sites(by_site: dict[str, NDArray[np.float64]]) -> Estimate:
    return mean_of(together(by_site))


def test_differences_are_paired_by_patient_and_seed() -> None:
    base = {"a": [0.1, 0.9, 0.4], "b": [0.3, float("nan"), 0.6]}
    results = {}
    for seed in range(3):
        for arm, gain in (("traditional", 0.0), ("gan", 0.05)):
            cell = replace(CELL, arm=arm, seed=seed)
            shifted = {site: [value + gain for value in values] for site, values in base.items()}
            results[cell] = Result(cell, {"dice": shifted}, 1.0)
    found = versus(results, QUESTION, "gan")
    assert found is not None
    assert found.difference.value == pytest.approx(0.05)
    assert [found.difference.low, found.difference.high] == pytest.approx([0.05, 0.05])
    assert (found.patients, found.seeds) == (5, 3)
    table = together(scores(results, QUESTION, "traditional", "federated", "dice"))
    assert table.shape == (3, 6)
    assert mean_of(table).value == pytest.approx(np.mean([0.1, 0.9, 0.4, 0.3, 0.6]))


def test_the_tests_of_a_row_are_corrected_together(tmp_path: Path) -> None:
    random, results = np.random.default_rng(0), {}
    base = random.uniform(0.2, 0.6, 8)
    for arm in ARMS:
        gain = np.zeros(8) if arm == "traditional" else random.normal(0.02, 0.05, 8)
        results[replace(CELL, arm=arm)] = Result(replace(CELL, arm=arm), {"dice": {"a": list(base + gain)}}, 1.0)
    pairs = [*((arm, "traditional") for arm in ARMS if arm != "traditional"), *CONTROL.items()]
    others = [found for pair in pairs if (found := versus(results, QUESTION, *pair)) is not None]
    row = next(line for line in write_report(results, tmp_path).read_text().splitlines() if line.startswith("| dcgan"))
    told = [float(part[:5]) for part in row.split("p = ")[1:]]
    assert told == pytest.approx(holm([one.bootstrap_p for one in others]), abs=6e-4)
    assert told != pytest.approx([one.bootstrap_p for one in others], abs=6e-4)


def test_federated_stands_beside_pooled_over_the_same_seeds(tmp_path: Path) -> None:
    results = {}
    for regime, seed, value in (("federated", 0, 0.5), ("federated", 1, 0.9), ("pooled", 0, 0.6)):
        cell = replace(CELL, regime=regime, seed=seed)
        results[cell] = Result(cell, {"dice": {"a": [value, value]}}, 1.0)
    for seed, value in ((0, 0.7), (1, 0.1)):
        cell = replace(CELL, regime="local", seed=seed)
        results[cell] = Result(cell, {"dice by a": {"a": [value, value]}}, 1.0)
    lines = write_report(results, tmp_path).read_text().splitlines()
    assert "| dcgan | none | 2 | none | 0.600 (0.600-0.600) | 0.700 (0.700-0.700) (a) | 0.500 (0.500-0.500) |" in lines
    assert next(line for line in lines if line.startswith("| dcgan | none | 2 | 2 |")), "two seeds were run"
    curves = (tmp_path / "segment-dcgan-by-amount.svg").read_text()
    assert "<!-- none -->" in curves
    assert "<!-- both -->" not in curves, "an arm that was not run is not in the legend"


def test_only_seeds_that_both_arms_have_are_compared() -> None:
    value = {0: 0.1, 1: 0.5, 2: 0.9}
    results = {}
    for arm, seeds in (("traditional", (0, 1)), ("gan", (1, 2))):
        for seed in seeds:
            cell = replace(CELL, arm=arm, seed=seed)
            results[cell] = Result(cell, {"dice": {"a": [value[seed], value[seed] + 0.05]}}, 1.0)
    found = versus(results, QUESTION, "gan")
    assert found is not None
    assert found.seeds == 1
    assert found.difference.value == pytest.approx(0.0), "seed 1, which both have, is the same in both"


def test_a_step_of_pooled_training_sees_as_many_patients_as_one_of_all_sites_together(
    sites: tuple[Plan, list[StudySite]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: dict[str, float] = {}

    def watched(
        task: segment.Segment, plan: Plan, stage: Stage, lists: list[list[PatientTensors]], *_: object, seed: int
    ) -> torch.nn.Module:
        expected[regime] = expected.get(regime, 0.0) + stage.sample_rate * sum(map(len, lists))
        return task.build()

    monkeypatch.setattr(arms, "train", watched)
    monkeypatch.setattr(segment.Segment, "score", lambda *_: None)
    study = Study(sites[0], tuple(sites[1]), Stage("gan", "gan"))
    for regime in ("pooled", "federated", "local"):
        study.run(replace(CELL, regime=regime, arm="none", amount=4))
    assert expected["pooled"] == expected["federated"] == arms.AT_ONCE * len(sites[1])
    assert expected["local"] == arms.AT_ONCE * len(sites[1]), "one patient at each of the hospitals by themselves"


def test_a_network_that_finds_nothing_and_one_that_finds_all_score_as_they_deserve(
    sites: tuple[Plan, list[StudySite]],
) -> None:
    plan, hospitals = sites
    task = segment.task(plan, plan.find("segment"), {})
    model = task.build()
    patient = next(p for site in hospitals for p in site.patients if p.lesion is not None and bool(p.lesion.any()))
    head = list(model.parameters())[-1]
    found = {}
    for bias in (-50.0, 50.0):
        torch.nn.init.constant_(head, bias)
        found[bias] = task.score(model, patient)
    assert found[-50.0] == 0.0
    assert patient.lesion is not None
    share = float(patient.lesion.mean())
    assert found[50.0] == pytest.approx(2 * share / (1 + share), abs=1e-5)

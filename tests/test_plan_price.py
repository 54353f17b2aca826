"""`fedspine plan price`, as it is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from fedspine.cli import app
from fedspine.commands.entries import entries
from fedspine.config import HELD_OUT, TRAIN, load_plan
from fedspine.errors import ConfigError
from fedspine.plans.default import phantom_data
from fedspine.privacy.accounting import ASSUMPTION
from fedspine.privacy.calibrate import plan_epsilon

TEXT = """
name = "small"

[data]
contrasts = ["T1", "T2"]
classes = ["normal", "benign", "malignant"]
size = 32
slices = 2

[privacy]
epsilon = 4.0

[[stage]]
task = "segment"
rounds = 3

[[stage]]
task = "classify"
rounds = 2
sample_rate = 0.5

[[stage]]
task = "evaluate"
of = "segment"

[[stage]]
task = "evaluate"
of = "classify"
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(TEXT)
    return tmp_path / "plan.toml"


def typed(*words: object) -> str:
    result = CliRunner().invoke(app, ["plan", "price", *map(str, words)], catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.stdout


def as_json(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(typed(*words, "--json"))
    return found


def test_the_price_stands_with_its_assumption_and_delta_beside_the_number_of_patients(plan: Path) -> None:
    shown = typed(plan, "--patients", 60)
    for words in ("segment-test", "held out, about 15", "by PLD", "by RDP", "composing them saves", "1e-05", "0.017"):
        assert words in shown, words
    assert ASSUMPTION in re.sub(r"\s+", " ", shown)
    assert "lower it" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_a_delta_that_gives_a_patient_away_is_warned_of(plan: Path) -> None:
    plan.write_text(TEXT.replace("epsilon = 4.0", "epsilon = 4.0\ndelta = 0.02"))
    assert "lower it" in typed(plan, "--patients", 60)
    assert as_json(plan, "--patients", 60)["delta_too_large"]


def test_json_holds_every_figure(plan: Path) -> None:
    found = as_json(plan, "--patients", 60)
    training, held_out = found["folds"]
    assert training["pld"] < training["rdp"] <= 4.0
    assert training["saved"] == pytest.approx(1 - training["pld"] / training["alone"])
    assert training["alone"] == pytest.approx(sum(s["epsilon"] for s in found["stages"] if s["fold"] == TRAIN))
    assert 0.01 < held_out["true_positives"] < 1
    assert found["assumption"] == ASSUMPTION


def test_noise_is_solved_for_a_budget_and_written(plan: Path, tmp_path: Path) -> None:
    found = as_json(plan, "--patients", 60, "--epsilon", 2, "--out", tmp_path / "solved.toml")
    solved = load_plan((tmp_path / "solved.toml").read_text("utf-8"))
    assert solved.privacy.epsilon == 2.0
    for fold in (TRAIN, HELD_OUT):
        assert 0.97 * 2 < plan_epsilon(solved, fold) <= 2.0
    assert [s.noise_multiplier for s in solved.stage] == [s["event"]["noise_multiplier"] for s in found["stages"]]


@pytest.mark.slow
def test_the_best_split_is_printed_to_paste_and_makes_less_noise(plan: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    shown = typed(plan, "--patients", 60, "--best-split", "--out", tmp_path / "split.toml")
    written = load_plan((tmp_path / "split.toml").read_text("utf-8"))
    pasted = re.findall(r"^share = (\S+)  # ([\w-]+), \d+ numbers", shown, re.M)
    assert pasted == [(f"{stage.share:g}", stage.name) for stage in written.stage]
    assert "segment-test, 7 numbers" in shown
    spoilt = re.findall(r"^(?:train|held-out): (\S+) with the plan's own shares, (\S+) with these", shown, re.M)
    assert len(spoilt) == 2
    assert all(float(after) < float(before) for before, after in spoilt)


@pytest.mark.slow
def test_what_a_stage_releases_is_counted_even_where_it_follows_from_earlier_results(tmp_path: Path) -> None:
    text = TEXT.split("[[stage]]")[0] + '[[stage]]\ntask = "standardise"\n[[stage]]\ntask = "harmonise"\n'
    plan = load_plan(text.replace("[data]", '[data]\nomics = ["NF2"]'))
    found = entries(plan, tmp_path, lambda done, total: None)
    assert found["standardise"] >= 2 * (len(plan.data.contrasts) + 1)
    assert found["harmonise"] > found["standardise"]
    assert phantom_data(plan.data) == plan.data


def test_a_plan_without_privacy_is_said_to_be_one_and_a_budget_too_small_is_refused(plan: Path) -> None:
    plan.write_text(TEXT.replace("[privacy]", '[privacy]\nmechanism = "none"'))
    assert "NO PRIVACY" in typed(plan, "--patients", 60)
    assert as_json(plan, "--patients", 60)["folds"][0]["pld"] is None
    plan.write_text(TEXT.replace("rounds = 3", "rounds = 3\nnoise_multiplier = 0.5"))
    with pytest.raises(ConfigError, match="must cost at most epsilon 4"):
        typed(plan, "--patients", 60)

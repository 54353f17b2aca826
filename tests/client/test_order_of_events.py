"""A release is paid for before it is computed, and its noise can be repeated only where no patient is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from client.hospital import Hospital
from client.rounds import answer, enrol
from client.work import Order
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from fedspine.privacy.chain import read
from fedspine.privacy.ledger import Ledger
from fedspine.site_file import Site
from fedspine.tasks._task import Trained, make

STAGE = Stage("segment", "segment", rounds=2, sample_rate=0.5, noise_multiplier=4.0)
PLAN = Plan("p", privacy=PrivacyPlan(epsilon=8.0), stage=(STAGE,))
PLAN = replace(PLAN, data=replace(phantom_data(PLAN.data), size=32, slices=2))


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, shape=(2, 32, 32))
    hospital = Hospital(site, tmp_path / "state")
    enrol(hospital, PLAN)
    return hospital


def _exit_of(hospital: Hospital) -> int | None:
    """Let another process answer the stage's first round, and return how it ended."""
    task = make(PLAN, STAGE, {})
    assert isinstance(task, Trained)
    order = Order(PLAN, "segment", 1, task.build().state_dict(), {})
    process = multiprocessing.get_context("fork").Process(target=answer, args=(hospital, order))
    process.start()
    process.join()
    return process.exitcode


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _sent(hospital: Hospital) -> list[str]:
    return [line["stage"] for line in read(hospital.egress_log, "the egress log") if line["stage"]]


def test_power_lost_while_a_release_is_computed_costs_its_budget(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.rounds.train_round", _die)
    assert _exit_of(hospital) == -signal.SIGKILL
    assert [(entry.stage, entry.round) for entry in hospital.ledger.entries()] == [("segment", 1)]
    assert _sent(hospital) == []


def test_power_lost_before_a_release_is_booked_costs_nothing_and_sends_nothing(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "book", _die)
    assert _exit_of(hospital) == -signal.SIGKILL
    assert hospital.ledger.entries() == []
    assert _sent(hospital) == []


def test_a_release_that_was_answered_is_booked_with_noise_from_the_system(hospital: Hospital) -> None:
    assert _exit_of(hospital) == 0
    assert [entry.noise for entry in hospital.ledger.entries()] == ["os entropy"]
    assert _sent(hospital) == ["segment"]


def test_a_deployed_site_has_a_seed_in_a_rehearsal_only_and_its_ledger_says_so(hospital: Hospital) -> None:
    assert hospital.noise_seed(Site(), PLAN) is None
    assert hospital.noise_seed(Site(seed=3), PLAN) is None, "a policy that no file could hold"
    assert replace(hospital, partition=0).noise_seed(Site(), PLAN) == PLAN.seed
    (hospital.folder / "site.toml").write_text("rehearsal = true\nseed = 3\n")
    assert _exit_of(hospital) == 0
    (line,) = (hospital.state / "ledger.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["noise"] == "fixed seed"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    Hospital(tmp_path, tmp_path / "taken" / "state").note_error("segment", "step-failed", ValueError())
    assert (tmp_path / "taken").is_file()

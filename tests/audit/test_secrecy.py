"""Noise from a seed is found at a hospital, whether the ledger owns up to it or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import client.rounds
from client.hospital import Hospital
from fedspine.audit.line import Grade
from fedspine.audit.secrecy import secrecy, sent_by
from fedspine.audit.subject import Subject
from fedspine.commands.audited import subject_of
from fedspine.privacy.patient_sum import noise_generator
from tests.audit.conftest import run_small


def at_hospitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sites of a simulation take themselves for hospitals."""
    monkeypatch.setattr(Hospital, "simulated", property(lambda self: False))


def test_a_simulation_is_not_tested_and_shows_that_its_noise_is_known(audited: Subject) -> None:
    line = secrecy(audited)
    assert line.grade is Grade.NOT_TESTED
    assert line.figures["known"] == line.figures["computed again"] == 4  # two stages of two sites


def test_noise_of_the_systems_entropy_passes(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hospitals(monkeypatch)
    subject = replace(subject_of(run_small(folders, tmp_path / "run"), folders), simulated=False)
    line = secrecy(subject)
    assert line.grade is Grade.PASS
    assert line.figures["computed again"] == 4
    assert line.figures["known"] == line.figures["seeded"] == 0


def test_noise_seeded_from_the_plan_at_a_hospital_is_found(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_hospitals(monkeypatch)
    monkeypatch.setattr(Hospital, "noise_seed", lambda self, policy, plan: plan.seed)
    line = secrecy(replace(subject_of(run_small(folders, tmp_path / "run"), folders), simulated=False))
    assert line.grade is Grade.FAIL
    assert "fixed seed" in line.finding


def test_a_ledger_that_hides_the_seed_is_found_out(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_hospitals(monkeypatch)

    def seeded(seed: int | None, *purpose: object) -> np.random.Generator:
        assert seed is None  # so the ledger says that the system's entropy was used
        return noise_generator(3, *purpose)

    monkeypatch.setattr(client.rounds, "noise_generator", seeded)
    line = secrecy(replace(subject_of(run_small(folders, tmp_path / "run"), folders), simulated=False))
    assert line.grade is Grade.FAIL
    assert line.figures["seeded"] == 0
    assert "follows from a seed" in line.finding


def test_a_generator_that_gives_everybody_the_same_is_found(audited: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedspine.audit.secrecy.noise_generator", lambda *_: np.random.default_rng(0))
    assert secrecy(replace(audited, simulated=False)).grade is Grade.FAIL


def test_digests_are_those_of_this_plan_and_a_stopped_message_hides_none(audited: Subject) -> None:
    def line(plan: str, digest: str) -> dict[str, object]:
        return {"stage": "tokens", "round": 1, "plan": plan, "digest": digest}

    log = [line(audited.digest, "a"), line("another", "b"), line(audited.digest, ""), line(audited.digest, "c")]
    assert sent_by(audited, log) == {("tokens", 1): {"a", "c"}}

"""A ledger that forgets, a log that hides, a claim that lacks a term: each is found in a real run's own files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fedspine.audit.books import Price, again, ledgers, mispriced
from fedspine.audit.claim import claim
from fedspine.audit.line import Grade
from fedspine.audit.messages import messages
from fedspine.audit.subject import Subject
from fedspine.commands.audited import subject_of
from fedspine.privacy import accounting
from fedspine.privacy.accounting import Event
from fedspine.privacy.chain import chained, mark_of
from fedspine.privacy.ledger import Entry, Ledger
from tests.audit.conftest import run_small, small_plan


@pytest.fixture
def copied(finished: Path, folders: Path, tmp_path: Path) -> Subject:
    """Return the finished run as a copy that may be spoilt."""
    shutil.copytree(finished, tmp_path / "run")
    return subject_of(tmp_path / "run", folders)


def rewritten(file: Path, change: object) -> None:
    """Write a chained file anew, hashes, mark and all, after `change` was done to its lines."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert callable(change)
    previous, written = "0" * 64, []
    for number, line in enumerate(change(lines), 1):
        body = {key: value for key, value in line.items() if key not in ("hash", "previous")}
        written.append(chained({**body, "number": number}, previous))
        previous = written[-1]["hash"]
    file.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in written), encoding="utf-8")
    mark_of(file).write_text(json.dumps({"count": len(written), "hash": previous}), encoding="utf-8")


def test_an_honest_run_keeps_its_books(audited: Subject) -> None:
    found = {line.title: line.grade for line in (claim(audited), ledgers(audited), messages(audited))}
    assert set(found.values()) == {Grade.PASS}


def test_a_ledger_that_forgets_a_stage_is_found(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ledger.book

    def forgetful(self: Ledger, entry: Entry, **settings: object) -> str:
        return "f" * 64 if entry.stage == "classify" else real(self, entry, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "book", forgetful)
    subject = subject_of(run_small(folders, tmp_path / "run"), folders)
    line = ledgers(subject)
    assert line.grade is Grade.FAIL
    assert "1 of 1 rounds of stage classify are not booked" in line.finding
    assert messages(subject).grade is Grade.FAIL  # and the release left without a line that paid for it


def test_a_broken_ledger_is_found(copied: Subject) -> None:
    file = copied.sites[0].state / "ledger.jsonl"
    file.write_text(file.read_text("utf-8").replace('"clip": 1.0', '"clip": 2.0', 1), encoding="utf-8")
    assert "broken" in ledgers(copied).finding


def test_a_ledger_cut_off_at_its_end_is_found(copied: Subject) -> None:
    file = copied.sites[0].state / "ledger.jsonl"
    file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert ledgers(copied).grade is Grade.FAIL


def test_a_ledger_that_was_taken_away_is_found(copied: Subject) -> None:
    file = copied.sites[0].state / "ledger.jsonl"
    file.unlink()
    mark_of(file).unlink()
    assert "not booked" in ledgers(copied).finding


def test_more_noise_in_the_book_than_in_the_plan_is_found(copied: Subject) -> None:
    def flattered(lines: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{**line, "event": {**line["event"], "noise_multiplier": 50.0}} for line in lines]  # type: ignore[dict-item]

    rewritten(copied.sites[0].state / "ledger.jsonl", flattered)
    assert "otherwise than it was planned" in ledgers(copied).finding


def test_an_accountant_that_is_off_is_found(audited: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    real = accounting.epsilon_pld
    monkeypatch.setattr("fedspine.audit.books.epsilon_pld", lambda events, delta: 0.95 * real(events, delta))
    assert "by a second accountant" in ledgers(audited).finding


def test_the_tight_figure_may_not_exceed_the_renyi_bound() -> None:
    plan = small_plan()
    assert mispriced(plan, Price("train", pld=5.0, rdp=4.0, again=5.0))
    assert not mispriced(plan, Price("train", pld=4.0, rdp=5.0, again=4.0))
    assert mispriced(plan, Price("train", pld=4.0, rdp=900.0, again=4.0, once=800.0))
    assert not mispriced(plan, Price("train", pld=4.0, rdp=900.0, again=4.0, once=5.0, repeated=1))


def test_what_a_site_allows_is_a_cap(copied: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "site.toml").write_text("max_epsilon = 2.0\n", encoding="utf-8")
    sites = (replace(copied.sites[0], folder=folder), *copied.sites[1:])
    assert "more than the site's 2" in ledgers(replace(copied, sites=sites)).finding


def test_a_secure_sum_may_not_cost_less_than_gaussian_noise_of_its_size() -> None:
    plan = small_plan()
    assert mispriced(plan, Price("train", pld=3.0, rdp=6.0, again=4.0, secure=True))
    assert not mispriced(plan, Price("train", pld=6.0, rdp=6.0, again=4.0, secure=True))


def test_a_release_without_a_payment_is_found(copied: Subject) -> None:
    def added(lines: list[dict[str, object]]) -> list[dict[str, object]]:
        return [*lines, {**lines[-1], "ledger": "e" * 64}]

    rewritten(copied.sites[0].state / "egress.jsonl", added)
    assert "no line of the ledger paid for" in messages(copied).finding


def test_two_releases_for_one_payment_are_found(copied: Subject) -> None:
    rewritten(copied.sites[0].state / "egress.jsonl", lambda lines: [*lines, lines[-1]])
    assert "paid for once" in messages(copied).finding


def test_a_message_that_the_log_does_not_hold_is_found(copied: Subject) -> None:
    rewritten(copied.sites[0].state / "egress.jsonl", lambda lines: lines[:-1])
    assert "arrived that the log does not hold" in messages(copied).finding


def test_a_long_public_message_is_found(copied: Subject) -> None:
    def public(lines: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{**line, "mechanism": "public", "ledger": ""} for line in lines]

    rewritten(copied.sites[0].state / "egress.jsonl", public)
    assert "left as public" in messages(copied).finding


@pytest.mark.parametrize("term", ["unit", "assumption", "delta", "accountant", "seen_by"])
def test_a_claim_without_one_of_its_terms_is_none(copied: Subject, term: str) -> None:
    file = copied.run / "metrics.json"
    told = json.loads(file.read_text("utf-8"))
    del told["privacy"][term]
    file.write_text(json.dumps(told), encoding="utf-8")
    assert claim(copied).grade is Grade.FAIL


def test_a_delta_no_smaller_than_one_patient_is_no_claim(copied: Subject) -> None:
    file = copied.run / "metrics.json"
    told = json.loads(file.read_text("utf-8"))
    told["privacy"]["delta"] = 0.5
    file.write_text(json.dumps(told), encoding="utf-8")
    plan = replace(copied.plan, privacy=replace(copied.plan.privacy, delta=0.5))
    assert "no smaller than 1/" in claim(replace(copied, plan=plan)).finding


def test_training_without_privacy_is_no_claim(copied: Subject) -> None:
    plan = replace(copied.plan, privacy=replace(copied.plan.privacy, mechanism="none"))
    assert claim(replace(copied, plan=plan)).grade is Grade.FAIL


def test_nothing_at_hand_is_not_a_pass(audited: Subject) -> None:
    nothing = replace(audited, run=Path("nowhere"), sites=())
    assert {line(nothing).grade for line in (claim, ledgers, messages)} == {Grade.NOT_TESTED}


def test_events_of_a_ledger_are_priced_alike_by_both_accountants() -> None:
    events = [Event(2.0, 0.1, 300), Event(20.0, 1.0, 4)]
    assert again(events, 1e-5) == pytest.approx(accounting.epsilon_pld(events, 1e-5), rel=1e-3)

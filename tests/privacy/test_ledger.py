"""The book is chained, private to its owner, and says no when the budget is spent."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedspine.errors import BudgetSpent, PrivacyError
from fedspine.privacy import chain
from fedspine.privacy.accounting import Event, epsilon_rdp
from fedspine.privacy.chain import FIRST, chained, read
from fedspine.privacy.ledger import Entry, Ledger


def entry(round_number: int = 1, fold: str = "train", split: str = "0/0.25") -> Entry:
    return Entry("segment", round_number, fold, split, Event(2.0, 0.5, 4), 1.0, "digest", "os entropy")


def test_what_is_booked_is_read_back_and_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    assert book.entries() == []
    book.book(entry(1), max_epsilon=10, delta=1e-5)
    book.book(entry(2), max_epsilon=10, delta=1e-5)
    assert book.entries() == [entry(1), entry(2)]
    assert (tmp_path / "ledger.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_hash_of_the_booked_line_is_returned_and_both_guarantees_of_a_secure_sum_are_kept(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    secure = Event(2.0, 1.0, 1, "skellam", 76, 4096.0)
    both = replace(entry(), event=secure, coalition=replace(secure, noise_multiplier=1.4))
    paid = book.book(both, max_epsilon=10, delta=1e-5)
    assert paid == read(tmp_path / "ledger.jsonl", "the ledger")[-1]["hash"]
    assert book.entries() == [both]


def test_a_ledger_from_before_secure_sums_and_marks_is_still_read_and_counts(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    old = {
        "stage": "segment",
        "round": 1,
        "fold": "train",
        "split": "0/0.25",
        "event": {"noise_multiplier": 2.0, "sample_rate": 0.5, "count": 4},
        "clip": 1.0,
        "plan": "digest",
        "noise": "os entropy",
        "time": "2026-01-01T00:00:00+00:00",
    }
    file.write_text(json.dumps(chained(old, FIRST), sort_keys=True) + "\n")
    book = Ledger(file)
    assert book.entries() == [entry()]
    with pytest.raises(BudgetSpent):
        book.book(entry(2), max_epsilon=epsilon_rdp([entry().event], 1e-5), delta=1e-5)
    book.book(entry(2), max_epsilon=epsilon_rdp([entry().event] * 2, 1e-5), delta=1e-5)
    assert book.entries() == [entry(), entry(2)]


def test_a_spent_budget_refuses_and_books_nothing(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    cap = epsilon_rdp([entry().event] * 3, 1e-5)
    for number in range(3):
        book.book(entry(number + 1), max_epsilon=cap, delta=1e-5)
    with pytest.raises(BudgetSpent, match="would not fit"):
        book.book(entry(4), max_epsilon=cap, delta=1e-5)
    assert len(book.entries()) == 3


def test_held_out_patients_pay_apart_from_training_patients(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    cap = epsilon_rdp([entry().event], 1e-5)
    book.book(entry(1, "train"), max_epsilon=cap, delta=1e-5)
    book.book(entry(1, "held-out"), max_epsilon=cap, delta=1e-5)
    with pytest.raises(BudgetSpent):
        book.book(entry(2, "held-out"), max_epsilon=cap, delta=1e-5)


def test_under_another_split_a_patient_may_be_on_the_other_side_and_pays_for_both(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    cap = epsilon_rdp([entry().event], 1e-5)
    book.book(entry(1, "train", "0/0.25"), max_epsilon=cap, delta=1e-5)
    with pytest.raises(BudgetSpent):
        book.book(entry(1, "held-out", "1/0.25"), max_epsilon=cap, delta=1e-5)


@pytest.mark.parametrize("harm", ["change", "remove first", "remove middle", "garbage"])
def test_a_ledger_that_was_tampered_with_refuses(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "ledger.jsonl"
    book = Ledger(file)
    for number in range(3):
        book.book(entry(number + 1), max_epsilon=100, delta=1e-5)
    lines = file.read_text().splitlines()
    if harm == "change":
        line = json.loads(lines[1])
        line["event"]["noise_multiplier"] = 200.0
        lines[1] = json.dumps(line)
    elif harm == "remove first":
        del lines[0]
    elif harm == "remove middle":
        del lines[1]
    else:
        lines[2] = lines[2][:40]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(PrivacyError, match="unbroken chain"):
        book.book(entry(4), max_epsilon=100, delta=1e-5)


def _book_many(file: str, cap: float) -> None:
    for number in range(10):
        try:
            Ledger(Path(file)).book(entry(number + 1), max_epsilon=cap, delta=1e-5)
        except BudgetSpent:
            return


def test_two_processes_cannot_spend_the_same_budget_twice(tmp_path: Path) -> None:
    cap = epsilon_rdp([entry().event] * 6, 1e-5)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_book_many, args=(str(tmp_path / "l.jsonl"), cap)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(Ledger(tmp_path / "l.jsonl").entries()) == 6


def _killed_child(work: Callable[[], object]) -> int:
    """Run `work` in a process of its own, and return how that ended."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def test_a_client_killed_between_booking_and_sending_has_spent_its_budget(tmp_path: Path) -> None:
    file, sent = tmp_path / "ledger.jsonl", tmp_path / "sent"

    def client() -> None:
        Ledger(file).book(entry(), max_epsilon=10, delta=1e-5)
        os.kill(os.getpid(), signal.SIGKILL)
        sent.touch()

    assert _killed_child(client) == -signal.SIGKILL
    assert Ledger(file).entries() == [entry()]
    assert not sent.exists()
    with pytest.raises(BudgetSpent):
        Ledger(file).book(entry(2), max_epsilon=epsilon_rdp([entry().event], 1e-5), delta=1e-5)


def test_a_client_killed_before_booking_has_spent_nothing_and_sent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sent = tmp_path / "ledger.jsonl", tmp_path / "sent"
    Ledger(file).book(entry(), max_epsilon=10, delta=1e-5)
    monkeypatch.setattr(chain, "_append", lambda *_: os.kill(os.getpid(), signal.SIGKILL))

    def client() -> None:
        Ledger(file).book(entry(2), max_epsilon=10, delta=1e-5)
        sent.touch()

    assert _killed_child(client) == -signal.SIGKILL
    assert Ledger(file).entries() == [entry()]
    assert not sent.exists()
    monkeypatch.undo()
    Ledger(file).book(entry(2), max_epsilon=10, delta=1e-5)  # and the lock is gone with its process


def test_a_ledger_whose_end_was_cut_off_gives_no_budget_back(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    for number in range(3):
        Ledger(file).book(entry(number + 1), max_epsilon=100, delta=1e-5)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1]))
    with pytest.raises(PrivacyError, match="the privacy ledger must hold the 3 lines that its mark counts; found 1"):
        Ledger(file).book(entry(2), max_epsilon=100, delta=1e-5)

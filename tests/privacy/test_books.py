"""Ledger and egress log against each other: whatever does not match is found."""

from __future__ import annotations

from typing import Any

import pytest

from fedspine.privacy.books import cost_in_words, matched
from fedspine.privacy.chain import FIRST, Line, chained

EVENT = {"noise_multiplier": 2.0, "sample_rate": 0.5, "count": 4}


def payment(round_number: int, **values: Any) -> Line:
    line = {
        "stage": "segment",
        "round": round_number,
        "plan": "p",
        "event": EVENT,
        "time": f"2026-01-01T00:0{round_number}",
    }
    return chained({**line, **values}, FIRST)


def message(paid: Line, **values: Any) -> Line:
    line = {key: paid[key] for key in ("stage", "round", "plan", "time")}
    carried = {"mechanism": "gaussian", "cost": cost_in_words(EVENT), "bytes": 10, "ledger": paid["hash"]}
    return {**line, **carried, **values}


FREE: Line = {"mechanism": "public", "bytes": 1, "stage": "", "round": 0, "ledger": "", "cost": "", "plan": "p"}
ONE, TWO = payment(1), payment(2)


def test_books_that_match_have_no_faults() -> None:
    books = matched([ONE, TWO], [FREE, message(ONE), message(TWO), {**FREE, "mechanism": "refusal"}])
    assert (books.payments, books.releases, books.size, books.unsent, books.faults) == (2, 2, 22, (), ())
    assert books.others == {"public": 1, "refusal": 1}


def test_what_was_paid_and_not_sent_is_no_fault_and_is_listed() -> None:
    books = matched([ONE, TWO], [message(ONE), message(TWO, mechanism="stopped")])
    assert books.unsent == (TWO,)
    assert books.faults == ()


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ([message(ONE), message(TWO)], "no line of the ledger paid for"),
        ([message(ONE, ledger="")], "no line of the ledger paid for"),
        ([message(ONE), message(ONE)], "paid for another one"),
        ([message(ONE, stage="classify")], "differs from the line that paid for it in stage"),
        ([message(ONE, round=2)], "in round"),
        ([message(ONE, plan="other")], "in plan"),
        ([message(ONE, mechanism="none")], "in mechanism"),
        ([message(ONE, cost="σ=4, q=0.5, 4 times")], "in cost"),
        ([message(ONE, time="2026-01-01T00:00")], "left before it was paid for"),
    ],
)
def test_whatever_does_not_match_is_a_fault(log: list[Line], fault: str) -> None:
    (found,) = matched([ONE], log).faults
    assert fault in found

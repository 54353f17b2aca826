"""What `metrics.json` says that a run cost a site: every round that it may have booked."""

from __future__ import annotations

from typing import Any

import pytest

from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.privacy.accounting import Event, epsilon_rdp
from server.results import _cost

PLAN = Plan("plan", privacy=PrivacyPlan(delta=1e-5), stage=(Stage("segment", "segment", rounds=3),))


def record(code: str) -> dict[str, Any]:
    """Return a stage of which a site answered two of three rounds, and left with `code` at the third."""
    return {
        "name": "segment",
        "fold": "train",
        "noise_multiplier": 4.0,
        "sample_rate": 1.0,
        "steps": 1,
        "asked": {"a": 3},
        "answered": {"a": 2},
        "refused": {"a": code},
    }


@pytest.mark.parametrize(
    ("code", "rounds"),
    [("no-answer", 3), ("failed", 3), ("egress-blocked", 3), ("budget-spent", 2), ("plan-revoked", 2)],
)
def test_a_round_without_an_answer_counts_where_it_may_have_been_booked(code: str, rounds: int) -> None:
    found = _cost(PLAN, [record(code)], "a")
    assert found["train"]["rdp"] == pytest.approx(epsilon_rdp([Event(4.0, 1.0, rounds)], 1e-5))

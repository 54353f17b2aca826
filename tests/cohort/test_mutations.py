"""No damaged file stops a start, hangs it, fills the memory or gets a word of itself into a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedspine.cohort.workers import Lost, Workers
from tests.cohort.mutations import MARK, Outcome, attempt

LIMIT_S = 10.0
MOST_MB = 600.0
"""Of one process, with the readers of files loaded and no torch: far below what a header of the cases asks for."""
SHORTEST = 5
"""Kinds of outcome that a set of damages must at least bring about, or it tests nothing."""


def outcomes(folder: Path, numbers: range) -> Iterator[Outcome]:
    with Workers() as workers:
        for outcome in workers.map(attempt, [(folder, number) for number in numbers], lambda _: LIMIT_S):
            assert not isinstance(outcome, Lost), outcome
            yield outcome


@pytest.fixture(autouse=True)
def _findable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process that is started anew find the module of `attempt`."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def check(folder: Path, numbers: range, record: pytest.Function) -> None:
    slowest, largest, kinds = 0.0, 0.0, Counter[str]()
    for outcome in outcomes(folder, numbers):
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.peak_mb)
        kinds[outcome.sentence] += 1
    print(f"{len(numbers)} damaged files: slowest {slowest:.2f} s, largest process {largest:.0f} MB")
    record.user_properties += [("slowest_s", slowest), ("largest_mb", largest)]
    assert slowest < LIMIT_S
    assert largest < MOST_MB
    assert kinds[""]  # some damages do no harm
    assert len(kinds) > SHORTEST
    for sentence in filter(None, kinds):
        assert MARK not in sentence
        assert str(folder) not in sentence
        assert sentence.count(";") == 2
        assert "; found " in sentence


def test_two_hundred_damaged_files_are_data_or_a_sentence(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    check(tmp_path, range(200), request.node)


@pytest.mark.slow
def test_ten_thousand_damaged_files_are_data_or_a_sentence(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    check(tmp_path, range(200, 10_200), request.node)

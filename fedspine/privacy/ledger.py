"""One book per site of everything it ever released: JSON lines, hash-chained, written before the release leaves.

A line is booked, flushed to disk and only then may the release be computed: a crash costs budget, never the reverse.
Under one split, training and held-out patients are different people (it looks at one identifier at a time), so a
patient pays for one fold's releases only (parallel composition). Under another plan's split, or another key of the
site's pseudonyms, the same patient may fall on the other side. So releases under other splits count whatever their
fold: an upper bound for everybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedspine.errors import BudgetSpent, PrivacyError
from fedspine.privacy.accounting import Event, epsilon_rdp
from fedspine.privacy.chain import Line, extend, read

FOLDS = ("train", "held-out")
WHAT = "the privacy ledger"


@dataclass(frozen=True)
class Entry:
    """One booked release.

    Args:
        stage: the plan's stage.
        round: counted from 1.
        fold: whose patients: `train` or `held-out`.
        split: what tells folds of one division into training and held-out patients from those of another.
        event: what the mechanism did. Of a secure sum, with the noise of the total, which is all that the server sees.
        clip: the L2 bound in force (for the reader; the cost does not depend on it).
        plan: digest of the plan.
        noise: `"os entropy"` or `"fixed seed"`.
        coalition: of a secure sum, what is left of the noise against all others who pool what they know; else `None`.
    """

    stage: str
    round: int
    fold: str
    split: str
    event: Event
    clip: float
    plan: str
    noise: str
    coalition: Event | None = None


class Ledger:
    """A site's book.

    Args:
        path: the file; made with mode 0600 at the first entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[Entry]:
        """Return what is booked, after checking chain and mark."""
        return [_entry(line) for line in read(self._path, WHAT)]

    def book(
        self,
        entry: Entry,
        *,
        max_epsilon: float,
        delta: float,
        also: Callable[[Sequence[Line]], None] | None = None,
    ) -> str:
        """Book `entry` if the fold's epsilon stays within `max_epsilon` at `delta`; return the hash of its line.

        The check is by RDP, an upper bound that holds under adaptive composition. It is made under the lock, so two
        clients cannot spend the same budget; `also` is shown the lines there too, and raises where they forbid
        this one. When this returns, the line is on disk.

        Raises:
            BudgetSpent: if it would not; nothing is booked.
            PrivacyError: if the ledger is not whole.
        """
        if entry.fold not in FOLDS:
            raise PrivacyError(f"fold must be one of {FOLDS}, got {entry.fold!r}")

        def admit(lines: Sequence[Line]) -> None:
            if also is not None:
                also(lines)
            if epsilon_rdp([*_paid(lines, entry.fold, entry.split), entry.event], delta) > max_epsilon:
                raise BudgetSpent(
                    f"the site's budget of epsilon {max_epsilon:g} must cover a release; the next one would not fit"
                )

        line = {**asdict(entry), "time": datetime.now(UTC).isoformat(timespec="seconds")}
        return extend(self._path, line, WHAT, admit)


def paid_by(entries: Iterable[Entry], fold: str, split: str) -> list[Event]:
    """Return what a patient of `fold` under `split` has paid at most: their fold, and all of every other split."""
    return [e.event for e in entries if e.split != split or e.fold == fold]


def _paid(lines: Iterable[Line], fold: str, split: str) -> list[Event]:
    """Return what `paid_by` returns, events that are alike as one, straight from a ledger's lines: it may be long."""
    alike = Counter(tuple(line["event"].items()) for line in lines if line["split"] != split or line["fold"] == fold)
    events = [(_event(dict(fields)), times) for fields, times in alike.items()]
    return [replace(event, count=event.count * times) for event, times in events]


def _entry(line: Line) -> Entry:
    kept = {key: line[key] for key in ("stage", "round", "fold", "split", "clip", "plan", "noise")}
    coalition = line.get("coalition")  # lines from before there were secure sums have none
    return Entry(event=_event(line["event"]), coalition=_event(coalition) if coalition else None, **kept)


def _event(fields: dict[str, Any]) -> Event:
    return Event(**fields)

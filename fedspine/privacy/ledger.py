"""One book per site of everything it ever released: JSON lines, hash-chained, written before the release leaves.

A line is booked, flushed to disk and only then may the release be computed: a crash costs budget, never the reverse.
Under one split, training and held-out patients are different people (it looks at one identifier at a time), so a
patient pays for one fold's releases only (parallel composition). Under another plan's split, or another key of the
site's pseudonyms, the same patient may fall on the other side. So releases under other splits count whatever their
fold: an upper bound for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedspine.errors import BudgetSpent, PrivacyError
from fedspine.privacy.accounting import Event, epsilon_rdp
from fedspine.privacy.chain import FIRST, append, chained, locked, read_chain

FOLDS = ("train", "held-out")


@dataclass(frozen=True)
class Entry:
    """One booked release.

    Args:
        stage: the plan's stage.
        round: counted from 1.
        fold: whose patients: `train` or `held-out`.
        split: what tells folds of one division into training and held-out patients from those of another.
        event: what the mechanism did.
        clip: the L2 bound in force (for the reader; the cost does not depend on it).
        plan: digest of the plan.
        noise: `"os entropy"` or `"fixed seed"`.
    """

    stage: str
    round: int
    fold: str
    split: str
    event: Event
    clip: float
    plan: str
    noise: str


class Ledger:
    """A site's book.

    Args:
        path: the file; made with mode 0600 at the first entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[Entry]:
        """Return what is booked, after checking the chain."""
        if not self._path.exists():
            return []
        return [_entry(line) for line in read_chain(self._path.read_text("utf-8"), "the privacy ledger")]

    def book(self, entry: Entry, *, max_epsilon: float, delta: float) -> None:
        """Book `entry` if the fold's epsilon stays within `max_epsilon` at `delta`.

        The check is by RDP, an upper bound that holds under adaptive composition.

        Raises:
            BudgetSpent: if it would not; nothing is booked.
        """
        if entry.fold not in FOLDS:
            raise PrivacyError(f"fold must be one of {FOLDS}, got {entry.fold!r}")
        with locked(self._path) as file:
            file.seek(0)
            lines = read_chain(file.read(), "the privacy ledger")
            events = paid_by(map(_entry, lines), entry.fold, entry.split)
            if epsilon_rdp([*events, entry.event], delta) > max_epsilon:
                raise BudgetSpent(
                    f"the site's budget of epsilon {max_epsilon:g} must cover a release; the next one would not fit"
                )
            line = {**asdict(entry), "time": datetime.now(UTC).isoformat(timespec="seconds")}
            append(file, chained(line, lines[-1]["hash"] if lines else FIRST))


def paid_by(entries: Iterable[Entry], fold: str, split: str) -> list[Event]:
    """Return what a patient of `fold` under `split` has paid at most: their fold, and all of every other split."""
    return [e.event for e in entries if e.split != split or e.fold == fold]


def _entry(line: dict[str, Any]) -> Entry:
    kept = {key: line[key] for key in ("stage", "round", "fold", "split", "clip", "plan", "noise")}
    return Entry(event=Event(**line["event"]), **kept)

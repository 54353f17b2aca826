"""When the sessions of a BIDS data set took place: `acq_time` in `*_sessions.tsv` or `*_scans.tsv`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fedspine.cohort.bids.tree import Tree
from fedspine.cohort.patient import Rejected
from fedspine.cohort.sheet import read_sheet


def days_of(folder: Path, tree: Tree) -> dict[tuple[str, str], int]:
    """Return the day of each (subject, session) as a count of days; those without a date are absent.

    Of the scans of a session the first that has a time counts.
    """
    days: dict[tuple[str, str], int] = {}
    unread: list[Rejected] = []  # a table of dates that cannot be read leaves sessions without dates, which is said
    for items in tree.sidecars.values():
        for item in (one for one in items if one.suffix in ("sessions", "scans")):
            table = read_sheet(folder / item.file.where, item.file.where, unread)
            if table is None or "acq_time" not in table.columns:
                continue
            when = table.columns.index("acq_time")
            who = table.columns.index("session_id") if "session_id" in table.columns else None
            for _, cells in table.rows:
                session = item.session if who is None else cells[who].removeprefix("ses-")
                day = _day(cells[when])
                if day is not None:
                    days.setdefault((item.subject, session), day)
    return days


def _day(text: str) -> int | None:
    try:
        return datetime.fromisoformat(text).toordinal()
    except ValueError:
        return None

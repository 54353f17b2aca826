"""New values for old ones: moved dates, keyed UIDs, dummies."""

from __future__ import annotations

import re
from datetime import date, timedelta

DAY = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")

DUMMIES = {"AS": "000Y", "DS": "0", "IS": "0", "UR": "http://removed.invalid", "CS": "REMOVED"}
"""What takes the place of a value that must not be empty, by value representation."""

DUMMY = "removed"
AGENT = "agent"
"""What is left of a contrast agent: that one was given."""


def moved(value: str, days: int) -> str:
    """Return a DICOM date, or a date with a time, `days` earlier; nothing where it is not a whole date.

    >>> moved("20200301", 1), moved("20200301120000.5+0100", 1), moved("2020.03.01", 1), moved("202003", 1)
    ('20200229', '20200229120000.5+0100', '20200229', '')
    """
    found = DAY.match(value)
    if found is None:
        return ""
    year, month, day = (int(part) for part in found.groups())
    try:
        return (date(year, month, day) - timedelta(days=days)).strftime("%Y%m%d").zfill(8) + value[
            found.end() :
        ].strip()
    except (ValueError, OverflowError):
        return ""


def dummy(representation: str) -> str:
    """Return a value of `representation`, one of text, that says nothing."""
    return DUMMIES.get(representation, DUMMY)

"""One line of an audit: what was looked for, how it was graded and why, for people who are no specialists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Grade(StrEnum):
    """Three grades and no other: nothing is ever found to be "private"."""

    FAIL = "FAIL"
    PASS = "PASS"
    NOT_TESTED = "NOT TESTED"


class Level(StrEnum):
    """The level of the pyramid of NIST SP 800-226 that a line belongs to, from the top down."""

    GUARANTEE = "guarantee"
    MECHANISM = "algorithm and trust"
    EXPOSURE = "data, access and exposure"


@dataclass(frozen=True)
class Line:
    """One check.

    Args:
        check: its number, `A1` to `A13`.
        title: a few words.
        level: of the pyramid.
        grade: FAIL contradicts the claim, or no claim can be made; PASS holds up to `bound`; otherwise NOT TESTED.
        finding: one sentence, with the numbers that decided.
        bound: what a PASS is worth: how large a fault could still hide. Empty if it is no PASS.
        means: what the line is about, for somebody who is no specialist.
        figures: numbers by name, for machines.
        pictures: caption to a PNG's bytes, for the page.
    """

    check: str
    title: str
    level: Level
    grade: Grade
    finding: str
    bound: str = ""
    means: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)

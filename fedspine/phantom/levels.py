"""Vertebral levels from C1 to S3: their names, their sizes, and the field of view that each region is imaged with.

Sizes lie in the typical range of adults and are not from one source.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedspine.cohort.levels import VERTEBRAE
from fedspine.errors import InputError

LEVELS = (*VERTEBRAE, "S2", "S3")
"""Vertebral levels from head to feet; C1 is a ring without a body, and the dens of C2 stands in it."""
COUNT = len(LEVELS)
CONUS = LEVELS.index("L1")
"""Below the middle of L1 the sac holds roots instead of a cord."""
C1, C2, C7, T1, T12, L1, L5, S1, S2 = (
    LEVELS.index(name) for name in ("C1", "C2", "C7", "T1", "T12", "L1", "L5", "S1", "S2")
)

_KNOTS = np.array([C1, C2, C7, T1, T12, L1, L5, S1, S2 + 1], dtype=np.float64)


def _by_level(*at_knots: float) -> np.ndarray:
    return np.interp(np.arange(COUNT), _KNOTS, at_knots)


PITCH_MM = _by_level(15, 19, 19, 20, 29, 32, 37, 31, 24)
"""A body and the disc below it, along the spine."""
DEPTH_MM = _by_level(10, 15, 17, 18, 29, 31, 35, 30, 20)
"""A body from front to back."""
DISC_SHARE = _by_level(0.05, 0.24, 0.28, 0.20, 0.22, 0.24, 0.30, 0.14, 0.08)
"""How much of a level's height is disc."""
EDGES_MM = np.concatenate([[0.0], np.cumsum(PITCH_MM)])
"""Where each level begins below the top of C1, (level + 1,)."""
MIDDLE_MM = EDGES_MM[:-1] + PITCH_MM * (1.0 - DISC_SHARE) / 2
"""Where the middle of each body lies, (level,)."""


def body_height_mm(level: int) -> float:
    """Return the height of a vertebral body."""
    return float(PITCH_MM[level] * (1.0 - DISC_SHARE[level]))


class Region(NamedTuple):
    """A part of the spine that is imaged with one field of view."""

    name: str
    first: int
    last: int
    field_mm: tuple[float, float]


REGIONS = (
    Region("cervical", C1, C7, (180.0, 230.0)),
    Region("thoracic", T1, T12, (190.0, 270.0)),
    Region("lumbar", L1, COUNT - 1, (195.0, 285.0)),
)
"""Side of the square field of view; typical of protocols, not from one source."""

EVERY_LEVEL = "C1-S1"


def region_of(level: int) -> Region:
    """Return the region that a level lies in."""
    return next(region for region in REGIONS if region.first <= level <= region.last)


def parse_levels(text: str) -> tuple[int, int]:
    """Return the first and last level, as indices into `LEVELS`, of a range such as "T1-T12" or of one level, "L5".

    >>> parse_levels("C1-C3")
    (0, 2)

    Raises:
        InputError: if it is not a range of levels from head to feet.
    """
    parts = text.strip().upper().replace(" ", "").split("-")
    known = [LEVELS.index(part) for part in parts if part in LEVELS]
    if len(known) != len(parts) or len(parts) > 2 or known != sorted(known):
        rule = "levels must be one of C1 to S3, or a range from head to feet"
        raise InputError(rule, "another word", "write levels such as C1-S1, T1-T12 or L5")
    return known[0], known[-1]

"""Where the vertebrae of one patient lie: from a hospital's numbered drawing, or from who made the patient.

A drawing of levels is a NIfTI file in `levels/` in the grid of an image, named as masks are. Its numbers are those of
VerSe (Sekuboyina 2021): 1 to 7 for C1 to C7, 8 to 19 for T1 to T12, 20 to 24 for L1 to L5, 26 for S1; the twelve
cervical and thoracic ones of the Spinal Cord Toolbox and of nnU-Nets trained on VerSe agree. 25 (L6), 27 (coccyx) and
28 (T13) are passed over. TotalSpineSeg counts otherwise (11 for C1, 21 for T1, 41 for L1, 50 for the sacrum) and must
be renumbered. A level may be drawn as a body or as one point: what counts is the centre of its voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedspine.errors import SeriesError

VERTEBRAE = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 6)),
    "S1",
)
"""Vertebral levels from head to feet."""

PASSED_OVER = (25, 27, 28)
NUMBERS = {number: number - 1 for number in range(1, 25)} | {26: 24}
"""VerSe's number to index into `VERTEBRAE`."""
MOST = max(*NUMBERS, *PASSED_OVER)

Places = NDArray[np.float64]
"""(level, 3), NaN where unknown."""


def nowhere() -> Places:
    """Return the places of no level at all."""
    return np.full((len(VERTEBRAE), 3), np.nan)


def numbered(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a drawing's values as uint8.

    Raises:
        SeriesError: when they are not VerSe's numbers.
    """
    rounded = np.rint(np.asarray(values, np.float64))
    if not np.isfinite(rounded).all() or (rounded != values).any() or rounded.min() < 0 or rounded.max() > MOST:
        raise SeriesError(
            "a drawing of levels must hold 1 to 24 for C1 to L5 and 26 for S1", "other numbers", "renumber it"
        )
    return rounded.astype(np.uint8)


def centres_mm(drawn: NDArray[np.generic], affine: NDArray[np.float64]) -> Places:
    """Return the centre of each level's voxels in the patient: (level, 3) in LPS millimetres.

    Args:
        drawn: (slice, row, column) of VerSe's numbers.
        affine: (4, 4), (slice, row, column, 1) to LPS millimetres.

    Raises:
        SeriesError: when the levels do not run from head to feet.
    """
    places = nowhere()
    inside = np.argwhere(drawn)
    values = np.asarray(drawn)[tuple(inside.T)]
    for number in np.unique(values):
        if int(number) in NUMBERS:
            centre = inside[values == number].mean(0)
            places[NUMBERS[int(number)]] = affine[:3, :3] @ centre + affine[:3, 3]
    known = places[np.isfinite(places[:, 0]), 2]
    if len(known) > 1 and known[0] <= known[-1]:
        raise SeriesError("levels must run from head to feet", "another order", "renumber them")
    return places


def grid_places(places_mm: Places, affine: NDArray[np.float64]) -> Places:
    """Return places in the patient, (level, 3) in LPS millimetres, as (slice, row, column) of the grid of `affine`."""
    back = np.linalg.inv(affine)
    return np.asarray(places_mm @ back[:3, :3].T + back[:3, 3])

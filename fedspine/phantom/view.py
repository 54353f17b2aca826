"""What an examination shows of a person: the field of view and how the patient lies in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedspine.phantom import levels

FINER = 2
"""The tissue map has this many points per voxel along each axis: where they differ, the voxel holds part of each."""
PARTIAL = 0.06
"""Share of examinations whose field of view is cut short or set badly, so that part of the spine is not in it."""


@dataclass(frozen=True)
class View:
    """A field of view; lengths in mm.

    Args:
        shape: (slice, row, column) of the image.
        pixel_mm: in-plane spacing.
        gap_mm: distance between slice centres.
        thickness_mm: slice thickness.
        level: vertebral level, an index into `levels.LEVELS`, that lies `offset_mm` below the middle of the image.
        offset_mm: see `level`.
        column: place of the canal from the front, as a share of the image.
        aside_mm: how far the middle slice lies beside the spine.
        tilt: turn of the image about the feet-head and the left-right axis, in radians.
    """

    shape: tuple[int, int, int]
    pixel_mm: float
    gap_mm: float
    thickness_mm: float
    level: int
    offset_mm: float
    column: float
    aside_mm: float
    tilt: tuple[float, float]


def draw_view(
    stream: np.random.Generator, *, shape: tuple[int, int, int], level: int, months: float, field_mm: float | None
) -> View:
    """Draw the field of view of an examination `months` after the first; a later one is set and turned anew."""
    slices, rows, columns = shape
    low_mm, high_mm = levels.region_of(level).field_mm
    width_mm = stream.uniform(low_mm, high_mm)
    width_mm = field_mm or width_mm
    gap_mm = round(min(5.5, stream.uniform(46.0, 54.0) / slices), 2)
    first, later = stream.standard_normal((2, 5)), stream.standard_normal((2, 5))[1]
    lie = first[0] if months == 0.0 else 0.8 * first[0] + 0.6 * later
    partial = stream.uniform() < PARTIAL
    offset = 0.16 * np.clip(lie[0], -1.5, 1.5) if partial else 0.11 * np.clip(lie[0], -2.0, 2.0)
    column = 0.80 + 0.04 * np.clip(lie[1], -2.0, 2.0) if partial else 0.59 + 0.03 * np.clip(lie[1], -2.0, 2.0)
    return View(
        shape=shape,
        pixel_mm=round(float(width_mm) / max(rows, columns), 4),
        gap_mm=gap_mm,
        thickness_mm=round(0.9 * gap_mm, 2),
        level=level,
        offset_mm=float(offset * width_mm),
        column=float(column),
        aside_mm=float(1.2 * np.clip(lie[2], -2.0, 2.0)),
        tilt=(0.05 * float(lie[3]), 0.04 * float(lie[4])),
    )

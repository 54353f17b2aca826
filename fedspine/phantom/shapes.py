"""Solids in the spine's frame, painted only where they can reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.anatomy import Frame

Place = tuple[float, float, float]
"""mm along (from front to back, from head to feet, along the slices)."""
Box = tuple[slice, slice, slice]


def box_of(frame: Frame, centre_mm: Place, reach_mm: Place) -> Box | None:
    """Return the part of the fine grid, (slice, row, column), within reach of a place; None if there is none."""
    near = np.abs(frame.along_mm - np.float32(centre_mm[1])) < reach_mm[1]
    near &= np.abs(frame.ap_mm - np.float32(centre_mm[0])) < reach_mm[0]
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if rows.size == 0:
        return None
    beside = np.abs(frame.lateral_mm[:, rows[0] : rows[-1] + 1] - np.float32(centre_mm[2])) < reach_mm[2]
    slices = np.flatnonzero(beside.any(axis=1))
    if slices.size == 0:
        return None
    return (
        slice(int(slices[0]), int(slices[-1]) + 1),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


def distance_in(
    frame: Frame, box: Box, centre_mm: Place, radius_mm: Place
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (front, along, across) from the centre in radii, each of a shape that spreads over the box."""
    across = (frame.lateral_mm[box[0], box[1]].astype(np.float64) - centre_mm[2])[:, :, None]
    front = (frame.ap_mm[box[1], box[2]].astype(np.float64) - centre_mm[0])[None]
    along = (frame.along_mm[box[1], box[2]].astype(np.float64) - centre_mm[1])[None]
    return front / radius_mm[0], along / radius_mm[1], across / radius_mm[2]


def paint_ball(
    tissues: NDArray[np.uint8],
    frame: Frame,
    centre_mm: Place,
    radius_mm: Place,
    tissue: int,
    into: Sequence[int] | None = None,
) -> None:
    """Paint an ellipsoid, only into the tissues `into` if given, in place."""
    box = box_of(frame, centre_mm, radius_mm)
    if box is None:
        return
    front, along, across = distance_in(frame, box, centre_mm, radius_mm)
    inside = front * front + along * along + across * across < 1.0
    view = tissues[box]
    if into is not None:
        inside &= np.isin(view, into)
    view[inside] = tissue

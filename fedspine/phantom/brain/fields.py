"""Random fields: what makes one head's shape, texture and shading differ from another's."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

Map = NDArray[np.float32]

REACH_MM = 120.0
"""Fields in space are drawn this far from the origin and continue evenly beyond."""

COARSE = 4
"""Fields in space are smooth: one row and column in so many is computed, and what lies between is filled in."""

_SPREAD = 1.9
"""Noise that is weighted by cubic splines in three dimensions has a standard deviation of about a third."""


def in_space(random: np.random.Generator, places_mm: Map, scale_mm: float) -> Map:
    """Return a smooth field of standard deviation about 0.5 at `places_mm` (3, slice, row, column).

    Whatever is read from it is in these units. It is computed at every `COARSE`th row and column and stretched to the
    whole side, so that it may lie up to `COARSE - 1` pixels from where it was drawn.

    Args:
        random: of the field.
        places_mm: where.
        scale_mm: distance over which it changes.
    """
    side = int(2 * REACH_MM / scale_mm) + 4
    knots = random.normal(size=(side, side, side)).astype(np.float32)
    some = places_mm[:, :, ::COARSE, ::COARSE]
    values = map_coordinates(knots, (some + REACH_MM) / scale_mm + 1, order=3, mode="nearest", prefilter=False)
    return np.float32(_SPREAD) * _filled(values, places_mm.shape[1:])


def in_plane(random: np.random.Generator, shape: tuple[int, ...], scale: float) -> Map:
    """Return (slice, row, column) fields of standard deviation 1, another one in every slice.

    Args:
        random: of the fields.
        shape: of the result.
        scale: pixels over which they change; 1 at least is taken.
    """
    slices, *sides = shape
    knots = random.normal(size=(slices, *(int(side / max(scale, 1.0)) + 4 for side in sides))).astype(np.float32)
    values = _filled(knots, shape, degree=3)
    return np.asarray(values / np.maximum(values.std(), np.float32(1e-6)), np.float32)


def _filled(values: Map, shape: tuple[int, ...], degree: int = 1) -> Map:
    """Return (slice, row, column) values stretched to `shape`, in-plane only, by splines of `degree`."""
    rows, columns = (_splines(want, have, degree) for want, have in zip(shape[1:], values.shape[1:], strict=True))
    return np.asarray(rows @ values @ columns.T, np.float32)


@lru_cache(maxsize=64)
def _splines(wanted: int, given: int, degree: int) -> Map:
    """Return the weights (wanted, given) of evenly spread values in as many places."""
    ends = given - degree
    knots = np.arange(-degree, given + 1, dtype=np.float64)
    places = np.linspace(0.0, ends - 1e-9, wanted)
    return np.asarray(BSpline.design_matrix(places, knots, degree).toarray(), np.float32)

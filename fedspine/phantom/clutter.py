"""Unevenness that belongs to the person: smooth random fields laid out in the spine's own frame.

The same place of a person holds the same value in every examination, however the patient lies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.anatomy import Frame
from fedspine.phantom.view import FINER

_LAYERS, _NODES = 24, 64


class Scale(NamedTuple):
    """Distance between the nodes of a field, mm along (from front to back, from head to feet, along the slices)."""

    front_mm: float
    along_mm: float
    across_mm: float


STREAKS = Scale(3.5, 20.0, 5.0)
"""Bundles of muscle and the fat between them run along the spine."""
LUMPS = Scale(11.0, 13.0, 11.0)
"""Loops of bowel, vessels and fat in front of it."""
GRAINS = Scale(3.0, 3.2, 5.0)
"""Trabeculae, septa and vessels too small to be drawn one by one."""

Clutter = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""The fields of `STREAKS`, `LUMPS` and `GRAINS`, each (layer, node, node), standard normal at the nodes, periodic."""


def draw_clutter(stream: np.random.Generator) -> Clutter:
    """Draw the three fields of a person."""
    one, two, three = stream.standard_normal((3, _LAYERS, _NODES, _NODES), dtype=np.float32)
    return one, two, three


def field(lattice: NDArray[np.float32], scale: Scale, frame: Frame) -> NDArray[np.float32]:
    """Return a field on the image's own grid, float32 (slice, row, column), by interpolation between its nodes."""
    rows, row_part = _node(frame.beside_mm[::FINER, None] / np.float32(scale.along_mm), _NODES)
    columns, column_part = _node(frame.behind_mm[::FINER, ::FINER] / np.float32(scale.front_mm), _NODES)
    layers, layer_part = _node(frame.lateral_mm[::FINER, ::FINER] / np.float32(scale.across_mm), _LAYERS)
    used = np.unique(np.concatenate([layers.ravel(), (layers.ravel() + 1) % _LAYERS]))
    nodes = lattice[used].reshape(len(used), -1)
    here = rows * _NODES + columns
    right = rows * _NODES + (columns + 1) % _NODES
    below_row = (rows + 1) % _NODES
    planes = _between(
        _between(np.take(nodes, here, axis=1), np.take(nodes, right, axis=1), column_part),
        _between(
            np.take(nodes, below_row * _NODES + columns, axis=1),
            np.take(nodes, below_row * _NODES + (columns + 1) % _NODES, axis=1),
            column_part,
        ),
        row_part,
    )
    place = np.searchsorted(used, layers), np.searchsorted(used, (layers + 1) % _LAYERS)
    row = np.arange(layers.shape[1])[None, :]
    return _between(planes[place[0], row], planes[place[1], row], layer_part[:, :, None])


def _node(place: NDArray[np.float32], count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the node before each place and a smooth share of the way to the next."""
    floor = np.floor(place)
    part = place - floor
    return floor.astype(np.intp) % count, part * part * (np.float32(3.0) - np.float32(2.0) * part)


def _between(one: NDArray[np.float32], other: NDArray[np.float32], part: NDArray[np.float32]) -> NDArray[np.float32]:
    return one + (other - one) * part

"""The average brain that heads are bent from: the ICBM 152 nonlinear template of 2009 (Fonov 2011), at 2 mm.

Maps of grey and white matter of 152 healthy adults together, in 16 steps; no person can be seen in it. Copyright
1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University: "Permission
to use, copy, modify, and distribute this software and its documentation for any purpose and without fee is hereby
granted, provided that the above copyright notice appear in all copies. The authors and McGill University make no
representations about the suitability of this software for any purpose. It is provided 'as is' without express or
implied warranty."
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt, map_coordinates

from fedspine.shipped_weights import read_weights

Map = NDArray[np.float32]

FILE = Path(__file__).parent / "icbm152.json"
DIGEST = "67dfd32fb928d07fcd635bd9df416b231eccf8871f45d5dcaff046da0161f0e9"
SHAPE, CORNER_MM, SPACING_MM, STEPS = (79, 98, 81), (-77.5, -113.5, -71.5), 2.0, 15
"""Voxels of the file, the place of the first, their distance, and the largest value."""

MARGIN = 25
"""Voxels added on every side: a head is wider than its brain."""

ORIGIN_MM = tuple(along - MARGIN * SPACING_MM for along in CORNER_MM)


@dataclass(frozen=True, eq=False)
class Template:
    """Maps (x, y, z) on a grid of `SPACING_MM` whose first voxel lies at `ORIGIN_MM`: x to the right, y to the front,
    z upwards, in the template's millimetres.

    Args:
        grey, white: share of grey and white matter, 0 to 1; the rest of the brain is fluid.
        depth_mm: distance from the brain's surface, negative inside.
    """

    grey: Map = field(repr=False)
    white: Map = field(repr=False)
    depth_mm: Map = field(repr=False)

    def at(self, places_mm: Map) -> tuple[Map, Map, Map]:
        """Return grey, white and depth at `places_mm` (3, ...), between voxels linearly."""
        index = (places_mm - np.array(ORIGIN_MM, np.float32).reshape(3, *[1] * (places_mm.ndim - 1))) / SPACING_MM
        grey, white = (map_coordinates(one, index, order=1) for one in (self.grey, self.white))
        return grey, white, map_coordinates(self.depth_mm, index, order=1, mode="nearest")


@lru_cache(maxsize=1)
def template() -> Template:
    """Return the template that comes with the package."""
    packed = read_weights(FILE, DIGEST)["maps"].numpy().tobytes()
    steps = np.frombuffer(lzma.decompress(packed), np.uint8).reshape(2, *SHAPE)
    grey, white = (np.pad(one, MARGIN) for one in steps.astype(np.float32) / STEPS)
    brain = binary_fill_holes(binary_closing(grey + white > 0.3, iterations=2))
    depth = (distance_transform_edt(~brain) - distance_transform_edt(brain)) * SPACING_MM
    return Template(grey, white, depth.astype(np.float32))

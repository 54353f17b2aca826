"""The shape of one head: the template bent, turned and scaled, seen in axial slices, with what lies around a brain."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.brain.fields import Map, in_plane, in_space
from fedspine.phantom.brain.template import template

Region = NDArray[np.bool_]

LOWEST_MM, HIGHEST_MM = -58.0, 74.0
"""Between the lower end of the cerebellum and the crown, in the template's millimetres."""

FOLDED_MM = 20.0
"""Depth to which the cortex is folded: the average of 152 brains is blurred there, and gets folds of its own."""


@dataclass(frozen=True, eq=False)
class Head:
    """One head in axial slices; all maps are (slice, row, column), rows from front to back.

    Args:
        places_mm: (3, slice, row, column), where each voxel lies in the template: right, front, up.
        affine: (4, 4), see `cohort.patient.Volume`.
        grey, white, fluid: shares of the brain's tissues, together 1.
        brain: share of the voxel that is brain.
        depth_mm: distance from the brain's surface, negative inside.
        bone, fat, muscle, eyes: what lies around it.
    """

    places_mm: Map = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    grey: Map = field(repr=False)
    white: Map = field(repr=False)
    fluid: Map = field(repr=False)
    brain: Map = field(repr=False)
    depth_mm: Map = field(repr=False)
    bone: Region = field(repr=False)
    fat: Region = field(repr=False)
    muscle: Region = field(repr=False)
    eyes: Region = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(slice, row, column)."""
        return self.depth_mm.shape

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return float(self.affine[0, 2])


def draw_view(random: np.random.Generator, shape: tuple[int, int, int]) -> tuple[Map, NDArray[np.float64]]:
    """Return where the voxels of an examination lie, bent into the template (3, slice, row, column), and its affine."""
    slices, rows, columns = shape
    pixel = random.uniform(198.0, 275.0) / max(rows, columns)
    step = (HIGHEST_MM - LOWEST_MM) / slices
    heights = LOWEST_MM + step * (np.arange(slices) + random.uniform())
    down = -(np.arange(rows) - (rows - 1) / 2) * pixel + random.uniform(-26.0, -8.0)
    across = ((columns - 1) / 2 - np.arange(columns)) * pixel + random.normal(0.0, 4.0)
    z, y, x = np.meshgrid(heights, down, across, indexing="ij")
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, pixel], [0, pixel, 0], [step, 0, 0]]  # LPS: columns run to the left, rows backwards
    affine[:3, 3] = -across[0], -down[0], heights[0]
    middle = np.array([0.0, -18.0, 10.0], np.float32).reshape(3, 1, 1, 1)
    places = np.stack([x, y, z]).astype(np.float32) - middle
    turned = np.einsum("ij,j...->i...", _turn(random) * random.uniform(0.9, 1.1, 3), places).astype(np.float32) + middle
    bend = random.uniform(1.0, 4.0)
    return turned + bend * np.stack([in_space(random, turned, 32.0) for _ in range(3)]).astype(np.float32), affine


def _turn(random: np.random.Generator) -> NDArray[np.float64]:
    """Return a small rotation about all three axes."""
    result = np.eye(3)
    for (first, second), angle in zip(((1, 2), (0, 2), (0, 1)), random.normal(0.0, 0.1, 3), strict=True):
        one = np.eye(3)
        one[[first, first, second, second], [first, second, first, second]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        result = one @ result
    return result


def draw_head(random: np.random.Generator, places: Map, affine: NDArray[np.float64], pushed: Map) -> Head:
    """Return the head at `places`; its tissues are what the template shows at `pushed`, where a tumour moved them from.

    The skull gives way to nothing: the surface is that of `places`.

    Args:
        random: of everything.
        places: see `draw_view`.
        affine: the view's.
        pushed: like `places`.
    """
    grey, white, _ = template().at(pushed)
    pixel = float(affine[0, 2])
    depth = template().at(places)[2] + 1.2 * in_space(random, places, 24.0)
    cortex = np.clip((depth + FOLDED_MM + 2) / 14, 0, 1) * (depth < 2)
    folds = np.clip(0.3 * in_plane(random, depth.shape, 7 / pixel), -0.5, 0.5) * cortex
    furrows = 1.5 * np.clip(0.5 * in_plane(random, depth.shape, 9 / pixel), -0.6, 0.9) * cortex
    sharp = np.exp(random.uniform(0.2, 1.1))
    share = np.stack([grey, white, np.clip(1 - grey - white, 0, 1)]) + 1e-3
    share = np.exp(sharp * (np.log(share) + np.stack([folds, -folds, furrows])))
    grey, white, fluid = (share / share.sum(0)).astype(np.float32)
    bone, fat, muscle, eyes = _around(random, places, depth)
    inside = np.asarray(np.clip(0.5 - depth / 3, 0, 1), np.float32)
    return Head(places, affine, grey, white, fluid, inside, depth, bone, fat, muscle, eyes)


def _around(random: np.random.Generator, places: Map, depth: Map) -> tuple[Region, Region, Region, Region]:
    """Return bone, fat, muscle and eyes."""
    x, y, z = places
    fluid_mm, bone_mm, scalp_mm = random.uniform(1, 5), random.uniform(4, 8), random.uniform(3, 8)
    skull = (depth >= fluid_mm) & (depth < fluid_mm + bone_mm)
    outer = fluid_mm + bone_mm + scalp_mm + 1.5 * in_space(random, places, 40.0)
    scalp = (depth >= fluid_mm + bone_mm) & (depth < outer)
    outline = np.hypot(x / random.uniform(66, 76), (y - random.uniform(-18, 0)) / random.uniform(84, 98)) < 1
    face = outline & (z < -random.uniform(17, 32)) & (depth > fluid_mm + 1)
    texture = in_space(random, places, 10.0)
    hollow = face & (in_space(random, places, 14.0) > 0.9)
    across, ahead, up = random.uniform(29, 35), random.uniform(52, 64), random.uniform(-42, -30)
    beside = np.minimum((x - across) ** 2, (x + across) ** 2)
    eyes = (beside + (y - ahead) ** 2 + (z - up) ** 2 < random.uniform(10, 13.5) ** 2) & (depth > 2)
    fat = ((scalp & ~face) | (face & (texture > 0.7))) & ~eyes & ~hollow
    bone = ((skull & ~face) | hollow) & ~eyes
    return bone, fat, face & ~fat & ~bone & ~eyes, eyes

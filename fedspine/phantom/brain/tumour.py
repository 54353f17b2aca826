"""A glioma: where it lies, how far it spreads, what it pushes aside, where it takes up contrast agent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.brain.anatomy import Head
from fedspine.phantom.brain.fields import Map, in_plane, in_space
from fedspine.phantom.brain.template import ORIGIN_MM, SPACING_MM, template

SMALLEST_MM, LARGEST_MM = 11.0, 46.0
"""Of the radius; its logarithm is drawn evenly."""


@dataclass(frozen=True)
class Place:
    """Where a tumour grows.

    Args:
        centre_mm, radius_mm: of an ellipsoid, in the template's millimetres: right, front, up.
        push: share of its radius by which it moves the brain aside.
    """

    centre_mm: tuple[float, ...]
    radius_mm: tuple[float, ...]
    push: float


@dataclass(frozen=True, eq=False)
class Tumour:
    """What a tumour is in an examination; maps are (slice, row, column).

    Args:
        share: of each voxel that is tumour or its oedema: what a mask of the abnormal FLAIR signal holds.
        cyst: share of these that is fluid or dead.
        enhancing: how strongly contrast agent is taken up, 0 to 1.
    """

    share: Map = field(repr=False)
    cyst: Map = field(repr=False)
    enhancing: Map = field(repr=False)


def draw_place(random: np.random.Generator, heights_mm: NDArray[np.floating]) -> Place:
    """Return a place within the brain near one of the slices' `heights_mm`."""
    depth = template().depth_mm
    base = np.exp(random.uniform(np.log(SMALLEST_MM), np.log(LARGEST_MM)))
    radius = base * random.uniform(0.7, 1.4, 3)
    for _ in range(1000):
        height = float(random.choice(heights_mm)) + random.normal(0.0, 5.0)
        centre = np.array([random.uniform(-62, 62), random.uniform(-85, 60), height])
        index = tuple(((centre - ORIGIN_MM) / SPACING_MM).round().astype(int))
        if all(0 <= i < side for i, side in zip(index, depth.shape, strict=True)) and depth[index] < -4:
            break
    push = random.uniform(0.0, 0.45) * (random.random() < 0.7)
    return Place(tuple(centre.tolist()), tuple(radius.tolist()), push)


def pushed(place: Place, places_mm: Map) -> Map:
    """Return where what is seen at `places_mm` lay before the tumour grew."""
    centre = np.array(place.centre_mm, np.float32).reshape(3, 1, 1, 1)
    closer = 1 - place.push * np.exp(-(_radii(place, places_mm) ** 2) / 1.2)
    return np.asarray(centre + (places_mm - centre) * closer, np.float32)


def draw_tumour(random: np.random.Generator, place: Place, head: Head, *, malignant: bool) -> Tumour:
    """Return the tumour at `place`: lobulated, along white matter rather than through fluid, its rim sharp or vague.

    Malignant ones take up contrast agent more often, in a ring or in patches, and more often hold a cyst.
    """
    base = float(np.mean(place.radius_mm))
    lobes = in_space(random, head.places_mm, max(0.7 * base, 8.0))
    lobes += 0.5 * in_plane(random, head.shape, max(0.25 * base, 5.0) / head.pixel_mm)
    along = random.uniform(-0.1, 0.35) * (head.white - head.grey) - random.uniform(0.3, 1.0) * head.fluid
    within = 1 - _radii(place, head.places_mm) + random.uniform(0.1, 0.45) * lobes + along
    share = np.clip(0.5 + within / random.uniform(0.06, 0.7), 0, 1) * np.clip(1 - 0.8 * head.fluid, 0, 1)
    share *= head.depth_mm < 0.5
    texture = in_plane(random, head.shape, max(0.45 * base, 7.0) / head.pixel_mm)
    cystic = random.random() < (0.45 if malignant else 0.2)
    cyst = np.clip(3 * (texture - random.uniform(0.3, 1.2)), 0, 1) * (within > 0.15) * cystic
    return Tumour(share, cyst, _enhancing(random, head, within, base, malignant) * (share > 0.3))


def _enhancing(random: np.random.Generator, head: Head, within: Map, base: float, malignant: bool) -> Map:
    kind, patchy = random.random(), in_plane(random, head.shape, max(0.4 * base, 6.0) / head.pixel_mm)
    ring = np.exp(-(((within - random.uniform(0.15, 0.5)) / 0.1) ** 2)) * np.clip(patchy + 0.8, 0, 1)
    patches = np.clip(2 * (patchy - 0.8), 0, 1) * (within > 0.1)
    if kind < (0.4 if malignant else 0.1):
        return np.asarray(ring)
    return np.asarray(patches if kind < (0.8 if malignant else 0.2) else np.zeros_like(within))


def _radii(place: Place, places_mm: Map) -> Map:
    """Return the distance from the centre in radii."""
    squares = [
        ((along - centre) / radius) ** 2
        for along, centre, radius in zip(places_mm, place.centre_mm, place.radius_mm, strict=True)
    ]
    return np.asarray(np.sqrt(sum(squares)))

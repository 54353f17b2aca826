"""What grows in the lungs of a chest phantom: vessels in everybody, nodules in some.

A nodule's size, density and margin follow its class, and the classes overlap, so that none of them tells by itself.
Solid, part-solid and ground-glass nodules and their sizes as in Lung-RADS v2022 (American College of Radiology);
spiculation speaks for malignancy, calcification and a smooth margin for a granuloma or hamartoma (MacMahon et al. 2017,
Radiology 284:228). Ground glass lies between -750 and -400 HU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.lung.chest import BLOOD, Map, Region

KINDS = ("solid", "part-solid", "ground-glass")
Point = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule; lengths in mm.

    Args:
        kind: one of `KINDS`.
        diameter_mm: mean diameter without spicules.
        core_mm: diameter of the solid part; the whole where it is solid, 0 in pure ground glass.
        hu: of the solid part.
        haze_hu: of the ground glass.
        calcified: whether its centre holds calcium.
        lobulation, spiculation: relative unevenness and length of spicules.
        centre: LPS.
    """

    kind: str
    diameter_mm: float
    core_mm: float
    hu: float
    haze_hu: float
    calcified: bool
    lobulation: float
    spiculation: float
    centre: Point = field(repr=False)

    @property
    def category(self) -> int:
        """Return its category of Lung-RADS v2022 at a first scan; 4A and 4B are both 4."""
        if self.kind == "ground-glass":
            return 2 if self.diameter_mm < 30.0 else 3
        if self.kind == "part-solid":
            return 2 if self.diameter_mm < 6.0 else 3 if self.core_mm < 6.0 else 4
        return 2 if self.diameter_mm < 6.0 else 3 if self.diameter_mm < 8.0 else 4


def draw_nodule(label: str, centre: Point, generator: np.random.Generator) -> Nodule:
    """Draw a benign or malignant nodule at `centre`."""
    malignant = label == "malignant"
    kind = str(generator.choice(KINDS, p=(0.50, 0.35, 0.15) if malignant else (0.70, 0.10, 0.20)))
    typical, spread, least, most = (17.0, 0.38, 7.0, 34.0) if malignant else (9.5, 0.40, 4.5, 26.0)
    diameter = float(np.clip(typical * np.exp(spread * generator.standard_normal()), least, most))
    share = {"solid": 1.0, "part-solid": float(generator.uniform(0.35, 0.65)), "ground-glass": 0.0}[kind]
    spiculation = generator.normal(0.32, 0.14) if malignant else generator.normal(0.08, 0.08)
    return Nodule(
        kind=kind,
        diameter_mm=diameter,
        core_mm=diameter * share,
        hu=float(generator.normal(38.0, 15.0) if malignant else generator.normal(48.0, 25.0)),
        haze_hu=float(generator.uniform(-680.0, -480.0)),
        calcified=bool(not malignant and kind == "solid" and generator.random() < 0.3),
        lobulation=float(generator.uniform(0.05, 0.20 if malignant else 0.12)),
        spiculation=float(np.clip(spiculation, 0.0, 0.7)),
        centre=centre,
    )


def paint_nodule(
    image: Map, lungs: Region, affine: NDArray[np.float64], nodule: Nodule, generator: np.random.Generator
) -> Region:
    """Paint a nodule within the lungs and return where it is.

    Args:
        image: Hounsfield units (slice, row, column), painted on.
        lungs: where it may grow.
        affine: (4, 4), points to LPS.
        nodule: what to paint.
        generator: of its surface.
    """
    radius = nodule.diameter_mm / 2
    waves = generator.standard_normal((3, 3)), generator.uniform(0.0, 2.0 * np.pi, 3)
    spicules = generator.standard_normal((14, 3))
    spicules /= np.linalg.norm(spicules, axis=1, keepdims=True)
    place, offset = _box(affine, image.shape, [nodule.centre], 1.9 * radius)
    offset -= nodule.centre[:, None, None, None]
    distance = np.sqrt((offset**2).sum(0))
    direction = offset / np.maximum(distance, 1e-6)
    uneven = sum(np.cos(2.2 * np.tensordot(w, direction, 1) + phase) for w, phase in zip(*waves, strict=True)) / 3.0
    spikes = np.max([np.exp(24.0 * (np.tensordot(u, direction, 1) - 1.0)) for u in spicules], axis=0)
    surface = radius * (1.0 + nodule.lobulation * uneven + nodule.spiculation * spikes)
    inside = (distance < surface) & lungs[place]
    values = np.full(distance.shape, nodule.haze_hu if nodule.kind != "solid" else nodule.hu, np.float32)
    core = distance < nodule.core_mm / 2 * (1.0 + nodule.lobulation * uneven)
    values[core] = nodule.hu
    if nodule.calcified:
        values[distance < 0.45 * radius] = 320.0
    # a spicule is thinner than a voxel, so that only part of it is tissue
    beyond = distance > 1.1 * radius
    values[beyond] = 0.55 * values[beyond] + 0.45 * image[place][beyond]
    image[place] = np.where(inside, np.maximum(values, image[place]), image[place])
    found = np.zeros(image.shape, np.bool_)
    found[place] = inside
    return found


def paint_vessels(image: Map, lungs: Region, affine: NDArray[np.float64], generator: np.random.Generator) -> None:
    """Paint trees of vessels from both hila into the lungs."""
    for side in (-1.0, 1.0):
        hilum = np.array([side * 34.0, 0.0, -12.0])
        for _ in range(11):
            direction = generator.standard_normal(3) * (0.8, 0.9, 1.0) + np.array([side * 0.9, 0.0, 0.0])
            _branch(image, lungs, affine, hilum, direction, 4.2, 3, generator)


def _branch(
    image: Map,
    lungs: Region,
    affine: NDArray[np.float64],
    start: Point,
    direction: Point,
    radius_mm: float,
    depth: int,
    generator: np.random.Generator,
) -> None:
    direction = direction / max(float(np.linalg.norm(direction)), 1e-6)
    end = start + direction * float(generator.uniform(18.0, 34.0))
    place, points = _box(affine, image.shape, [start, end], radius_mm)
    if points.size:
        along = np.clip(
            np.tensordot(direction, points - start[:, None, None, None], 1), 0.0, np.linalg.norm(end - start)
        )
        nearest = start[:, None, None, None] + direction[:, None, None, None] * along
        inside = (((points - nearest) ** 2).sum(0) < radius_mm**2) & lungs[place]
        image[place] = np.where(inside, np.float32(BLOOD), image[place])
    if depth:
        for _ in range(2):
            turned = direction + 0.55 * generator.standard_normal(3)
            _branch(image, lungs, affine, end, turned, 0.72 * radius_mm, depth - 1, generator)


def _box(
    affine: NDArray[np.float64], shape: tuple[int, ...], points: Sequence[Point], around_mm: float
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """Return the part of a grid around some points, and the LPS coordinates (3, slice, row, column) of its points."""
    steps_mm = np.linalg.norm(affine[:3, :3], axis=0)
    indices = np.array([np.linalg.solve(affine[:3, :3], point - affine[:3, 3]) for point in points])
    # a tilted gantry shears the grid, so a little more than the distance
    room = 1.2 * around_mm / steps_mm + 1.0
    low = np.clip(np.floor(indices.min(0) - room), 0, np.array(shape)).astype(int)
    high = np.clip(np.ceil(indices.max(0) + room) + 1, low, np.array(shape)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"))
    coordinates = np.tensordot(affine[:3, :3], grid, 1) + affine[:3, 3][:, None, None, None]
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), coordinates

"""A chest drawn as Hounsfield units on a grid finer than the image's, for axial CT.

Coordinates are DICOM's LPS millimetres: x to the left, y to the back, z to the head, 0 at the carina in the middle of
the body. Sizes lie in the typical range of adults, Hounsfield units in that of textbooks (Bushberg et al., The
Essential Physics of Medical Imaging): fat about -100, blood and muscle 40 to 60, liver 60, trabecular bone 150 to 250,
compact bone above 500, lung at full inspiration about -860 and some 30 to 60 denser at the side that lies below.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

FINER = 2
"""Points per voxel along each axis: where tissues differ, the voxel holds part of each."""

AIR, FOAM, FAT, WATER, BLOOD, MUSCLE, LIVER = -1000.0, -900.0, -100.0, 0.0, 42.0, 52.0, 58.0
MARROW, CORTEX, SHEET = 190.0, 750.0, 120.0

Map = NDArray[np.float32]
Region = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Chest:
    """The measures of one chest and of the field of view around it; lengths in mm.

    Args:
        shape: (slice, row, column) of the image.
        affine: (4, 4), (slice, row, column, 1) to LPS; sheared where the gantry is tilted.
        half: half the cavity's width and depth, ribs not included.
        fat_mm: thickness under the skin.
        heart: scale of the heart.
        dome_mm: height of the right diaphragm above the carina (negative: below it).
        rib_phase: where the ribs begin.
        table_gap_mm: between back and table; touching at 0.
        parenchyma: Hounsfield units of the lung at its front.
        gradient: how much denser the lung is at the back.
        emphysema: share of the lung that is destroyed.
        gas: whether there is air in the oesophagus.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64] = field(repr=False)
    half: tuple[float, float]
    fat_mm: float
    heart: float
    dome_mm: float
    rib_phase: float
    table_gap_mm: float
    parenchyma: float
    gradient: float
    emphysema: float
    gas: bool

    @property
    def fine_affine(self) -> NDArray[np.float64]:
        """(4, 4), points of the fine grid to LPS."""
        fine = self.affine.copy()
        fine[:3, :3] /= FINER
        fine[:3, 3] += fine[:3, :3].sum(axis=1) * (1 - FINER) / 2
        return fine

    def points(self) -> tuple[Map, Map, Map]:
        """Return x (1, 1, column), y (1, row, 1) and z (slice, row, 1) of the fine grid."""
        slices, rows, columns = (np.arange(FINER * side, dtype=np.float64) for side in self.shape)
        to = self.fine_affine
        x = to[0, 2] * columns + to[0, 3]
        y = to[1, 1] * rows + to[1, 3]
        z = to[2, 0] * slices[:, None] + to[2, 1] * rows[None, :] + to[2, 3]
        return (
            x.astype(np.float32)[None, None, :],
            y.astype(np.float32)[None, :, None],
            z.astype(np.float32)[:, :, None],
        )


def draw_chest(generator: np.random.Generator, shape: tuple[int, int, int], tilt: float = 0.0) -> Chest:
    """Draw a chest; `tilt` is that of the gantry in radians."""
    slices, rows, columns = shape
    half = (float(generator.uniform(112.0, 138.0)), float(generator.uniform(82.0, 102.0)))
    fat_mm = float(generator.uniform(6.0, 30.0))
    field_mm = round(2.0 * (half[0] * 1.13 + fat_mm + 4.0) * generator.uniform(1.0, 1.08), 1)
    pixel_mm = round(field_mm / max(rows, columns), 4)
    gap_mm = round(float(np.clip(110.0 / slices, 2.0, 10.0)), 2)
    middle_mm = generator.uniform(-45.0, 25.0)
    affine = np.eye(4)
    affine[:3, 0] = (0.0, 0.0, gap_mm)
    affine[:3, 1] = (0.0, pixel_mm * np.cos(tilt), pixel_mm * np.sin(tilt))
    affine[:3, 2] = (pixel_mm, 0.0, 0.0)
    # the table needs room behind the patient
    centre = np.array([0.0, 12.0, middle_mm])
    affine[:3, 3] = np.round(centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2), 4)
    return Chest(
        shape=shape,
        affine=np.round(affine, 8),
        half=half,
        fat_mm=fat_mm,
        heart=float(generator.uniform(0.85, 1.2)),
        dome_mm=float(generator.uniform(-95.0, -60.0)),
        rib_phase=float(generator.uniform(0.0, 28.0)),
        table_gap_mm=float(generator.choice([0.0, 2.0, 8.0])),
        parenchyma=float(generator.uniform(-890.0, -820.0)),
        gradient=float(generator.uniform(20.0, 70.0)),
        emphysema=float(generator.choice([0.0, 0.0, 0.1, 0.25])),
        gas=bool(generator.random() < 0.3),
    )


def paint_chest(chest: Chest, generator: np.random.Generator) -> tuple[Map, Region]:
    """Return Hounsfield units and where the lungs are, both (slice, row, column) on the fine grid."""
    x, y, z = chest.points()
    half_x, half_y = chest.half
    narrowing = 1.0 - 0.22 * np.clip((z + 20.0) / 130.0, 0.0, 1.0) ** 2
    radius = np.sqrt((x / (half_x * narrowing)) ** 2 + (y / (half_y * narrowing)) ** 2)
    wall = 1.0 + 11.0 / half_y
    outline = np.sqrt((x / (half_x * wall + chest.fat_mm)) ** 2 + (y / (half_y * wall + chest.fat_mm)) ** 2)
    image = np.full(radius.shape, AIR, np.float32)
    _paint_table(image, chest, x, y)
    image[np.broadcast_to(outline < 1.0, image.shape)] = FAT
    image[radius < wall + 0.05] = MUSCLE
    _paint_bones(image, chest, radius, x, y, z)
    cavity = radius < 1.0
    image[cavity] = FAT
    lungs = cavity & ~_mediastinum(image, cavity, chest, x, y, z)
    dome = chest.dome_mm + 34.0 * (1.0 - ((x + 65.0) / 90.0) ** 2 - (y / 100.0) ** 2)
    below = cavity & (z < dome) & (x < 25.0)
    image[below & lungs] = LIVER
    lungs &= ~below
    texture = _texture(generator, image.shape)
    depth = np.clip((y + half_y) / (2.0 * half_y), 0.0, 1.0) * chest.gradient
    parenchyma = chest.parenchyma + depth + 14.0 * texture
    if chest.emphysema:
        parenchyma = np.where(texture > np.quantile(texture, 1.0 - chest.emphysema), -965.0, parenchyma)
    image = np.where(lungs, parenchyma, image).astype(np.float32)
    _paint_airways(image, lungs, chest, x, y, z)
    _paint_spine(image, lungs, chest, x, y, z)
    return image, lungs


def _texture(generator: np.random.Generator, shape: tuple[int, ...]) -> Map:
    """Return smooth unevenness of mean 0 and standard deviation 1."""
    rough = gaussian_filter(generator.standard_normal(shape, dtype=np.float32), (0.7, 2.0, 2.0))
    return np.asarray(rough / max(float(rough.std()), 1e-6), np.float32)


def _paint_table(image: Map, chest: Chest, x: Map, y: Map) -> None:
    """Paint a hollow table: two thin sheets around foam, hung through a little."""
    back = chest.half[1] * (1.0 + 11.0 / chest.half[1]) + chest.fat_mm + chest.table_gap_mm
    below = y - back + x * x / 900.0
    inside = np.abs(x) < 205.0
    image[np.broadcast_to(inside & (below > 0.0) & (below < 26.0), image.shape)] = FOAM
    sheet = inside & ((np.abs(below - 1.8) < 1.8) | (np.abs(below - 24.0) < 1.8))
    image[np.broadcast_to(sheet, image.shape)] = SHEET


def _paint_bones(image: Map, chest: Chest, radius: Map, x: Map, y: Map, z: Map) -> None:
    """Paint ribs, which run down from the back to the front, and the sternum."""
    shell = (radius > 1.02) & (radius < 1.02 + 8.0 / chest.half[1])
    around = np.arctan2(np.abs(x), y)  # 0 at the back, π at the front
    along = np.abs((z + 24.0 * around + chest.rib_phase) % 28.0 - 14.0)
    rib = shell & (along < 5.5) & (around < 2.7)
    image[rib] = CORTEX
    core = (radius > 1.02 + 1.6 / chest.half[1]) & (radius < 1.02 + 6.4 / chest.half[1])
    image[rib & core & (along < 4.0)] = MARROW
    sternum = (np.abs(x) < 17.0) & (y < 0) & (radius > 1.01) & (radius < 1.01 + 11.0 / chest.half[1])
    image[sternum] = MARROW


def _mediastinum(image: Map, cavity: Region, chest: Chest, x: Map, y: Map, z: Map) -> Region:
    """Paint heart and great vessels in fat, and return the room between the lungs."""
    low = np.clip((12.0 - z) / 55.0, 0.0, 1.0)
    heart_x, heart_y = chest.heart * (26.0 + 32.0 * low), chest.heart * (24.0 + 22.0 * low)
    heart = ((x - 14.0 * low) / heart_x) ** 2 + ((y + 22.0) / heart_y) ** 2 < 1.0
    between = np.abs(x) < 21.0 + 6.0 * np.cos(y / 26.0)
    descending = (x - 19.0) ** 2 + (y - 0.52 * chest.half[1]) ** 2 < 12.5**2
    spine = (x / 30.0) ** 2 + ((y - 0.86 * chest.half[1]) / 30.0) ** 2 < 1.0
    pedicle = (np.abs(z + 12.0) < 15.0) & (np.abs(y) < 15.0) & (np.abs(x) < 38.0)
    room: Region = np.asarray(cavity & (heart | between | descending | spine | pedicle))
    image[room & (heart | descending)] = BLOOD
    ascending = (x + 14.0) ** 2 + (y + 26.0) ** 2 < 15.0**2
    cava = (x + 24.0) ** 2 + (y + 10.0) ** 2 < 8.0**2
    image[room & np.broadcast_to(ascending | cava, room.shape)] = BLOOD
    image[room & pedicle & (np.abs(x) > 10.0)] = BLOOD
    return room


def _paint_airways(image: Map, lungs: Region, chest: Chest, x: Map, y: Map, z: Map) -> None:
    """Paint trachea, main bronchi and, where there is gas, the oesophagus; none of it belongs to the lungs."""
    spread = np.clip(-z, 0.0, 40.0) * 0.75
    trachea = np.sqrt((x / 1.1) ** 2 + (y - 8.0) ** 2)
    left, right = (np.sqrt((x - side * spread) ** 2 + (y - 6.0) ** 2) for side in (1.0, -1.0))
    distance = np.where(z > 0.0, trachea, np.minimum(left, right))
    caliber = np.where(z > 0.0, 9.0, 6.5)
    inner = (distance < caliber) & (z > -40.0)
    wall = (distance < caliber + 1.8) & (z > -40.0) & ~inner
    image[wall] = MUSCLE
    image[inner] = AIR
    lungs &= ~(inner | wall)
    tube = np.sqrt((x - 5.0) ** 2 + (y - 0.36 * chest.half[1]) ** 2)
    image[np.broadcast_to(tube < 7.0, image.shape) & ~lungs & ~inner] = MUSCLE
    if chest.gas:
        image[np.broadcast_to(tube < 3.5, image.shape) & ~lungs & ~inner] = AIR


def _paint_spine(image: Map, lungs: Region, chest: Chest, x: Map, y: Map, z: Map) -> None:
    """Paint vertebral bodies with discs between, the canal and a spinous process."""
    centre = 0.80 * chest.half[1]
    body = np.sqrt((x / 17.0) ** 2 + ((y - centre) / 14.0) ** 2)
    disc = np.broadcast_to((z + chest.rib_phase) % 26.0 < 5.0, image.shape)
    image[np.broadcast_to(body < 1.0, image.shape)] = CORTEX
    image[np.broadcast_to(body < 0.88, image.shape)] = MARROW
    image[np.broadcast_to(body < 1.0, image.shape) & disc] = 80.0
    arch = np.sqrt((x / 13.0) ** 2 + ((y - centre - 22.0) / 12.0) ** 2)
    image[np.broadcast_to(arch < 1.0, image.shape)] = CORTEX
    image[np.broadcast_to(arch < 0.72, image.shape)] = WATER + 30.0
    process = (np.abs(x) < 3.5) & (y > centre + 30.0) & (y < centre + 48.0)
    image[np.broadcast_to(process, image.shape) & ~disc] = CORTEX * 0.6
    lungs &= ~np.broadcast_to((body < 1.0) | (arch < 1.0), image.shape)

"""The anatomy of a phantom: a spine drawn as a map of tissues on a grid finer than the image's.

Everything is laid out in the spine's own frame and bent afterwards: `ap_mm` runs from front to back with its origin at
the centre of the canal, `along_mm` from head to feet, `lateral_mm` along the slices. Sizes of vertebrae, canal and
cord lie in the typical literature range of adults.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.tissue import Tissue

LEVELS = (
    *(f"C{number}" for number in range(2, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 6)),
    *(f"S{number}" for number in range(1, 4)),
)
"""Vertebral levels from head to feet; C1 has no body."""
FINER = 2
"""The tissue map has this many points per voxel along each axis: where they differ, the voxel holds part of each."""

_CONUS = LEVELS.index("L1")
_KNOTS = np.array([0, 5, 6, 17, 18, 22, 23, 25], dtype=np.float64)
_PITCH_MM = np.interp(np.arange(26), _KNOTS, [18, 19, 20, 29, 32, 37, 31, 24])
_DEPTH_MM = np.interp(np.arange(26), _KNOTS, [15, 17, 18, 29, 31, 35, 30, 20])
_DISC_SHARE = np.interp(np.arange(26), _KNOTS, [0.26, 0.28, 0.20, 0.22, 0.24, 0.30, 0.14, 0.08])
_CURVE = np.interp(np.arange(26), _KNOTS, [-1.0, -0.6, 0.3, 0.4, -0.5, -1.0, -0.6, 1.0])


@dataclass(frozen=True)
class Anatomy:
    """The measures of one spine and of the field of view around it; lengths in mm.

    Args:
        shape: (slice, row, column) of the image.
        pixel_mm: in-plane spacing.
        gap_mm: distance between slice centres.
        thickness_mm: slice thickness.
        centre: level index at `centre_mm` below the middle of the image.
        curvature: bend of the spine, per mm; lordosis is positive.
        scoliosis: lateral shift per mm along the spine, and per mm².
        canal_mm: half depth of the canal.
        cord_mm: half depth of the cord.
        muscle_mm, fat_mm: thickness behind the canal.
        front_mm: distance from the canal to the air in front.
        canal_column: place of the canal from the front, as a share of the image.
        dry: degenerated discs, by level.
        modic: 0, or Modic change of type 1 (oedema) or 2 (fat), by level.
        tilt: turn of the image about the feet-head and the left-right axis, in radians.
    """

    shape: tuple[int, int, int]
    pixel_mm: float
    gap_mm: float
    thickness_mm: float
    centre: int
    centre_mm: float
    curvature: float
    scoliosis: tuple[float, float]
    canal_mm: float
    cord_mm: float
    muscle_mm: float
    fat_mm: float
    front_mm: float
    canal_column: float
    dry: tuple[bool, ...] = field(repr=False)
    modic: tuple[int, ...] = field(repr=False)
    tilt: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates of the fine grid in the spine's frame; float32, mm.

    Args:
        ap_mm: (row, column), from front to back, 0 at the centre of the canal.
        along_mm: (row, column), from head to feet along the spine, 0 at the centre of the anatomy's `centre` level.
        lateral_mm: (slice, row), 0 at the midline.
    """

    ap_mm: NDArray[np.float32] = field(repr=False)
    along_mm: NDArray[np.float32] = field(repr=False)
    lateral_mm: NDArray[np.float32] = field(repr=False)


def draw_anatomy(generator: np.random.Generator, shape: tuple[int, int, int], centre: int, mimics: float) -> Anatomy:
    """Draw a spine seen around the level `centre`; `mimics` is the share of levels with Modic change."""
    slices, rows, columns = shape
    age = generator.uniform()
    cervical = centre < 6
    field_mm = generator.uniform(185.0, 225.0)
    gap_mm = round(min(5.5, generator.uniform(46.0, 54.0) / slices), 2)
    modic = np.where(generator.uniform(size=26) < mimics * (0.5 + age), generator.integers(1, 3, size=26), 0)
    return Anatomy(
        shape=shape,
        pixel_mm=round(field_mm / max(rows, columns), 4),
        gap_mm=gap_mm,
        thickness_mm=round(0.9 * gap_mm, 2),
        centre=centre,
        centre_mm=float(generator.uniform(-0.22, 0.22) * field_mm),
        curvature=float(_CURVE[centre] * generator.uniform(0.0008, 0.0024)),
        scoliosis=(float(generator.normal(0.0, 0.02)), float(generator.normal(0.0, 0.0001))),
        canal_mm=float(generator.uniform(7.5, 9.5)),
        cord_mm=float(generator.uniform(3.6, 4.6) * (1.1 if cervical else 0.95)),
        muscle_mm=float(generator.uniform(28.0, 42.0)),
        fat_mm=float(generator.uniform(5.0, 22.0)),
        front_mm=float(generator.uniform(34.0, 50.0) if cervical else generator.uniform(60.0, 110.0)),
        canal_column=float(generator.uniform(0.50, 0.62)),
        dry=tuple(bool(value) for value in generator.uniform(size=26) < 0.15 + 0.55 * age),
        modic=tuple(int(value) for value in modic),
        tilt=(float(generator.normal(0.0, 0.05)), float(generator.normal(0.0, 0.04))),
    )


def frame_of(anatomy: Anatomy) -> Frame:
    """Bend the fine grid straight."""
    slices, rows, columns = (FINER * length for length in anatomy.shape)
    step_mm = anatomy.pixel_mm / FINER
    down_mm = (np.arange(rows) - (rows - 1) / 2) * step_mm - anatomy.centre_mm
    back_mm = (np.arange(columns) + 0.5 - columns * anatomy.canal_column) * step_mm
    # the points of a slice lie within its thickness, not within the gap
    middle_mm = (np.arange(anatomy.shape[0]) - (anatomy.shape[0] - 1) / 2) * anatomy.gap_mm
    within_mm = ((np.arange(FINER) + 0.5) / FINER - 0.5) * anatomy.thickness_mm
    across_mm = (middle_mm[:, None] + within_mm[None, :]).reshape(slices)
    bend_mm = anatomy.curvature * down_mm * down_mm
    slope = np.clip(2.0 * anatomy.curvature * down_mm, -0.45, 0.45)
    ap_mm = back_mm[None, :] - bend_mm[:, None]
    along_mm = down_mm[:, None] + slope[:, None] * ap_mm
    shift_mm = anatomy.scoliosis[0] * down_mm + anatomy.scoliosis[1] * down_mm * down_mm
    lateral_mm = across_mm[:, None] - shift_mm[None, :]
    return Frame(ap_mm.astype(np.float32), along_mm.astype(np.float32), lateral_mm.astype(np.float32))


def level_edges_mm(anatomy: Anatomy) -> NDArray[np.float64]:
    """Return where each level begins along the spine, (27,) in mm; a level is a body and the disc below it."""
    edges = np.concatenate([[0.0], np.cumsum(_PITCH_MM)])
    body_mm = _PITCH_MM[anatomy.centre] * (1.0 - _DISC_SHARE[anatomy.centre])
    return np.asarray(edges - edges[anatomy.centre] - body_mm / 2)


def body_depth_mm(level: int) -> float:
    """Return the depth of a vertebral body from front to back."""
    return float(_DEPTH_MM[level])


def body_height_mm(level: int) -> float:
    """Return the height of a vertebral body."""
    return float(_PITCH_MM[level] * (1.0 - _DISC_SHARE[level]))


def body_centre_mm(anatomy: Anatomy, level: int) -> float:
    """Return the `ap_mm` of a body's centre: in front of the canal, behind a ligament."""
    return -(anatomy.canal_mm + 1.5 + body_depth_mm(level) / 2)


@dataclass(frozen=True, eq=False)
class _Column:
    """Where each point of the fine plane lies in the column of vertebrae, each (row, column).

    `level` is the index of the level, `height` runs from -1 to 1 over a body and beyond 1 in the disc below it.
    """

    level: NDArray[np.intp] = field(repr=False)
    height: NDArray[np.float32] = field(repr=False)


def paint_spine(anatomy: Anatomy, frame: Frame) -> NDArray[np.uint8]:
    """Return the tissue map of a spine without a tumour, uint8 (slice, row, column) on the fine grid."""
    edges = level_edges_mm(anatomy).astype(np.float32)
    level = np.clip(np.searchsorted(edges, frame.along_mm, side="right") - 1, 0, len(LEVELS) - 1)
    pitch = _PITCH_MM.astype(np.float32)[level]
    body = (1.0 - _DISC_SHARE).astype(np.float32)[level]
    height = (frame.along_mm - edges[level]) / (pitch * body) * np.float32(2.0) - np.float32(1.0)
    column = _Column(level, height)
    tissues = np.empty((frame.lateral_mm.shape[0], *frame.ap_mm.shape), dtype=np.uint8)
    tissues[:] = _surroundings(anatomy, frame)
    lateral_squared = frame.lateral_mm * frame.lateral_mm
    _paint_vessel(tissues, anatomy, frame)
    _paint_bodies(tissues, anatomy, frame, column, lateral_squared)
    _paint_arches(tissues, anatomy, frame, column, lateral_squared)
    _paint_canal(tissues, anatomy, frame, column, lateral_squared)
    return tissues


def _surroundings(anatomy: Anatomy, frame: Frame) -> NDArray[np.uint8]:
    """Return the plane of soft tissue and air, (row, column), before bone and canal are drawn into it."""
    behind_mm = anatomy.canal_mm + anatomy.muscle_mm
    plane = np.full(frame.ap_mm.shape, Tissue.MUSCLE, dtype=np.uint8)
    plane[frame.ap_mm > behind_mm] = Tissue.FAT
    plane[frame.ap_mm > behind_mm + anatomy.fat_mm] = Tissue.AIR
    plane[frame.ap_mm < -anatomy.canal_mm] = Tissue.FAT
    plane[frame.ap_mm < -(anatomy.canal_mm + body_depth_mm(anatomy.centre))] = Tissue.ORGAN
    plane[frame.ap_mm < -anatomy.front_mm] = Tissue.AIR
    return plane


def _paint_vessel(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame) -> None:
    """Draw the tube in front of the spine: the airway at the neck, the aorta below, dark because its blood flows."""
    cervical = anatomy.centre < 6
    centre_mm = -(anatomy.canal_mm + body_depth_mm(anatomy.centre) + 15.0)
    along_ap = ((frame.ap_mm - np.float32(centre_mm)) / np.float32(7.0 if cervical else 9.0)) ** 2
    aside_mm = np.float32(0.0 if cervical else 8.0)
    along_lateral = ((frame.lateral_mm - aside_mm) / np.float32(9.0)) ** 2
    inside = along_ap[None] + along_lateral[:, :, None] < 1.0
    np.copyto(tissues, np.uint8(Tissue.AIR if cervical else Tissue.VESSEL), where=inside)


def _paint_bodies(
    tissues: NDArray[np.uint8],
    anatomy: Anatomy,
    frame: Frame,
    column: _Column,
    lateral_squared: NDArray[np.float32],
) -> None:
    """Draw vertebral bodies with their endplates, and discs."""
    depth = _DEPTH_MM.astype(np.float32)[column.level]
    in_disc = column.height > 1.0
    dry = np.array(anatomy.dry)[column.level]
    modic = np.array(anatomy.modic)[column.level]
    plane = np.where(in_disc, np.where(dry, Tissue.DRY_DISC, Tissue.DISC), Tissue.MARROW).astype(np.uint8)
    near_disc = (column.height > 0.45) & ~in_disc
    plane[near_disc & (modic == 1)] = Tissue.MARROW_OEDEMA
    plane[near_disc & (modic == 2)] = Tissue.MARROW_FAT
    plane[(np.abs(column.height) > 0.93) & (column.height < 1.05)] = Tissue.CORTEX
    # a body is waisted; a dry disc bulges
    waist = 1.0 - np.float32(0.10) * np.maximum(0.0, 1.0 - column.height**2)
    bulge = np.where(in_disc & dry, np.float32(1.12), np.float32(1.0))
    half_mm = depth / 2 * waist.astype(np.float32) * bulge
    centre_mm = -(np.float32(anatomy.canal_mm + 1.5) + depth / 2)
    along_ap = ((frame.ap_mm - centre_mm) / half_mm) ** 2
    width_mm = np.float32(0.68 * body_depth_mm(anatomy.centre))
    along_lateral = (lateral_squared / (width_mm * width_mm)) ** 2
    total = along_ap[None] + along_lateral[:, :, None]
    np.copyto(tissues, np.uint8(Tissue.CORTEX), where=total < 1.0)
    np.copyto(tissues, plane[None], where=total < 0.86)


def _paint_arches(
    tissues: NDArray[np.uint8],
    anatomy: Anatomy,
    frame: Frame,
    column: _Column,
    lateral_squared: NDArray[np.float32],
) -> None:
    """Draw spinous processes on the midline, pedicles and nerve foramina beside the canal."""
    canal_mm = anatomy.canal_mm
    process = (frame.ap_mm > canal_mm + 3.0) & (frame.ap_mm < canal_mm + 3.0 + 0.62 * anatomy.muscle_mm)
    process &= np.abs(column.height - 0.35) < 0.55
    np.copyto(tissues, np.uint8(Tissue.MARROW), where=process[None] & (lateral_squared < 12.0)[:, :, None])
    beside = ((lateral_squared > (canal_mm + 1.5) ** 2) & (lateral_squared < (canal_mm + 11.0) ** 2))[:, :, None]
    level_with_canal = (frame.ap_mm > -canal_mm - 1.5) & (frame.ap_mm < canal_mm + 9.0)
    pedicle = level_with_canal & (column.height < 0.15)
    foramen = level_with_canal & (column.height >= 0.15) & (frame.ap_mm < canal_mm)
    np.copyto(tissues, np.uint8(Tissue.MARROW), where=pedicle[None] & beside)
    np.copyto(tissues, np.uint8(Tissue.FAT), where=foramen[None] & beside)
    root = foramen & (np.abs(column.height - 0.6) < 0.22) & (np.abs(frame.ap_mm) < 3.0)
    np.copyto(tissues, np.uint8(Tissue.ROOTS), where=root[None] & beside)


def _paint_canal(
    tissues: NDArray[np.uint8],
    anatomy: Anatomy,
    frame: Frame,
    column: _Column,
    lateral_squared: NDArray[np.float32],
) -> None:
    """Draw epidural fat, the sac of fluid, and in it the cord or, below the conus, the nerve roots."""
    canal_mm = np.float32(anatomy.canal_mm)
    across = (lateral_squared / (canal_mm * np.float32(1.25)) ** 2)[:, :, None]
    fat = ((frame.ap_mm - np.float32(1.5)) / (canal_mm + np.float32(2.0))) ** 2
    np.copyto(tissues, np.uint8(Tissue.FAT), where=fat[None] + across < 1.0)
    total = ((frame.ap_mm / canal_mm) ** 2)[None] + across
    np.copyto(tissues, np.uint8(Tissue.CSF), where=total < 0.92)
    roots = (column.level > _CONUS) & (frame.ap_mm > 0.5) & (column.level < LEVELS.index("S2"))
    np.copyto(tissues, np.uint8(Tissue.ROOTS), where=roots[None] & (total < 0.75))
    cord_mm = np.float32(anatomy.cord_mm)
    from_front = ((frame.ap_mm - np.float32(0.4)) / cord_mm) ** 2
    from_side = lateral_squared / (cord_mm * np.float32(1.4)) ** 2
    inside = from_front[None] + from_side[:, :, None] < 1.0
    np.copyto(tissues, np.uint8(Tissue.CORD), where=inside & (column.level <= _CONUS)[None])

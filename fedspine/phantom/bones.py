"""Vertebrae and discs, with their wear: bodies, endplates, arches, spinous processes, foramina."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import levels
from fedspine.phantom.anatomy import Anatomy, Frame
from fedspine.phantom.shapes import paint_ball
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.wear import Disc, Wear

_MODIC = (Tissue.MARROW, Tissue.MARROW_OEDEMA, Tissue.MARROW_FAT, Tissue.SCLEROSIS)
_DISCS = (Tissue.DISC, Tissue.DRY_DISC, Tissue.ANNULUS)
SPONGY = (Tissue.MARROW, Tissue.MARROW_OEDEMA, Tissue.MARROW_FAT, Tissue.SCLEROSIS, Tissue.VEIN)
"""What fills a body."""

Plane = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Column:
    """Where each point of the fine plane lies in the column of vertebrae, each (row, column).

    `level` is the index of the level; `height` runs from -1 to 1 over a body and beyond 1 in the disc below it;
    `inside` is below 1 within the outline that body and disc share, seen from the side, and grows to front and back.
    """

    level: NDArray[np.intp] = field(repr=False)
    height: Plane = field(repr=False)
    inside: Plane = field(repr=False)


def column_of(anatomy: Anatomy, frame: Frame, wear: Wear) -> Column:
    """Return the places of a plane in the column, crushed bodies and narrowed discs included."""
    edges = levels.EDGES_MM.astype(np.float32)
    level = np.clip(np.searchsorted(edges, frame.along_mm, side="right") - 1, 0, levels.COUNT - 1)
    collapse = np.array([disc.collapse for disc in wear.discs])
    share = (levels.DISC_SHARE * (1.0 - collapse)).astype(np.float32)[level]
    pitch = levels.PITCH_MM.astype(np.float32)[level]
    depth = levels.DEPTH_MM.astype(np.float32)[level]
    part = (frame.along_mm - edges[level]) / (pitch * (np.float32(1.0) - share))
    height = (part * np.float32(2.0) - np.float32(1.0)).astype(np.float32)
    centre_mm = -(np.float32(anatomy.canal_mm + 1.5) + depth / 2)
    ahead = (frame.ap_mm - centre_mm) / (depth / 2)  # -1 in front, 1 at the back of a body
    if wear.fracture >= 0:
        # the upper endplate sinks in, most in front and in the middle
        sunk = np.float32(2.0 * wear.crushed) * np.clip(np.float32(0.8) - np.float32(0.5) * ahead, 0.2, 1.2)
        hit = (level == wear.fracture) & (height < -1.0 + sunk)
        height = np.where(hit, np.float32(1.2), height).astype(np.float32)
    in_disc = height > 1.0
    # a body is waisted, a worn disc bulges
    waist = np.float32(0.10) * np.maximum(np.float32(0.0), np.float32(1.0) - height * height)
    bulge = np.array([disc.bulge_mm for disc in wear.discs], dtype=np.float32)[level] * np.float32(2.0)
    half = np.where(in_disc, bulge / depth, -waist).astype(np.float32) + np.float32(1.0)
    return Column(level, height, np.asarray(np.abs(ahead) / half, dtype=np.float32))


def paint_bodies(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, wear: Wear, column: Column) -> None:
    """Draw bodies with endplates and basivertebral veins, and discs of nucleus and ring, in place."""
    in_disc, level = column.height > 1.0, column.level
    dryness = np.array([disc.dryness for disc in wear.discs])
    modic = np.array([disc.modic for disc in wear.discs])
    nucleus = np.where(dryness[level] > 0.5, Tissue.DRY_DISC, Tissue.DISC)
    plane = np.where(in_disc, nucleus, Tissue.MARROW).astype(np.uint8)
    plane[in_disc & (column.inside > 0.62)] = Tissue.ANNULUS
    plane[in_disc & (dryness[level] > 0.85)] = Tissue.ANNULUS
    above, below = modic[level], np.concatenate([[0], modic[:-1]])[level]
    for kind in (1, 2, 3):
        plane[~in_disc & (column.height > 0.45) & (above == kind)] = _MODIC[kind]
        plane[~in_disc & (column.height < -0.55) & (below == kind)] = _MODIC[kind]
    if wear.fracture >= 0:
        plane[~in_disc & (level == wear.fracture) & wear.fresh] = Tissue.MARROW_OEDEMA
    plane[(np.abs(column.height) > 0.93) & (column.height < 1.06)] = Tissue.CORTEX
    # the ring of C1 has no body, the dens stands in it; below S3 the sacrum has no discs
    bare = (level == levels.C1) | ((level == levels.COUNT - 1) & in_disc)
    width_mm = np.float32(0.68) * levels.DEPTH_MM.astype(np.float32)[level]
    outline = np.where(bare, np.float32(9.0), column.inside * column.inside)
    rim = np.where(bare, np.float32(9.0), column.inside)
    for slice_index, target in enumerate(tissues):
        aside = frame.lateral_mm[slice_index][:, None] / width_mm
        aside = aside * aside
        aside = aside * aside
        np.copyto(target, np.uint8(Tissue.CORTEX), where=outline + aside < 1.0)
        np.copyto(target, plane, where=(outline + aside < 0.88) | ((rim < 0.94) & (aside < 0.4)))
    _paint_details(tissues, anatomy, frame, wear)


def _paint_details(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, wear: Wear) -> None:
    """Draw what each level has of its own: vein, dens, nodes, spurs and herniations."""
    low, high = float(frame.along_mm.min()), float(frame.along_mm.max())
    back_mm = -(anatomy.canal_mm + 1.5)
    for level, disc in enumerate(wear.discs):
        top, bottom = float(levels.EDGES_MM[level]), float(levels.EDGES_MM[level + 1])
        if bottom < low or top > high:
            continue
        depth_mm, middle_mm = float(levels.DEPTH_MM[level]), float(levels.MIDDLE_MM[level])
        if level == levels.C1:
            _paint_dens(tissues, anatomy, frame)
            continue
        vein = (0.20 * depth_mm, 1.3, 2.2)
        paint_ball(tissues, frame, (back_mm - 0.12 * depth_mm, middle_mm, 0.0), vein, Tissue.VEIN, SPONGY)
        _paint_disc_wear(tissues, frame, disc, level, back_mm)


def _paint_dens(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame) -> None:
    """Draw the tooth of C2 within the ring of C1, and the ring's front arch before it."""
    back_mm, middle_mm = -(anatomy.canal_mm + 2.5), float(levels.MIDDLE_MM[levels.C1])
    for tissue, thin in ((Tissue.CORTEX, 0.0), (Tissue.MARROW, 1.0)):
        dens = (5.5 - thin, 13.0 - thin, 5.0 - thin)
        paint_ball(tissues, frame, (back_mm - 5.5, middle_mm + 4.0, 0.0), dens, tissue)
        paint_ball(tissues, frame, (back_mm - 14.5, middle_mm, 0.0), (3.0 - thin, 5.0 - thin, 12.0 - thin), tissue)


def _paint_disc_wear(tissues: NDArray[np.uint8], frame: Frame, disc: Disc, level: int, back_mm: float) -> None:
    """Draw a disc's node in the endplate, its spurs and its herniation."""
    depth_mm = float(levels.DEPTH_MM[level])
    thick_mm = float(levels.PITCH_MM[level] * levels.DISC_SHARE[level]) * (1.0 - disc.collapse)
    top_mm = float(levels.EDGES_MM[level + 1]) - float(levels.PITCH_MM[level] * levels.DISC_SHARE[level])
    centre_mm = back_mm - depth_mm / 2
    if disc.schmorl_mm > 0.0:
        ahead_mm = centre_mm + disc.ahead * depth_mm / 2
        node = (1.1 * disc.schmorl_mm, disc.schmorl_mm, 1.3 * disc.schmorl_mm)
        rim = (node[0] + 2.0, node[1] + 2.0, node[2] + 2.0)
        paint_ball(tissues, frame, (ahead_mm, top_mm, 0.0), rim, Tissue.MARROW_OEDEMA, (Tissue.MARROW,))
        paint_ball(tissues, frame, (ahead_mm, top_mm, 0.0), node, Tissue.DISC, (*SPONGY, Tissue.CORTEX))
    if disc.osteophyte_mm > 0.5:
        spur = (disc.osteophyte_mm, 3.0, 0.5 * depth_mm)
        for along_mm in (top_mm - 2.5, top_mm + thick_mm + 2.5):
            paint_ball(tissues, frame, (back_mm - depth_mm, along_mm, 0.0), spur, Tissue.MARROW, (Tissue.FAT,))
    if disc.herniation_mm > 0.0:
        size = (disc.herniation_mm, 0.6 * thick_mm + 2.0, 6.0)
        into = (Tissue.FAT, Tissue.CSF, Tissue.ROOTS, Tissue.LIGAMENT)
        paint_ball(tissues, frame, (back_mm + 0.5, top_mm + thick_mm / 2, disc.aside_mm), size, Tissue.ANNULUS, into)


def paint_arches(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, wear: Wear, column: Column) -> None:
    """Draw spinous processes and the fat between them, pedicles, foramina and joints beside, in place."""
    canal_mm, reach_mm = anatomy.canal_mm, np.float32(0.78 * anatomy.muscle_mm)
    behind = (frame.ap_mm - np.float32(canal_mm + 3.0)) / reach_mm  # 0 at the canal, 1 at the tips
    # processes point down, steeply at the chest; below they are broad plates
    below = (frame.along_mm > levels.EDGES_MM[levels.T12]).astype(np.float32)
    rise = column.height - np.float32(0.25) - (np.float32(0.9) - np.float32(0.5) * below) * behind
    blunt = (behind * np.float32(2.0) - np.float32(1.0)) ** 2
    body = blunt * blunt + (rise / (np.float32(0.6) + np.float32(0.25) * below)) ** 2
    between = (behind > 0.0) & (behind < 1.0)
    fibres = np.sin(frame.ap_mm * np.float32(0.55) + frame.along_mm * np.float32(0.4))
    fibres = fibres + np.sin(frame.ap_mm * np.float32(0.31) - frame.along_mm * np.float32(0.23)) > 0.3
    flavum = (np.abs(frame.ap_mm - np.float32(canal_mm + 1.8)) < 1.0 + 1.6 * wear.facet) & (np.abs(rise) > 0.55)
    level_with_canal = (frame.ap_mm > -canal_mm - 1.5) & (frame.ap_mm < canal_mm + 9.0)
    pedicle = level_with_canal & (column.height < 0.15) & (column.height > -0.85)
    hole = (frame.ap_mm / np.float32(canal_mm)) ** 2 + ((column.height - np.float32(0.75)) / np.float32(0.6)) ** 2
    foramen = level_with_canal & (hole < 1.0)
    root = foramen & (np.abs(column.height - 0.6) < 0.22) & (np.abs(frame.ap_mm) < 3.0)
    joint = (np.abs(frame.ap_mm - np.float32(canal_mm + 6.0)) < 5.0 + 3.0 * wear.facet) & (np.abs(rise) < 0.9)
    inner, outer, midline = canal_mm + 1.5, canal_mm + 11.0, 3.5
    for slice_index, target in enumerate(tissues):
        aside = np.abs(frame.lateral_mm[slice_index])[:, None]
        beside = (aside > inner) & (aside < outer)
        for where, tissue in (
            (between & fibres & (aside < midline), Tissue.LIGAMENT),
            ((body < 1.0) & (aside < midline), Tissue.CORTEX),
            ((body < 0.80) & (aside < midline - 0.8), Tissue.MARROW),
            (flavum & (aside < inner), Tissue.LIGAMENT),
            (joint & beside, Tissue.CORTEX),
            (joint & beside & (np.abs(rise) < 0.7) & (np.abs(rise) > 0.08), Tissue.MARROW),
            (pedicle & beside, Tissue.MARROW),
            (foramen & beside, Tissue.FAT),
            (root & beside, Tissue.CORD),
        ):
            np.copyto(target, np.uint8(tissue), where=where)

"""The spinal canal: epidural fat, the sac of fluid, the cord or, below the conus, the nerve roots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import levels
from fedspine.phantom.anatomy import Anatomy, Frame
from fedspine.phantom.bones import Column
from fedspine.phantom.shapes import paint_ball
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.wear import Wear


def paint_canal(
    tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, wear: Wear, column: Column, level: int
) -> None:
    """Draw the canal and what is in it, in place; an inflamed cord swells a little at `level`."""
    canal_mm, cord_mm = np.float32(anatomy.canal_mm), np.float32(anatomy.cord_mm)
    # the sac ends at S2, the cord tapers at the conus and is thick in the neck
    sac = np.clip((levels.EDGES_MM[levels.S2 + 1] - frame.along_mm) / 40.0, 0.05, 1.0).astype(np.float32)
    taper = np.clip((levels.MIDDLE_MM[levels.CONUS] + 8.0 - frame.along_mm) / 25.0, 0.0, 1.0)
    thick = np.where(frame.along_mm < levels.EDGES_MM[levels.T1 + 1], 1.1, 0.95)
    cord = (cord_mm * np.sqrt(taper) * thick).astype(np.float32)
    # posterior fat is thickest between the laminae
    behind = np.float32(1.5) + np.float32(2.0) * (column.height > 0.6) * (frame.along_mm > levels.EDGES_MM[levels.T1])
    fat = ((frame.ap_mm - behind) / (canal_mm + np.float32(1.2) + behind * np.float32(0.5))) ** 2
    fluid = (frame.ap_mm / canal_mm / np.maximum(sac, 0.2)) ** 2
    there = sac > 0.06
    from_front = np.abs(frame.ap_mm - np.float32(0.4))
    has_cord = cord > 0.4
    roots = (frame.along_mm > levels.MIDDLE_MM[levels.CONUS]) & (frame.ap_mm > 0.5)
    # single roots show as strands
    strands = np.sin(frame.ap_mm * np.float32(2.6) + frame.along_mm * np.float32(0.05)) > 0.0
    for slice_index, target in enumerate(tissues):
        aside = frame.lateral_mm[slice_index][:, None]
        across = (aside / (canal_mm * np.float32(1.25))) ** 2
        total = fluid + across
        inside = (from_front / np.maximum(cord, np.float32(0.1))) ** 2
        inside = inside + (aside / (np.maximum(cord, np.float32(0.1)) * np.float32(1.4))) ** 2
        for where, tissue in (
            (fat + across < 1.0, Tissue.FAT),
            ((total < 1.0) & there, Tissue.LIGAMENT),  # the dura
            ((total < 0.90) & there, Tissue.CSF),
            (roots & strands & (total < 0.72) & there, Tissue.ROOTS),
            ((inside < 1.0) & has_cord, Tissue.CORD),
        ):
            np.copyto(target, np.uint8(tissue), where=where)
    if wear.myelitis_mm > 0.0:
        centre = (0.4, float(levels.MIDDLE_MM[level]), 0.0)
        swollen = (1.15 * anatomy.cord_mm, wear.myelitis_mm / 2, 1.5 * anatomy.cord_mm)
        into = (Tissue.CORD, Tissue.CSF)
        paint_ball(tissues, frame, centre, swollen, Tissue.OEDEMA, into)

"""What lies around the spine: muscle and the fat within it, skin, the airway or the great vessels, bowel and organs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import levels
from fedspine.phantom.anatomy import Anatomy, Frame
from fedspine.phantom.clutter import LUMPS, STREAKS, Clutter, field
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.view import FINER, View

_SKIN_MM = 2.0


def paint_surroundings(
    tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, view: View, clutter: Clutter
) -> None:
    """Paint everything but the spine itself, in place."""
    cervical = view.level <= levels.C7
    depth_mm = anatomy.canal_mm + float(levels.DEPTH_MM[view.level])
    behind_mm = anatomy.canal_mm + anatomy.muscle_mm
    front_mm = 0.33 * anatomy.front_mm if cervical else anatomy.front_mm
    plane = np.full(frame.behind_mm.shape, Tissue.MUSCLE, dtype=np.uint8)
    back = frame.behind_mm
    plane[back > behind_mm] = Tissue.FAT
    plane[back > behind_mm + anatomy.fat_mm] = Tissue.SKIN
    plane[back > behind_mm + anatomy.fat_mm + _SKIN_MM] = Tissue.AIR
    plane[back < -anatomy.canal_mm] = Tissue.FAT
    plane[back < -(depth_mm + 5.0)] = Tissue.ORGAN
    plane[back < -front_mm] = Tissue.SKIN
    plane[back < -front_mm - _SKIN_MM] = Tissue.AIR
    tissues[:] = plane
    _mix(tissues, anatomy, frame, clutter, cervical)
    _paint_tube(tissues, frame, depth_mm, cervical)


def _mix(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, clutter: Clutter, cervical: bool) -> None:
    """Let fat into muscle, and lay fat, bowel and vessels among the organs."""
    streaks = field(clutter[0], STREAKS, frame)
    _replace(tissues, Tissue.MUSCLE, Tissue.FAT, streaks > 1.1 * anatomy.leanness)
    lumps = field(clutter[1], LUMPS, frame)
    if cervical:
        _replace(tissues, Tissue.ORGAN, Tissue.MUSCLE, lumps > 0.0)
        return
    # before the sacrum lies fat, with the rectum in it
    pelvis = np.clip((frame.beside_mm[::FINER, None] - levels.EDGES_MM[levels.L5]) / 20.0, 0.0, 1.0)
    lean = 0.25 + 0.5 * anatomy.leanness - 0.9 * pelvis.astype(np.float32)
    _replace(tissues, Tissue.ORGAN, Tissue.FAT, lumps > lean)
    _replace(tissues, Tissue.ORGAN, Tissue.BOWEL, (lumps < -0.35) & (lumps > -0.95))
    _replace(tissues, Tissue.ORGAN, Tissue.AIR, lumps < -1.15)


def _replace(tissues: NDArray[np.uint8], old: Tissue, new: Tissue, where: NDArray[np.bool_]) -> None:
    """Turn one tissue into another where `where`, (slice, row, column) in the image's grid, says so."""
    for slice_index, plane in enumerate(tissues):
        fine = np.repeat(np.repeat(where[slice_index // FINER], FINER, axis=0), FINER, axis=1)
        np.copyto(plane, np.uint8(new), where=fine & (plane == old))


def _paint_tube(tissues: NDArray[np.uint8], frame: Frame, depth_mm: float, cervical: bool) -> None:
    """Draw the tube in front of the spine: the airway at the neck, the aorta below, dark because its blood flows."""
    centre_mm = -(depth_mm + 15.0)
    along_ap = ((frame.ap_mm - np.float32(centre_mm)) / np.float32(7.0 if cervical else 9.0)) ** 2
    aside_mm = np.float32(0.0 if cervical else 8.0)
    along_lateral = ((frame.lateral_mm - aside_mm) / np.float32(9.0)) ** 2
    above = frame.along_mm < levels.EDGES_MM[levels.L5]  # the aorta divides at L4
    for slice_index, plane in enumerate(tissues):
        inside = (along_ap + along_lateral[slice_index][:, None] < 1.0) & above
        np.copyto(plane, np.uint8(Tissue.AIR if cervical else Tissue.VESSEL), where=inside)

"""Where the voxels of one grid lie in another, and which way up: whole-voxel moves only, never interpolation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SAME_GRID_MM = 1e-3

Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of an array in the patient.

    Args:
        shape: voxels along each of three axes.
        affine: (4, 4), array indices to LPS millimetres.
    """

    shape: tuple[int, ...]
    affine: Affine = field(repr=False)

    def covers(self, target: Grid) -> bool:
        """Tell whether the two grids hold the same voxels, in whatever order of axes."""
        return placement(self, target) is not None and sorted(self.shape) == sorted(target.shape)


def placement(source: Grid, target: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return how indices of `source` become indices of `target`, `rotation @ index + offset`.

    `None` when a voxel of `source` lies farther than `SAME_GRID_MM` from every voxel of `target`.
    """
    shape, affine = source.shape, source.affine
    if len(shape) != 3 or min(shape) < 1 or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return None
    affine = _with_steps_of(target.affine, affine, shape)
    mapping = np.linalg.inv(target.affine) @ affine
    rotation, offset = np.rint(mapping[:3, :3]).astype(np.int64), np.rint(mapping[:3, 3]).astype(np.int64)
    if not (np.abs(rotation).sum(0) == 1).all() or not (np.abs(rotation).sum(1) == 1).all():
        return None
    corners = np.array(list(itertools.product(*((0, side - 1) for side in shape))))
    indices = corners @ rotation.T + offset
    there_mm = corners @ affine[:3, :3].T + affine[:3, 3]
    target_mm = indices @ target.affine[:3, :3].T + target.affine[:3, 3]
    inside = (indices >= 0).all() and (indices < np.array(target.shape)).all()
    return (rotation, offset) if inside and np.abs(there_mm - target_mm).max() <= SAME_GRID_MM else None


def _with_steps_of(target: Affine, affine: Affine, shape: tuple[int, ...]) -> Affine:
    """Return `affine` with the target's step along an axis of one voxel, where the step has no meaning."""
    affine = affine.copy()
    for axis in (axis for axis in range(3) if shape[axis] == 1):
        directions = target[:3, :3] / np.linalg.norm(target[:3, :3], axis=0)
        cosines = affine[:3, axis] @ directions / np.linalg.norm(affine[:3, axis])
        nearest = int(np.argmax(np.abs(cosines)))
        affine[:3, axis] = np.sign(cosines[nearest]) * target[:3, nearest]
    return affine


def as_read(affine: Affine, shape: tuple[int, ...], axis: int) -> tuple[tuple[int, int, int], tuple[bool, ...], Affine]:
    """Return how to turn an array into (slice, row, column) as a radiologist sees it.

    Rows run to the feet and columns to the back in sagittal slices, to the feet and to the left in coronal ones, to the
    back and to the left in axial ones, and slices along the cross product of columns and rows: the usual order of DICOM
    images, so that every hospital feeds a network the same way up.

    Args:
        affine: (4, 4), the array's axes to LPS millimetres.
        shape: of the array's three axes.
        axis: the one along the slices.

    Returns:
        the array's axes in the order (slice, row, column); whether each is to be reversed; the affine afterwards.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    across = int(np.argmax(np.abs(directions[:, axis])))
    column_to, row_to = {0: ((0, 1, 0), (0, 0, -1)), 1: ((1, 0, 0), (0, 0, -1)), 2: ((1, 0, 0), (0, 1, 0))}[across]
    rest = [one for one in range(3) if one != axis]
    column = max(rest, key=lambda one: abs(float(directions[:, one] @ np.array(column_to))))
    row = next(one for one in rest if one != column)
    order = (axis, row, column)
    normal = np.cross(np.array(column_to), np.array(row_to))
    wanted = (normal, np.array(row_to), np.array(column_to))
    flips = tuple(bool(directions[:, one] @ to < 0) for one, to in zip(order, wanted, strict=True))
    turned = np.eye(4)
    origin = affine[:3, 3].copy()
    for place, (one, flip) in enumerate(zip(order, flips, strict=True)):
        turned[:3, place] = affine[:3, one] * (-1.0 if flip else 1.0)
        origin += affine[:3, one] * ((shape[one] - 1) if flip else 0)
    turned[:3, 3] = origin
    return order, flips, turned

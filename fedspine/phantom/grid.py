"""The grid of an image: from the fine map to voxels, from voxels to the patient."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.view import View

Number = TypeVar("Number", np.float32, np.uint8)


def block_sum(fine: NDArray[Number]) -> NDArray[Number]:
    """Add up the eight points of each voxel: (2 slice, 2 row, 2 column) to (slice, row, column).

    >>> block_sum(np.ones((2, 4, 2), dtype=np.uint8)).ravel().tolist()
    [8, 8]
    """
    # spelled out: the order of a library's sum may differ between machines, and so the last bit
    slices = fine[0::2] + fine[1::2]
    rows = slices[:, 0::2] + slices[:, 1::2]
    return rows[:, :, 0::2] + rows[:, :, 1::2]


def image_affine(view: View) -> NDArray[np.float64]:
    """Return the (4, 4) affine from (slice, row, column, 1) to DICOM's LPS axes in mm; the middle lies near 0.

    A sagittal image: columns run from front to back, rows from head to feet, slices from left to right, all turned by
    the view's tilt.
    """
    about_z, about_x = view.tilt
    turn_z = np.array([[np.cos(about_z), -np.sin(about_z), 0], [np.sin(about_z), np.cos(about_z), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    axes = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    turned = (turn_z[:, :, None] * turn_x[None, :, :]).sum(axis=1)
    directions = (turned[:, :, None] * axes[None, :, :]).sum(axis=1)
    spacing = np.array([view.gap_mm, view.pixel_mm, view.pixel_mm])
    affine = np.eye(4)
    affine[:3, :3] = np.round(directions, 10) * spacing
    middle = (np.array(view.shape) - 1) / 2
    affine[:3, 3] = np.round(-(affine[:3, :3] * middle).sum(axis=1), 6)
    return affine

"""Onto the grid of a plan: slices taken evenly, other volumes resampled, square pixels of one number a side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor
from torch.nn import functional as F

from fedspine.cohort.patient import AIR_HU, Volume


def chosen_slices(available: int, wanted: int) -> list[int]:
    """Return which of the `available` slices are used, `wanted` at most."""
    if available <= wanted:
        return list(range(available))
    return [int((i + 0.5) * available / wanted) for i in range(wanted)]


def on_grid(volume: Volume, reference: Volume, chosen: list[int]) -> NDArray[np.float32]:
    """Return the chosen slices of `volume` on the grid of `reference`: (slice, row, column)."""
    same = volume.voxels.shape == reference.voxels.shape and np.allclose(volume.affine, reference.affine, atol=1e-3)
    if same:
        return np.asarray(volume.voxels[chosen], dtype=np.float32)
    _, rows, columns = reference.voxels.shape
    index = np.stack(np.meshgrid(chosen, np.arange(rows), np.arange(columns), indexing="ij")).reshape(3, -1)
    to_volume = np.linalg.inv(volume.affine) @ reference.affine
    coordinates = to_volume[:3, :3] @ index + to_volume[:3, 3:]
    values = map_coordinates(
        np.asarray(volume.voxels, dtype=np.float32),
        coordinates,
        order=1,
        mode="constant",
        cval=NOTHING.get(volume.contrast, 0.0),
    )
    return np.asarray(values.reshape(len(chosen), rows, columns), dtype=np.float32)


NOTHING = {"CT": AIR_HU}
"""What lies outside of a field of view, by contrast."""


def square(values: Tensor, spacing_mm: tuple[float, ...], size: int) -> Tensor:
    """Resize (slice, row, column) to (slice, size, size) with square pixels, padding the shorter side with zeros."""
    _, rows, columns = values.shape
    (height, top), (width, left) = fitted(rows, columns, spacing_mm, size)
    resized = values.unsqueeze(1)
    if (height, width) != (rows, columns):
        resized = F.interpolate(resized, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return F.pad(resized, (left, size - width - left, top, size - height - top)).squeeze(1)


def fitted(rows: int, columns: int, spacing_mm: tuple[float, ...], size: int) -> tuple[tuple[int, int], ...]:
    """Return (length, offset) in pixels of the plan's grid that an image takes up along rows and along columns."""
    sides_mm = (rows * spacing_mm[0], columns * spacing_mm[1])
    lengths = [max(1, round(size * side / max(sides_mm))) for side in sides_mm]
    return tuple((length, (size - length) // 2) for length in lengths)

"""Siemens mosaics: one file whose picture holds every slice of a volume, as tiles from left to right and down.

How many tiles there are, and to which side the slices follow each other, only the private CSA header says. The position
in the public header is that of the corner of a slice as large as the whole mosaic, so that the first slice begins half
of what is too much further in (nibabel, `nicom.dicomwrappers.MosaicWrapper`, whose affine ours is tested against).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedspine.cohort.dicom.frame import Frame, listed, number
from fedspine.cohort.dicom.private import csa_of
from fedspine.errors import SeriesError

MOST_TILES = 1024


@dataclass(frozen=True)
class Mosaic:
    """How a picture is made of slices.

    Args:
        count: of the slices.
        normal: unit vector from slice to slice, (x, y, z) in LPS.
    """

    count: int
    normal: tuple[float, ...]

    @property
    def side(self) -> int:
        """Tiles in a row and in a column; the last ones may be empty."""
        return math.isqrt(self.count - 1) + 1


def mosaic_of(dataset: Dataset) -> Mosaic | None:
    """Return how the picture of a file is made of slices, `None` when it is one slice.

    Raises:
        SeriesError: when it is a mosaic that does not say how.
    """
    if "MOSAIC" not in (str(value).upper() for value in listed(dataset.get("ImageType"))):
        return None
    csa = csa_of(dataset)
    count = int(number(csa.get("NumberOfImagesInMosaic")) or 0)
    normal = [value for part in csa.get("SliceNormalVector", ()) if (value := number(part)) is not None]
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if 1 <= count <= MOST_TILES and len(normal) == 3 and abs(math.hypot(*normal) - 1.0) < 1e-2:
        mosaic = Mosaic(count, tuple(normal))
        if rows and columns and not rows % mosaic.side and not columns % mosaic.side:
            return mosaic
    raise SeriesError("a plane must be one slice", "a mosaic of many", "export the series as single slices")


def split(frame: Frame, mosaic: Mosaic, shape: tuple[int, int]) -> tuple[Frame, ...]:
    """Return the slices of a mosaic.

    Args:
        frame: the mosaic as its public header describes it.
        mosaic: how it is made.
        shape: (rows, columns) of one slice.
    """
    if frame.thickness_mm is None:
        raise SeriesError("slices must say how far apart they lie", "a mosaic without", "export it again")
    excess = (mosaic.side - 1) / 2
    row_mm, column_mm = frame.pixel_spacing_mm
    along_row = np.asarray(frame.orientation[:3]) * excess * shape[1] * column_mm
    along_column = np.asarray(frame.orientation[3:]) * excess * shape[0] * row_mm
    first_mm = np.asarray(frame.position_mm) + along_row + along_column
    steps_mm = np.arange(mosaic.count)[:, None] * frame.thickness_mm * np.asarray(mosaic.normal)
    return tuple(replace(frame, position_mm=tuple(place)) for place in (first_mm + steps_mm).tolist())


def tiles(picture: NDArray[np.generic], side: int) -> Sequence[NDArray[np.generic]]:
    """Return the slices (row, column) of a mosaic picture with `side` tiles a side; none when they do not fit.

    >>> [tile.tolist() for tile in tiles(np.arange(8).reshape(2, 4), 2)]
    [[[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]]]
    """
    rows, columns = picture.shape
    if rows % side or columns % side:
        return []
    parted = picture.reshape(side, rows // side, side, columns // side).transpose(0, 2, 1, 3)
    return list(parted.reshape(side * side, rows // side, columns // side))

"""Read the pixels of a stack."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import UID

from fedspine.cohort.series import Plane, Stack
from fedspine.errors import SeriesError

Array = NDArray[np.generic]


def decode(folder: Path, stack: Stack) -> tuple[Array, list[str]]:
    """Return the voxels (slice, row, column) of `stack` and the files that only repeat a slice.

    The stored integers are kept where the rescale is the identity; otherwise the voxels are float32 in the
    rescaled unit (Hounsfield for CT).

    Raises:
        SeriesError: when one slice cannot be read, or two different slices claim one position.
    """
    stored = _read(folder, stack)
    slices, repeated = [], []
    for planes in stack.planes:
        first, *copies = (stored[plane.file, plane.index] for plane in planes)
        if any(copy.shape != first.shape or not np.array_equal(copy, first) for copy in copies):
            raise SeriesError(
                "two slices at one position must be the same picture", "different ones", "export one series at a time"
            )
        repeated += [plane.file for plane in planes[1:]]
        slices.append(_rescaled(first, planes[0]))
    if any(part.shape != stack.header.shape for part in slices):
        raise SeriesError("a picture must be as large as its header says", "another size", "export the series again")
    voxels: Array = np.stack(slices if len({part.dtype for part in slices}) == 1 else [s.astype("f4") for s in slices])
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise SeriesError("voxels must be finite", "infinite or missing values", "export the series again")
    return voxels, repeated


def _read(folder: Path, stack: Stack) -> dict[tuple[str, int], Array]:
    """Return the stored values of every plane; each file is opened once."""
    wanted: dict[str, list[int]] = {}
    for planes in stack.planes:
        for plane in planes:
            wanted.setdefault(plane.file, []).append(plane.index)
    return {(file, i): part for file, indices in wanted.items() for i, part in _file(folder / file, indices).items()}


def _file(path: Path, indices: list[int]) -> dict[int, Array]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they may quote values of the header
            dataset = pydicom.dcmread(path)
            syntax = dataset.file_meta.get("TransferSyntaxUID")
            if syntax is not None and (UID(syntax).is_private or not UID(syntax).is_transfer_syntax):
                raise _unknown()
            pixels = dataset.pixel_array
    except SeriesError:
        raise
    except NotImplementedError:
        raise _unknown() from None
    except Exception:  # decoders raise anything, and their text may hold the path
        raise SeriesError(
            "every slice of a series must be complete", "one cut short or broken", "export the series again"
        ) from None
    return {i: pixels[i] if pixels.ndim == 3 else pixels for i in indices}


def _unknown() -> SeriesError:
    return SeriesError(
        "pixels must be stored in a known transfer syntax",
        "an unknown one",
        "export the series uncompressed or as JPEG 2000, JPEG-LS, JPEG or RLE",
    )


def _rescaled(stored: Array, plane: Plane) -> Array:
    """Return stored values in their rescaled unit."""
    frame = plane.frame
    if frame.slope == 1.0 and frame.intercept == 0.0:
        return stored.astype(stored.dtype.newbyteorder("=")) if stored.dtype.kind in "iu" else stored.astype("f4")
    with np.errstate(all="ignore"):
        result: Array = (stored.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)
    return result

"""Read the pixels of a stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import UID

from fedspine.cohort.dicom.series import Plane, Stack
from fedspine.cohort.quiet import quiet
from fedspine.errors import SeriesError

Array = NDArray[np.generic]


def decode(folder: Path, stack: Stack) -> tuple[Array, list[tuple[str, str]]]:
    """Return the voxels (slice, row, column) of `stack`, and the files that were not needed with the reason.

    The stored integers are kept where the rescale is the identity; otherwise the voxels are float32 in the
    rescaled unit (Hounsfield for CT).

    Raises:
        SeriesError: when a slice cannot be read, or two different slices claim one position.
    """
    stored, broken = _read(folder, stack)
    slices, spare = [], [(file, str(error)) for file, error in broken.items()]
    for planes in stack.planes:
        whole = [plane for plane in planes if plane.file not in broken]
        if not whole:  # a copy would have served
            raise broken[planes[0].file]
        first, *copies = (stored[plane.file, plane.index] for plane in whole)
        if any(copy.shape != first.shape or not np.array_equal(copy, first) for copy in copies):
            raise SeriesError(
                "two slices at one position must be the same picture",
                "different ones that nothing in the header tells apart",
                "export one moment or direction a series",
            )
        spare += [(plane.file, REPEATED) for plane in whole[1:]]
        slices.append(_rescaled(first, whole[0]))
    if any(part.shape != stack.header.shape for part in slices):
        raise SeriesError("a picture must be as large as its header says", "another size", "export the series again")
    voxels: Array = np.stack(slices if len({part.dtype for part in slices}) == 1 else [s.astype("f4") for s in slices])
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise SeriesError("voxels must be finite", "infinite or missing values", "export the series again")
    return voxels, spare


REPEATED = "a slice must be sent once; found a copy of it; nothing is lost, the copy is not needed."


def _read(folder: Path, stack: Stack) -> tuple[dict[tuple[str, int], Array], dict[str, SeriesError]]:
    """Return the stored values of every plane, and the files that could not be read; each file is opened once."""
    wanted: dict[str, list[int]] = {}
    for planes in stack.planes:
        for plane in planes:
            wanted.setdefault(plane.file, []).append(plane.index)
    stored: dict[tuple[str, int], Array] = {}
    broken: dict[str, SeriesError] = {}
    for file, indices in wanted.items():
        try:
            stored |= {(file, i): part for i, part in _file(folder / file, indices).items()}
        except SeriesError as error:
            broken[file] = error
    return stored, broken


def _file(path: Path, indices: list[int]) -> dict[int, Array]:
    try:
        with quiet():
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

"""Open a NIfTI file with its geometry checked and its promises bounded, before anything of its size is read."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.grid import Affine
from fedspine.cohort.quiet import quiet
from fedspine.errors import PassingError, SeriesError

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI counts millimetres to the right, front and head, DICOM to the left, back and head."""

LARGEST_SIDE = 16_384
LARGEST_VOLUME = 2**28
"""Voxels of one 3-D volume: a thousand slices of 512 x 512."""
LARGEST_VOXEL_MM, SMALLEST_VOXEL_MM, FARTHEST_MM = 1e3, 1e-3, 1e5
DEFLATE_AT_MOST = 1032
"""gzip cannot shrink by more (zlib's technical notes): a header that promises more than that lies."""
NIFTI_1_HEADER, NIFTI_2_HEADER = 348, 540
MOST_BEFORE_VOXELS = 2**24
"""Bytes of header and extensions; some keep a whole DICOM header there."""
SAME_PLACE = 0.5
"""How far qform and sform may put one voxel apart, in voxels."""


def check_start(path: Path) -> None:
    """Raise a `SeriesError` when a NIfTI header wants more before the voxels than an extension could need.

    nibabel reads all of it, and gzip can make any amount of a few bytes. A file of another kind is left to nibabel.
    """
    try:
        with gzip.open(path) if str(path).lower().endswith(".gz") else path.open("rb") as file:
            start = file.read(NIFTI_2_HEADER)
    except (OSError, EOFError, zlib.error):
        return
    for order in "<>":
        if len(start) >= NIFTI_1_HEADER and struct.unpack_from(f"{order}i", start)[0] == NIFTI_1_HEADER:
            offset = struct.unpack_from(f"{order}f", start, 108)[0]
        elif len(start) >= NIFTI_2_HEADER and struct.unpack_from(f"{order}i", start)[0] == NIFTI_2_HEADER:
            offset = struct.unpack_from(f"{order}q", start, 168)[0]
        else:
            continue
        if not offset <= MOST_BEFORE_VOXELS:
            raise _promise()


def _promise() -> SeriesError:
    return SeriesError(
        "a NIfTI file must hold what its header promises", "a header that asks for more", "save it again"
    )


def open_nifti(path: Path, size: int, *, keep_open: bool = False) -> tuple[Any, tuple[int, ...], Affine]:
    """Return a NIfTI image whose voxels are not read yet, its shape, and its affine to LPS millimetres.

    The shape has three axes, or four where the file holds several volumes.

    Args:
        path: the file.
        size: its bytes.
        keep_open: whether the file stays open as long as the image is there.

    Raises:
        SeriesError: when the header is broken, promises more than the file can hold, or gives no or two positions.
    """
    check_start(path)
    try:
        with quiet():
            image: Any = nibabel.load(path, mmap=False, keep_file_open=keep_open)
            shape = tuple(int(side) for side in image.shape)
            kind = image.get_data_dtype()
            offset = int(image.dataobj.offset)
            affine = np.asarray(image.affine, np.float64)
            placed = _placed(image)
    except Exception:  # nibabel and gzip raise anything, and their text holds the path
        raise SeriesError("a NIfTI file must be complete", "a broken one", "save it again") from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape += (1,) * (3 - len(shape))
    if kind.names or kind.kind not in "iuf":
        raise SeriesError("voxels must be numbers", "colours or complex values", "save the magnitude")
    voxels, promised = int(np.prod(shape[:3], dtype=object)), int(np.prod(shape, dtype=object)) * kind.itemsize
    room = size * (DEFLATE_AT_MOST if str(path).lower().endswith(".gz") else 1)
    if not all(0 < side <= LARGEST_SIDE for side in shape) or voxels > LARGEST_VOLUME or offset + promised > room:
        raise _promise()
    if not placed:
        raise SeriesError(
            "sform and qform must put a voxel at one place", "two places or none", "keep the one that the scanner wrote"
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (
        not np.isfinite(affine).all()
        or not SMALLEST_VOXEL_MM <= lengths.min() <= lengths.max() <= LARGEST_VOXEL_MM
        or np.abs(affine[:3, 3]).max() > FARTHEST_MM
    ):
        raise SeriesError("an image must lie within reach of a scanner", "an impossible geometry", "export it again")
    return image, shape, LPS_FROM_RAS @ affine


def _placed(image: Any) -> bool:
    """Tell whether the header gives every voxel one place: by sform or qform, or by both where they agree."""
    header = image.header
    if not hasattr(header, "get_qform"):
        return False  # Analyze has no orientation
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None or qform is None:
        return sform is not None or qform is not None
    sides = image.shape[:3]
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in sides))], np.float64)
    apart_mm = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max()
    return bool(apart_mm <= SAME_PLACE * np.linalg.norm(sform[:3, :3], axis=0).min())


def slice_axis(shape: tuple[int, ...], affine: Affine, said: str = "") -> int:
    """Return the axis of the file that its slices are stacked along.

    What the sidecar says (`SliceEncodingDirection`: i, j or k) decides; then the axis whose voxels are clearly longest;
    then the third, where converters put the slices.
    """
    letter = said.strip().lower().rstrip("-")
    if letter in ("i", "j", "k") and len(letter) == 1:
        return "ijk".index(letter)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    longest = int(np.argmax(lengths))
    return longest if lengths[longest] > 1.2 * np.sort(lengths)[1] else 2


def volumes_of(path: Path, size: int, order: tuple[int, ...], flips: tuple[bool, ...]) -> Iterator[NDArray[np.generic]]:
    """Yield the volumes of a NIfTI file one by one as (slice, row, column), reading the file once.

    Integers of 16 bits and less are kept where the header has no scaling; everything else is float32. Voxels that are
    not a number, as outside of a field of view, become the smallest value there is.

    Raises:
        SeriesError: when the file is cut short, or holds infinite voxels or nothing but missing ones.
        PassingError: when it could not be read this time, for a reason that is not in it.
    """
    # a compressed file that is opened again for every volume is inflated from its beginning every time
    image, shape, _ = open_nifti(path, size, keep_open=True)
    kept = image.get_data_dtype().kind in "iu" and image.get_data_dtype().itemsize <= 2
    scaled = (float(image.dataobj.slope), float(image.dataobj.inter)) != (1.0, 0.0)
    for volume in range(shape[3] if len(shape) == 4 else 1):
        try:
            with quiet(), np.errstate(all="ignore"):
                if len(shape) == 4:
                    values = np.asarray(image.dataobj[..., volume])
                elif kept and not scaled:
                    values = np.asarray(image.dataobj).reshape(shape)
                else:
                    values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        except MemoryError:
            raise PassingError(
                "a volume must fit into memory", "too little of it", "free memory and start again"
            ) from None
        except Exception as error:  # nibabel and gzip raise anything, and their text holds the path
            if isinstance(error, OSError) and error.errno:  # the system's word, not the file's
                raise PassingError("a file must be readable", "one that is not", "check its access rights") from None
            raise SeriesError("a NIfTI file must be complete", "one cut short", "save it again") from None
        yield _finite(_turned(values, order, flips))


def _turned(values: NDArray[Any], order: tuple[int, ...], flips: tuple[bool, ...]) -> NDArray[np.generic]:
    kept = values.dtype.kind in "iu" and values.dtype.itemsize <= 2
    values = values.astype(values.dtype.newbyteorder("=") if kept else np.float32, copy=False)
    turned = np.transpose(values, order)
    for axis in (axis for axis, flip in enumerate(flips) if flip):
        turned = np.flip(turned, axis)
    return np.ascontiguousarray(turned)


def _finite(values: NDArray[Any]) -> NDArray[np.generic]:
    if values.dtype.kind != "f":
        return values
    missing = np.isnan(values)
    if np.isinf(values).any() or missing.all():
        raise SeriesError("voxels must be finite", "infinite or missing values", "export the series again")
    if missing.any():
        values = np.where(missing, np.nanmin(values), values)
    return values

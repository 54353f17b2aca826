"""Read one mask file onto the grid of one of several images.

A file can claim any size. A NIfTI mask is read only after its header was found to have the grid of an image, so it can
ask for no more than the image did; a DICOM SEG only after its frames were found to lie within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.cache import write_whole
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom.codestream import check_sizes
from fedspine.cohort.dicom.opening import whole
from fedspine.cohort.files import File, open_file
from fedspine.cohort.grid import Affine, Grid, placement
from fedspine.cohort.nifti import LPS_FROM_RAS, check_start
from fedspine.cohort.quiet import quiet
from fedspine.errors import PassingError, SeriesError

FRACTION = 0.5
NIFTI = (".nii.gz", ".nii")

Mask = NDArray[np.uint8]
Entry = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """An image that a mask may lie on.

    Args:
        grid: where its voxels lie.
        frame_of_reference: that a segmentation must share, if not empty.
    """

    grid: Grid = field(repr=False)
    frame_of_reference: str = field(default="", repr=False)


@dataclass(frozen=True)
class Drawing:
    """A mask file and what it may lie on; small, for it travels to another process.

    Args:
        folder: the site folder.
        file: a place within it.
        targets: the images, the preferred one first.
        key: of the site, under which frames of reference are named.
    """

    folder: Path = field(repr=False)
    file: File = field(repr=False)
    targets: tuple[Target, ...] = field(repr=False)
    key: Key = field(repr=False)

    @property
    def is_nifti(self) -> bool:
        """Whether the file is NIfTI by its name."""
        return self.file.where.lower().endswith(NIFTI)


def write_mask(task: tuple[Drawing, Path | None, str]) -> Entry:
    """Write the mask to `folder / f"{name}.npy"` and return its entry; run by a worker."""
    drawing, folder, name = task
    try:
        number, mask = read_mask(drawing)
        if folder is None:
            return {"unwritten": True}
        write_whole(folder / f"{name}.npy", lambda file: np.save(file, mask, allow_pickle=False))
    except SeriesError as error:
        return refusal(error)
    except OSError:
        return {"unwritten": True}
    return {"target": number}


def refusal(error: SeriesError) -> Entry:
    """Return the entry of a mask that cannot be used."""
    return {"refused": str(error), "passing": isinstance(error, PassingError)}


def read_mask(drawing: Drawing) -> tuple[int, Mask]:
    """Return the number of the target that the mask was drawn on, and the mask on its grid.

    Whole numbers from 0 to 255 are kept, since they may tell structures apart (a plan's `structures`), and so are the
    numbers of a SEG's segments; of anything else, whatever is not 0 is 1.

    Raises:
        SeriesError: when the file is broken or lies on none of the targets.
    """
    read = _read_nifti if drawing.is_nifti else _read_segmentation
    try:
        with quiet():
            return read(drawing)
    except (SeriesError, KeyboardInterrupt, SystemExit):
        raise
    except MemoryError:
        raise PassingError("a mask must fit into memory", "one that does not", "save it again") from None
    except BaseException:  # libraries raise anything, one in Rust not even an `Exception`, and quote the path
        raise _broken() from None


def nifti_grid(folder: Path, file: File) -> Grid:
    """Return the grid of a NIfTI file without trailing axes of one, from its header; raises whatever nibabel does."""
    return _opened(folder, file)[1]


def _opened(folder: Path, file: File) -> tuple[Any, Grid]:
    open_file(folder, file).close()  # the file that was found, and readable
    check_start(folder / file.where)
    image: Any = nibabel.load(folder / file.where)
    shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    affine: Affine = LPS_FROM_RAS @ np.asarray(image.affine, np.float64)
    return image, Grid(shape, affine)


def _read_nifti(drawing: Drawing) -> tuple[int, Mask]:
    image, grid = _opened(drawing.folder, drawing.file)
    number = next((i for i, one in enumerate(drawing.targets) if grid.covers(one.grid)), None)
    if number is None:
        raise _another_grid()
    values = np.asarray(image.dataobj).reshape(grid.shape)
    if not np.isfinite(values).all():
        raise SeriesError("a mask must hold finite numbers", "infinite or missing values", "save it again")
    return number, _placed(_numbered(values), grid, drawing.targets[number].grid)


def _read_segmentation(drawing: Drawing) -> tuple[int, Mask]:
    import highdicom  # takes a while to load, and most sites have no SEG

    with open_file(drawing.folder, drawing.file) as file:
        dataset = whole(file)
    check_sizes(dataset)
    seg = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    geometry = seg.get_volume_geometry()
    grid = Grid(tuple(geometry.spatial_shape), np.asarray(geometry.affine, np.float64))
    number = _within(grid, drawing.key.uid(str(dataset.get("FrameOfReferenceUID") or "")), drawing.targets)
    fractional = str(seg.SegmentationType) == "FRACTIONAL"
    options = {} if fractional else {"combine_segments": True, "skip_overlap_checks": True}
    array = np.asarray(seg.get_volume(**options).array)
    if fractional:  # (slice, row, column, segment), or without the last where there is one
        array = array[..., None] if array.ndim == 3 else array
        array = np.where((array >= FRACTION).any(-1), array.argmax(-1) + 1, 0)
    return number, _placed(_numbered(array), grid, drawing.targets[number].grid)


def _numbered(values: NDArray[Any]) -> Mask:
    """Return a mask's values as uint8: those that number structures as they are, else 1 where they are not 0."""
    if values.size and values.min() >= 0 and values.max() <= 255 and not np.mod(values, 1).any():
        return np.asarray(values, np.uint8)
    return np.asarray(values != 0, np.uint8)


def _within(grid: Grid, reference: str, targets: Sequence[Target]) -> int:
    """Return the target that holds `grid`; a SEG may cover a part of its image, for empty slices are left out."""
    for number, target in enumerate(targets):
        if target.frame_of_reference in ("", reference) and placement(grid, target.grid) is not None:
            return number
    raise _another_grid()


def _broken() -> SeriesError:
    return SeriesError("a mask must be a complete NIfTI file or DICOM SEG", "a broken one", "save it again")


def _another_grid() -> SeriesError:
    return SeriesError(
        "a mask must lie on the grid of one of its patient's images", "another grid", "draw or resample it on the image"
    )


def _placed(values: Mask, grid: Grid, target: Grid) -> Mask:
    """Return `values` on the target's (slice, row, column)."""
    place = placement(grid, target)
    if place is None:
        raise _broken()
    rotation, offset = place
    axes = [int(np.flatnonzero(row)[0]) for row in rotation]
    turned = np.transpose(values, axes)
    mask = np.zeros(target.shape, np.uint8)
    parts = []
    for axis, source in enumerate(axes):
        side, forward = turned.shape[axis], rotation[axis, source] > 0
        turned = turned if forward else np.flip(turned, axis)
        start = int(offset[axis]) - (0 if forward else side - 1)
        parts.append(slice(start, start + side))
    mask[tuple(parts)] = turned
    return mask

"""Read lesion masks: NIfTI files in `masks/` and DICOM SEG objects, each onto the grid of one of the patient's images.

A mask is moved by exchanging and turning axes only, never interpolated: one of another grid is refused. NIfTI counts
millimetres to the right, front and head, DICOM to the left, back and head. Nonzero is lesion; an empty mask says that
there is none. NIfTI goes before DICOM SEG, and of several SEG objects the newest series counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.cache import Cache, key_of
from fedspine.cohort.dicom import Image
from fedspine.cohort.files import File
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.quiet import quiet
from fedspine.errors import SeriesError

SAME_GRID_MM = 1e-3
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FRACTION = 0.5
SUFFIXES = (".nii.gz", ".nii")

Mask = NDArray[np.uint8]
Affine = NDArray[np.float64]


def read_masks(
    folder: Path,
    files: Sequence[File],
    segmentations: Mapping[str, Sequence[File]],
    images: Mapping[str, Mapping[str, Image]],
    cache: Cache,
) -> tuple[dict[str, Volume], list[Rejected]]:
    """Return the mask of each patient in `images` that has one, and what was refused."""
    masks: dict[str, Volume] = {}
    rejected: list[Rejected] = []
    for patient, file in _candidates(files, segmentations, rejected):
        targets = list(images.get(patient, {}).values())
        if not targets:
            rejected.append(Rejected(file.where, NO_IMAGE, patient))
        elif patient in masks:
            rejected.append(Rejected(file.where, SPARE, patient))
        else:
            mask = _mask(folder, file, targets, cache)
            if isinstance(mask, Volume):
                masks[patient] = mask
            else:
                rejected.append(Rejected(file.where, mask, patient))
    return masks, rejected


NO_IMAGE = "a mask must belong to a patient with a usable image; found none; name it after the patient's id."
SPARE = "a patient has one mask; found another; take the first one out to use it."


def _candidates(
    files: Sequence[File], segmentations: Mapping[str, Sequence[File]], rejected: list[Rejected]
) -> list[tuple[str, File]]:
    """Return every mask file with its patient, the preferred one first."""
    found = []
    for file in files:
        name = file.where.rsplit("/", 1)[-1]
        suffix = next((one for one in SUFFIXES if name.lower().endswith(one)), None)
        if suffix is None:
            rejected.append(
                Rejected(file.where, "a file in masks/ must be NIfTI; found another kind; name it PATIENT.nii.gz.")
            )
        else:
            found.append((name[: -len(suffix)].strip(), file))
    return found + [(patient, file) for patient, several in sorted(segmentations.items()) for file in several]


def _mask(folder: Path, file: File, targets: Sequence[Image], cache: Cache) -> Volume | str:
    """Return the mask in `file` on the grid of one of `targets`, or the reason why not."""
    grids = [(image.volume.affine.tobytes().hex(), image.volume.voxels.shape) for image in targets]
    key = key_of("mask", (file.where, file.size, file.changed, *grids))
    entry = cache.get(key)
    voxels = None if entry is None or "refused" in entry else cache.array(key)
    if entry is None or ("refused" not in entry and voxels is None):
        try:
            read = _read_nifti if file.where.lower().endswith(SUFFIXES) else _read_segmentation
            with quiet():
                number, array = read(folder / file.where, targets)
            voxels, entry = cache.put_array(key, array), {"target": number}
        except SeriesError as error:
            entry = {"refused": str(error)}
        cache.put(key, entry)
    if "refused" in entry or voxels is None:
        return str(entry["refused"])
    target = targets[entry["target"]].volume
    return Volume(voxels, target.affine, target.contrast, target.scanner)


def _read_nifti(path: Path, targets: Sequence[Image]) -> tuple[int, Mask]:
    """Return the number of the target whose grid the NIfTI mask has, and the mask on it."""
    try:
        image: Any = nibabel.load(path)
        shape = tuple(int(side) for side in image.shape)
        affine = LPS_FROM_RAS @ np.asarray(image.affine, np.float64)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        number = _fitting(shape, affine, targets, whole=True)
        values = np.asarray(image.dataobj).reshape(shape)
    except SeriesError:
        raise
    except Exception:  # nibabel and gzip raise anything, and their text holds the path
        raise _broken() from None
    if not np.isfinite(values).all():
        raise SeriesError("a mask must hold finite numbers", "infinite or missing values", "save it again")
    return number, _placed(values != 0, affine, targets[number].volume)


def _broken() -> SeriesError:
    return SeriesError("a mask must be a complete NIfTI file or DICOM SEG", "a broken one", "save it again")


def _read_segmentation(path: Path, targets: Sequence[Image]) -> tuple[int, Mask]:
    """Return the number of the target that the DICOM SEG was drawn on, and the mask on its grid."""
    import highdicom  # takes a while to load, and most sites have no SEG

    try:
        seg = highdicom.seg.segread(path)
        fractional = str(seg.SegmentationType) == "FRACTIONAL"
        options = {} if fractional else {"combine_segments": True, "skip_overlap_checks": True}
        volume = seg.get_volume(**options)
    except Exception:  # the text of its errors may quote the header
        raise _broken() from None
    array = np.asarray(volume.array)
    values = array >= FRACTION if fractional else array != 0
    values = np.any(values, axis=-1) if values.ndim == 4 else values
    reference = str(volume.frame_of_reference_uid or "")
    alike = [i for i, image in enumerate(targets) if image.frame_of_reference in ("", reference)]
    affine = np.asarray(volume.affine, np.float64)
    number = alike[_fitting(values.shape, affine, [targets[i] for i in alike], whole=False)]
    return number, _placed(values, affine, targets[number].volume)


def _fitting(shape: tuple[int, ...], affine: Affine, targets: Sequence[Image], *, whole: bool) -> int:
    """Return the number of the first target that a mask of `shape` and `affine` fits onto.

    With `whole` the mask must cover the target; without, it may cover a part, as SEG objects leave empty slices out.
    """
    for number, image in enumerate(targets):
        place = placement(shape, affine, image.volume)
        if place is not None and (not whole or sorted(shape) == sorted(image.volume.voxels.shape)):
            return number
    raise SeriesError(
        "a mask must lie on the grid of one of its patient's images", "another grid", "draw or resample it on the image"
    )


def placement(
    shape: tuple[int, ...], affine: Affine, target: Volume
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return how mask indices become target indices, `rotation @ index + offset`, or `None` when they do not.

    Args:
        shape: the mask's, three axes in any order.
        affine: (4, 4), the mask's indices to LPS millimetres.
        target: the volume whose grid must be met, to `SAME_GRID_MM`.
    """
    if len(shape) != 3 or min(shape) < 1 or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return None
    affine = _with_steps_of(target, affine, shape)
    mapping = np.linalg.inv(target.affine) @ affine
    rotation, offset = np.rint(mapping[:3, :3]).astype(np.int64), np.rint(mapping[:3, 3]).astype(np.int64)
    if not (np.abs(rotation).sum(0) == 1).all() or not (np.abs(rotation).sum(1) == 1).all():
        return None
    corners = np.array(list(itertools.product(*((0, side - 1) for side in shape))))
    indices = corners @ rotation.T + offset
    there_mm = corners @ affine[:3, :3].T + affine[:3, 3]
    target_mm = indices @ target.affine[:3, :3].T + target.affine[:3, 3]
    inside = (indices >= 0).all() and (indices < np.array(target.voxels.shape)).all()
    return (rotation, offset) if inside and np.abs(there_mm - target_mm).max() <= SAME_GRID_MM else None


def _with_steps_of(target: Volume, affine: Affine, shape: tuple[int, ...]) -> Affine:
    """Return `affine` with the target's step along an axis of one voxel, where the step has no meaning."""
    affine = affine.copy()
    for axis in (axis for axis in range(3) if shape[axis] == 1):
        directions = target.affine[:3, :3] / np.linalg.norm(target.affine[:3, :3], axis=0)
        cosines = affine[:3, axis] @ directions / np.linalg.norm(affine[:3, axis])
        nearest = int(np.argmax(np.abs(cosines)))
        affine[:3, axis] = np.sign(cosines[nearest]) * target.affine[:3, nearest]
    return affine


def _placed(values: NDArray[np.bool_], affine: Affine, target: Volume) -> Mask:
    """Return `values` as uint8 on the target's (slice, row, column)."""
    place = placement(values.shape, affine, target)
    if place is None:
        raise _broken()
    rotation, offset = place
    axes = [int(np.flatnonzero(row)[0]) for row in rotation]
    turned = np.transpose(values, axes)
    mask = np.zeros(target.voxels.shape, np.uint8)
    parts = []
    for axis, source in enumerate(axes):
        side, forward = turned.shape[axis], rotation[axis, source] > 0
        turned = turned if forward else np.flip(turned, axis)
        start = int(offset[axis]) - (0 if forward else side - 1)
        parts.append(slice(start, start + side))
    mask[tuple(parts)] = turned
    return mask

"""Read lesion masks: NIfTI files in `masks/` and DICOM SEG objects, each onto the grid of one of the patient's images.

A mask is moved by exchanging and turning axes only, never interpolated: one of another grid is refused. NIfTI counts
millimetres to the right, front and head, DICOM to the left, back and head. Nonzero is lesion; an empty mask says that
there is none. NIfTI goes before DICOM SEG, and of several SEG objects the newest series counts.

Which study of a patient a mask belongs to: `masks/PATIENT.nii.gz` is tried on the baseline first and then on the
follow-ups in their order, and belongs to the first study that has its grid. `masks/PATIENT_2.nii.gz`
belongs to the second study that is used (the first follow-up), `PATIENT_3` to the third, and `PATIENT_1` to the
baseline; a name that is itself a patient's id means that patient. A DICOM SEG belongs to the study that it names, or
where that is not used, goes by its grid.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.cache import Cache, file_key, key_of
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.files import File
from fedspine.cohort.grid import Affine, Grid, placement
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.quiet import quiet
from fedspine.cohort.select import Image, Study
from fedspine.errors import SeriesError

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FRACTION = 0.5
SUFFIXES = (".nii.gz", ".nii")

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class _Found:
    """A mask file: whose it is, and of which study by number or by key, where it says so."""

    patient: str
    file: File
    number: int | None = None
    key: str = ""


def read_masks(
    folder: Path,
    files: Sequence[File],
    segmentations: Mapping[str, Sequence[tuple[File, str]]],
    studies: Mapping[str, Sequence[Study]],
    cache: Cache,
    key: Key,
) -> tuple[dict[tuple[str, int], Volume], list[Rejected]]:
    """Return the mask of each patient and number of a study (0 is the baseline) that has one, and what was refused.

    NIfTI files are called by the patient's own id, which `key` turns into the pseudonym.
    """
    masks: dict[tuple[str, int], Volume] = {}
    rejected: list[Rejected] = []
    found = _nifti(files, studies, rejected, key)
    found += [_Found(patient, file, key=key) for patient, many in sorted(segmentations.items()) for file, key in many]
    for one in found:
        if not studies.get(one.patient):
            rejected.append(Rejected(one.file.where, NO_IMAGE, one.patient))
        else:
            number, mask = _of_a_study(folder, one, studies[one.patient], masks, cache, key)
            if isinstance(mask, Volume):
                masks[one.patient, number] = mask
            else:
                rejected.append(Rejected(one.file.where, mask, one.patient))
    return masks, rejected


def _of_a_study(
    folder: Path,
    found: _Found,
    studies: Sequence[Study],
    masks: Mapping[tuple[str, int], Volume],
    cache: Cache,
    key: Key,
) -> tuple[int, Volume | str]:
    """Return the number of the study that the mask in `found` belongs to and the mask, or the reason why not."""
    numbers: Sequence[int] = range(len(studies))
    if found.number is not None:
        numbers = [found.number - 1] if found.number <= len(studies) else []
    elif any(found.key in study.keys for study in studies):
        numbers = [number for number in numbers if found.key in studies[number].keys]
    reason = NO_STUDY
    for number in numbers:
        mask = _mask(folder, found.file, list(studies[number].images.values()), cache, key)
        if isinstance(mask, Volume):
            return number, SPARE if (found.patient, number) in masks else mask
        reason = mask
    return 0, reason


NO_STUDY = (
    "the number in a mask's name must be that of one of its patient's studies; found a higher one; "
    "leave it out or export that study."
)
NO_IMAGE = "a mask must belong to a patient with a usable image; found none; name it after the patient's id."
SPARE = "a study has one mask; found another; take the first one out to use it."


def mask_grids(
    folder: Path, files: Sequence[File], cache: Cache, key: Key, named: Sequence[tuple[str, File]] = ()
) -> dict[str, list[Grid]]:
    """Return the grid of each patient's NIfTI masks, from their headers alone; `named` come with their patient.

    The image that a mask was drawn on is the one to use; broken masks are left to `read_masks`.
    """
    grids: dict[str, list[Grid]] = {}
    for stem, file in [*_stems(files, []), *named]:
        name = file_key("grid", file)
        entry = cache.get(name)
        if entry is None:
            try:
                with quiet():
                    shape, affine = _nifti_grid(nibabel.load(folder / file.where))
                entry = {"shape": shape, "affine": affine.tolist()}
            except Exception:  # nibabel raises anything; the mask itself is refused later, with its reason
                entry = {}
            cache.put(name, entry)
        if entry:
            grid = Grid(tuple(entry["shape"]), np.asarray(entry["affine"], np.float64))
            for patient in {stem, NUMBERED.sub("", stem)}:
                grids.setdefault(key.pseudonym(patient), []).append(grid)
    return grids


def _nifti_grid(image: Any) -> tuple[tuple[int, ...], Affine]:
    """Return the shape of a NIfTI image without trailing axes of one, and its affine in LPS millimetres."""
    shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape, LPS_FROM_RAS @ np.asarray(image.affine, np.float64)


NUMBERED = re.compile(r"_([1-9][0-9]?)$")
"""The number of a study at the end of a mask's name."""


def _stems(files: Sequence[File], rejected: list[Rejected]) -> list[tuple[str, File]]:
    """Return every NIfTI file with its name without suffix."""
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
    return found


def _nifti(files: Sequence[File], patients: Collection[str], rejected: list[Rejected], key: Key) -> list[_Found]:
    """Return every NIfTI mask with its patient, those that name their study first."""
    found = []
    for stem, file in _stems(files, rejected):
        number = NUMBERED.search(stem)
        patient, whole = key.pseudonym(NUMBERED.sub("", stem)), key.pseudonym(stem)
        if number and whole not in patients and patient in patients:
            found.append(_Found(patient, file, int(number[1])))
        else:
            found.append(_Found(whole, file))
    return sorted(found, key=lambda one: one.number is None)


def _mask(folder: Path, file: File, targets: Sequence[Image], cache: Cache, key: Key) -> Volume | str:
    """Return the mask in `file` on the grid of one of `targets`, or the reason why not."""
    grids = [(image.volume.affine.tobytes().hex(), image.volume.voxels.shape) for image in targets]
    name = key_of("mask", (file.where, file.size, file.changed, *grids))
    entry = cache.get(name)
    voxels = None if entry is None or "refused" in entry else cache.array(name)
    if entry is None or ("refused" not in entry and voxels is None):
        try:
            with quiet():
                if file.where.lower().endswith(SUFFIXES):
                    number, array = _read_nifti(folder / file.where, targets)
                else:
                    number, array = _read_segmentation(folder / file.where, targets, key)
            voxels, entry = cache.put_array(name, array), {"target": number}
        except SeriesError as error:
            entry = {"refused": str(error)}
        cache.put(name, entry)
    if "refused" in entry or voxels is None:
        return str(entry["refused"])
    target = targets[entry["target"]].volume
    return Volume(voxels, target.affine, target.contrast, target.scanner)


def _read_nifti(path: Path, targets: Sequence[Image]) -> tuple[int, Mask]:
    """Return the number of the target whose grid the NIfTI mask has, and the mask on it."""
    try:
        image: Any = nibabel.load(path)
        shape, affine = _nifti_grid(image)
        grid = Grid(shape, affine)
        number = next((i for i, one in enumerate(targets) if grid.covers(_grid(one.volume))), None)
        if number is None:
            raise _another_grid()
        values = np.asarray(image.dataobj).reshape(shape)
    except SeriesError:
        raise
    except Exception:  # nibabel and gzip raise anything, and their text holds the path
        raise _broken() from None
    if not np.isfinite(values).all():
        raise SeriesError("a mask must hold finite numbers", "infinite or missing values", "save it again")
    return number, _placed(values != 0, grid, targets[number].volume)


def _broken() -> SeriesError:
    return SeriesError("a mask must be a complete NIfTI file or DICOM SEG", "a broken one", "save it again")


def _read_segmentation(path: Path, targets: Sequence[Image], key: Key) -> tuple[int, Mask]:
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
    reference = key.uid(str(volume.frame_of_reference_uid or ""))
    grid = Grid(values.shape, np.asarray(volume.affine, np.float64))
    for number, image in enumerate(targets):
        # a SEG may cover a part of its image, for empty slices are left out
        same_frame = image.frame_of_reference in ("", reference)
        if same_frame and placement(grid, _grid(image.volume)) is not None:
            return number, _placed(values, grid, image.volume)
    raise _another_grid()


def _another_grid() -> SeriesError:
    return SeriesError(
        "a mask must lie on the grid of one of its patient's images", "another grid", "draw or resample it on the image"
    )


def _grid(volume: Volume) -> Grid:
    return Grid(volume.voxels.shape, volume.affine)


def _placed(values: NDArray[np.bool_], grid: Grid, target: Volume) -> Mask:
    """Return `values` as uint8 on the target's (slice, row, column)."""
    place = placement(grid, _grid(target))
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

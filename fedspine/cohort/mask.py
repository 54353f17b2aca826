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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.cache import Cache, file_key, key_of
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom.passes import LOST
from fedspine.cohort.drawing import NIFTI, Drawing, Target, nifti_grid, read_mask, refusal, write_mask
from fedspine.cohort.files import File
from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.quiet import quiet
from fedspine.cohort.select import Image, Study
from fedspine.cohort.workers import Lost, Workers, possible
from fedspine.errors import SeriesError

LIMIT_S = 120.0
"""Seconds that a DICOM SEG may take, of hundreds of slices and with the libraries to load."""


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
    with Workers(1) as workers:
        read = partial(_mask, folder=folder, cache=cache, key=key, workers=workers)
        for one in found:
            if not studies.get(one.patient):
                rejected.append(Rejected(one.file.where, NO_IMAGE, one.patient))
                continue
            number, mask = _of_a_study(one, studies[one.patient], masks, read)
            if isinstance(mask, Volume):
                masks[one.patient, number] = mask
            else:
                rejected.append(Rejected(one.file.where, mask, one.patient))
    return masks, rejected


def _of_a_study(
    found: _Found,
    studies: Sequence[Study],
    masks: Mapping[tuple[str, int], Volume],
    read: Callable[[File, Sequence[Image]], Volume | str],
) -> tuple[int, Volume | str]:
    """Return the number of the study that the mask in `found` belongs to and the mask, or the reason why not."""
    numbers: Sequence[int] = range(len(studies))
    if found.number is not None:
        numbers = [found.number - 1] if found.number <= len(studies) else []
    elif any(found.key in study.keys for study in studies):
        numbers = [number for number in numbers if found.key in studies[number].keys]
    reason = NO_STUDY
    for number in numbers:
        mask = read(found.file, list(studies[number].images.values()))
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
                    grid = nifti_grid(folder, file)
                entry = {"shape": grid.shape, "affine": grid.affine.tolist()}
            except Exception:  # nibabel raises anything; the mask itself is refused later, with its reason
                continue
            cache.put(name, entry)
        grid = Grid(tuple(entry["shape"]), np.asarray(entry["affine"], np.float64))
        for patient in {stem, NUMBERED.sub("", stem)}:
            grids.setdefault(key.pseudonym(patient), []).append(grid)
    return grids


NUMBERED = re.compile(r"_([1-9][0-9]?)$")
"""The number of a study at the end of a mask's name."""


def _stems(files: Sequence[File], rejected: list[Rejected]) -> list[tuple[str, File]]:
    """Return every NIfTI file with its name without suffix."""
    found = []
    for file in files:
        name = file.where.rsplit("/", 1)[-1]
        suffix = next((one for one in NIFTI if name.lower().endswith(one)), None)
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


def _mask(
    file: File, targets: Sequence[Image], *, folder: Path, cache: Cache, key: Key, workers: Workers
) -> Volume | str:
    """Return the mask in `file` on the grid of one of `targets`, or the reason why not."""
    drawing = Drawing(folder, file, tuple(Target(_grid(one.volume), one.frame_of_reference) for one in targets), key)
    grids = [(image.volume.affine.tobytes().hex(), image.volume.voxels.shape) for image in targets]
    name = key_of("mask", (file.where, file.size, file.changed, *grids))
    entry = cache.get(name)
    voxels = None if entry is None or "refused" in entry else cache.array(name)
    if entry is None or ("refused" not in entry and voxels is None):
        entry, voxels = _read(drawing, name, cache, workers)
        if not entry.get("passing"):
            cache.put(name, entry)
    if "refused" in entry or voxels is None:
        return str(entry["refused"])
    target = targets[entry["target"]].volume
    return Volume(voxels, target.affine, target.contrast, target.scanner)


def _read(
    drawing: Drawing, name: str, cache: Cache, workers: Workers
) -> tuple[dict[str, Any], NDArray[np.generic] | None]:
    """Return the entry and the array of a mask; a DICOM SEG may need any decoder, so another process reads it."""
    if not drawing.is_nifti and possible():
        (entry,) = workers.map(write_mask, [(drawing, cache.folder, name)], lambda _: LIMIT_S)
        if isinstance(entry, Lost):
            return {"refused": LOST[entry], "passing": True}, None
        voxels = None if "target" not in entry else cache.adopt(name)
        if "refused" in entry or voxels is not None:
            return entry, voxels
    try:
        number, mask = read_mask(drawing)
    except SeriesError as error:
        return refusal(error), None
    return {"target": number}, cache.put_array(name, mask)


def _grid(volume: Volume) -> Grid:
    return Grid(volume.voxels.shape, volume.affine)

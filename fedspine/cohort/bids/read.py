"""Read the images of a BIDS data set as candidates beside those of DICOM: the same rules choose among both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.bids.dates import days_of
from fedspine.cohort.bids.picture import Picture, decode, read_picture, stacks
from fedspine.cohort.bids.tree import Item, Tree
from fedspine.cohort.cache import Cache, key_of
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom.read import rank_of
from fedspine.cohort.dicom.series import Stack
from fedspine.cohort.files import File
from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.select import Candidate
from fedspine.errors import PassingError, SeriesError


@dataclass(frozen=True, eq=False)
class Bids:
    """What a data set adds to a cohort, by patient.

    Args:
        candidates: series to choose among.
        masks: lesion masks, each with the key of its study.
        levels: drawings of vertebral levels, likewise.
        rejected: what was not used.
    """

    candidates: dict[str, list[Candidate]] = field(default_factory=dict, repr=False)
    masks: dict[str, list[tuple[File, str]]] = field(default_factory=dict, repr=False)
    levels: dict[str, list[tuple[File, str]]] = field(default_factory=dict, repr=False)
    rejected: list[Rejected] = field(default_factory=list, repr=False)


def patients_of(tree: Tree | None, known: Collection[str] | None) -> dict[str, str]:
    """Return the patient of each subject, as the table spells it: with or without `sub-`."""
    subjects = sorted({*tree.images, *tree.masks, *tree.levels}) if tree is not None else []
    return {one: f"sub-{one}" if known is not None and f"sub-{one}" in known else one for one in subjects}


def read_bids(
    folder: Path,
    tree: Tree,
    patients: Mapping[str, str],
    known: Collection[str] | None,
    grids: Mapping[str, Sequence[Grid]],
    cache: Cache,
    key: Key,
) -> Bids:
    """Return what the data set holds of the patients in `known`, or of all when it is `None`.

    Args:
        folder: the site folder.
        tree: its data set.
        patients: subject to pseudonym.
        known: pseudonyms of the table.
        grids: of the patients' masks.
        cache: of decoded volumes.
        key: of the site, which moves dates and names studies.
    """
    result = Bids(rejected=list(tree.rejected))
    days = {one: day - key.days(patients[one[0]]) for one, day in days_of(folder, tree).items() if one[0] in patients}
    reader = _Reader(folder, tree, cache, key, result.rejected)
    for subject, patient in patients.items():
        items = tree.images.get(subject, ())
        if items and known is not None and patient not in known:
            result.rejected.append(Rejected(items[0].file.where, UNKNOWN_SUBJECT, patient))
            continue
        studies: dict[str, str] = {}
        found = result.candidates.setdefault(patient, [])
        for item in items:
            for stack, load, entry in reader.stacks(item, patient):
                studies[item.session] = stack.header.study
                drawn_on = any(grid.covers(stack.grid) for grid in grids.get(patient, ()))
                found.append(_candidate(stack, load, days.get((subject, item.session)), drawn_on, entry))
        for drawings, drawn in ((tree.masks, result.masks), (tree.levels, result.levels)):
            drawn[patient] = [
                (one.file, studies.get(one.session, "") if one.session else "") for one in drawings.get(subject, ())
            ]
    return result


@dataclass(frozen=True, eq=False)
class _Reader:
    """What every image of a data set is read with."""

    folder: Path
    tree: Tree
    cache: Cache
    key: Key
    rejected: list[Rejected]

    def stacks(self, item: Item, patient: str) -> Iterator[tuple[Stack, Callable[[], Volume | None], str]]:
        """Yield the stacks in an image, each with what loads it and the name of its entry; note what is refused."""
        try:
            picture = read_picture(self.folder, item, self.tree, self.cache, self.key)
            parts, refused = stacks(picture)
        except SeriesError as error:
            self.rejected.append(Rejected(item.file.where, str(error), patient))
            return
        self.rejected.extend(Rejected(where, str(error), patient) for where, error in refused)
        for stack in parts:
            load = partial(_load, self.folder, picture, stack, patient, self.cache, self.rejected)
            yield stack, load, _key(picture, _volume_number(picture, stack))


UNKNOWN_SUBJECT = "a subject must stand in the table of patients; found one that does not; add the row."


def _candidate(stack: Stack, load: Callable[[], Volume | None], day: int | None, drawn_on: bool, key: str) -> Candidate:
    return Candidate(
        contrast=stack.contrast,
        grid=stack.grid,
        rank=rank_of(stack),
        load=load,
        where=stack.files[0],
        study=stack.header.study,
        day=day,
        drawn_on=drawn_on,
        frame_of_reference=stack.header.frame_of_reference,
        scanner=stack.scanner,
        gradient=stack.planes[0][0].frame.gradient,
        key=key,
    )


def _key(picture: Picture, volume: int) -> str:
    """Return the name of the entry of one volume, which changes whenever its file does."""
    file = picture.item.file
    return key_of("nifti", (file.where, file.size, file.changed, volume, *picture.order, *picture.flips))


def _volume_number(picture: Picture, stack: Stack) -> int:
    return stack.planes[0][0].index // picture.sides[0]


def _load(
    folder: Path, picture: Picture, stack: Stack, patient: str, cache: Cache, rejected: list[Rejected]
) -> Volume | None:
    """Return the volume of `stack`, from the cache where it is known; note a refusal in `rejected`."""
    key = _key(picture, _volume_number(picture, stack))
    entry = cache.get(key)
    voxels = None if entry is None or "refused" in entry else cache.array(key)
    if entry is None or ("refused" not in entry and voxels is None):
        try:
            voxels = _decode(folder, picture, _volume_number(picture, stack), cache)
            entry = cache.get(key)
        except PassingError as error:
            entry = {"refused": str(error)}
    if "refused" in entry or voxels is None:
        rejected.append(Rejected(picture.item.file.where, entry["refused"], patient))
        return None
    return Volume(voxels, stack.affine, stack.contrast, stack.scanner)


def _decode(folder: Path, picture: Picture, wanted: int, cache: Cache) -> NDArray[np.generic] | None:
    """Put every volume of a file into the cache, for it is read once; return the one that is wanted, if it is whole."""
    result, volume = None, -1
    try:
        for volume, voxels in enumerate(decode(folder, picture)):
            key = _key(picture, volume)
            kept = cache.put_array(key, voxels)
            cache.put(key, {})
            result = kept if volume == wanted else result
    except PassingError:
        raise
    except SeriesError as error:
        for missing in range(volume + 1, max(wanted, volume + 1) + 1):
            cache.put(_key(picture, missing), {"refused": str(error)})
    return result

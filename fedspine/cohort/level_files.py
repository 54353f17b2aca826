"""Read the drawings of vertebral levels: NIfTI files in `levels/`, found, placed and refused as masks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedspine.cohort.cache import Cache, key_of
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.files import File
from fedspine.cohort.levels import Places, centres_mm, numbered
from fedspine.cohort.mask import read_masks
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.select import Study
from fedspine.errors import SeriesError

ROOM = "levels"


def read_levels(
    folder: Path,
    files: Sequence[File],
    named: Mapping[str, Sequence[tuple[File, str]]],
    studies: Mapping[str, Sequence[Study]],
    cache: Cache,
    key: Key,
) -> tuple[dict[tuple[str, int], Places], list[Rejected]]:
    """Return where the levels of each patient and study lie, in LPS millimetres, and what was refused.

    Args:
        folder: the site folder.
        files: of `levels/`, named as masks are.
        named: drawings of a BIDS data set by patient, each with the key of its study.
        studies: by patient.
        cache: of decoded volumes.
        key: of the site.
    """
    drawings, refused = read_masks(folder, files, named, studies, cache, key)
    rejected = [Rejected(one.where, _reworded(one.reason), one.patient) for one in refused]
    places: dict[tuple[str, int], Places] = {}
    for (patient, number), drawing in drawings.items():
        try:
            places[patient, number] = _centres(drawing, cache)
        except SeriesError as error:
            rejected.append(Rejected(f"{ROOM}/", str(error), patient))
    return places, rejected


def _centres(drawing: Volume, cache: Cache) -> Places:
    """Return the centres in a drawing, from the cache where it was met before."""
    file = getattr(drawing.voxels, "filename", None)
    name = key_of("levels", [Path(file).name if file else "", drawing.affine.tobytes().hex()])
    entry = cache.get(name) if file else None
    if entry is None:
        found = centres_mm(numbered(drawing.voxels), drawing.affine)
        cache.put(name, [[None if np.isnan(x) else x for x in row] for row in found.tolist()])
        return found
    return np.array(entry, np.float64)


def _reworded(reason: str) -> str:
    """Return a mask's refusal as that of a drawing of levels."""
    return reason.replace("masks/", f"{ROOM}/").replace("a mask", "a drawing of levels")

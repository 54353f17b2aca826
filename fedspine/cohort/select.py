"""Choose which series of a patient is used, whatever format it came in.

The rules:

1. **Studies.** Series of one day are one study; without dates, those of one study UID (or session) are. Contrasts of
   different studies are never mixed. The *baseline* is the study with most contrasts, the earliest of several. Later
   ones are follow-ups; earlier ones, and those without a date beside a baseline, are not used, and said so.
2. **Main plane.** The plane of the series that a mask was drawn on; else the one in which the baseline has most
   contrasts; of several sagittal before axial before coronal. It holds for the follow-ups too.
3. **Names.** The best series of a contrast in the main plane, or where there is none in another, gets the contrast's
   name. The best in each further plane gets a name such as `T2 axial`. Other pictures (`other`) get one name.
4. **The best** of several in one plane: a stored map before a computed one, then one that a mask was drawn on, then the
   reader's `rank`. When it cannot be decoded the next one takes its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import PLANES, Rejected, Scanner, Volume

DAYS_A_MONTH = 30.4375
"""Of a Julian year's twelve."""
PREFERRED_PLANES = ("sagittal", "axial", "coronal")
"""A spine is read in sagittal slices first."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A series that may be used, before its voxels are read.

    Args:
        contrast: one of `cohort.patient.CONTRASTS`.
        grid: where its voxels lie; axis 0 is the slice.
        rank: the reader's order among series of one contrast and plane, the smallest first; must order completely.
        load: reads the voxels; notes what it refuses itself and returns `None`.
        where: place within the site folder, for the hospital's own eyes only.
        study: tells studies without a date apart.
        day: the study's date as a count of days from any fixed day; `None` where not known.
        drawn_on: whether a mask was drawn on it.
        frame_of_reference: what its segmentations share with it, empty where not known.
        scanner: how it was acquired.
        gradient: direction of diffusion, (x, y, z); empty where there is none.
        computed: whether it is no picture of the scanner's but computed from others.
        key: changes whenever its content does; empty if nothing may be kept of it.
    """

    contrast: str
    grid: Grid = field(repr=False)
    rank: tuple[float | str, ...] = field(repr=False)
    load: Callable[[], Volume | None] = field(repr=False)
    where: str = field(repr=False)
    study: str = field(default="", repr=False)
    day: int | None = field(default=None, repr=False)
    drawn_on: bool = False
    frame_of_reference: str = field(default="", repr=False)
    scanner: Scanner = field(default_factory=Scanner, repr=False)
    gradient: tuple[float, ...] = field(default=(), repr=False)
    computed: bool = False
    key: str = field(default="", repr=False)

    @property
    def plane(self) -> str:
        """One of `PLANES`."""
        return PLANES[int(np.argmax(np.abs(self.grid.affine[:3, 0])))]


@dataclass(frozen=True, eq=False)
class Image:
    """A volume with the frame of reference that its segmentations share."""

    volume: Volume
    frame_of_reference: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class Study:
    """What is used of one study.

    Args:
        months: since the baseline; 0 for the baseline itself.
        images: name to image, see `Patient.volumes`.
        keys: the study keys of its series, which tell a segmentation's study.
    """

    months: float = field(repr=False)
    images: Mapping[str, Image] = field(repr=False)
    keys: frozenset[str] = field(default=frozenset(), repr=False)


SPARE = (
    "one series of a contrast and plane is used; found another without mask, smaller, coarser or older; "
    "take the better one out to use it."
)
EARLIER = (
    "a patient's first used study is the one with most contrasts; found an earlier one with fewer; "
    "nothing is lost unless it was meant to be the first, then take the fuller one out."
)
UNDATED = "a further study must have a date; found one without; export it with its StudyDate, shifted if need be."


def choose(patient: str, candidates: Sequence[Candidate], rejected: list[Rejected]) -> tuple[Study, ...]:
    """Return the studies of `patient` with their images, the baseline first; note what is not used in `rejected`."""
    studies, unused = _studies(candidates)
    rejected += [Rejected(series[0].where, reason, patient) for series, reason in unused]
    loaded: list[Study] = []
    plane = main_plane(studies[0]) if studies else ""
    for series in studies:
        images = _load(patient, series, plane, rejected)
        day = max((one.day for one in series if one.day is not None), default=0)
        months = day / DAYS_A_MONTH
        if images:
            loaded.append(Study(months, images, frozenset(one.study for one in series)))
    # where nothing of the baseline can be decoded, the next one takes its place
    start = loaded[0].months if loaded else 0.0
    return tuple(Study(study.months - start, study.images, study.keys) for study in loaded)


def _studies(
    candidates: Sequence[Candidate],
) -> tuple[list[list[Candidate]], list[tuple[list[Candidate], str]]]:
    """Return the used studies, the baseline first and then by date, and the unused ones with the reason."""
    day_of = {one.study: one.day for one in candidates if one.day is not None}
    groups: dict[tuple[int, str], list[Candidate]] = defaultdict(list)
    for one in candidates:
        day = one.day if one.day is not None else day_of.get(one.study)
        groups[(1, one.study) if day is None else (0, f"{day:09}")].append(one)
    ordered = [groups[key] for key in sorted(groups)]
    if len(ordered) < 2:
        return ordered, []
    most = max(map(_contrasts, ordered))
    base = next(number for number, series in enumerate(ordered) if _contrasts(series) == most)
    used, unused = [ordered[base]], []
    for number, series in enumerate(ordered):
        if number != base and (_undated(series) or _undated(ordered[base])):
            unused.append((series, UNDATED))
        elif number < base:
            unused.append((series, EARLIER))
        elif number > base:
            used.append(series)
    return used, unused


def _undated(series: Sequence[Candidate]) -> bool:
    return all(one.day is None for one in series)


def _contrasts(series: Sequence[Candidate]) -> int:
    return len({one.contrast for one in series} - {"other"})


def main_plane(series: Sequence[Candidate]) -> str:
    """Return the plane that a patient's contrasts are taken from first, by rule 2."""

    def preference(plane: str) -> tuple[bool, int, int]:
        here = [one for one in series if one.plane == plane]
        drawn = any(one.drawn_on for one in here)
        return not drawn, -_contrasts(here), PREFERRED_PLANES.index(plane)

    return min(PREFERRED_PLANES, key=preference)


def _load(patient: str, series: Sequence[Candidate], plane: str, rejected: list[Rejected]) -> dict[str, Image]:
    """Return the images of one study by name, by rules 3 and 4."""

    def preference(one: Candidate) -> tuple[object, ...]:
        stray = one.contrast == "other" and not one.drawn_on
        place = PREFERRED_PLANES.index(one.plane)
        return one.contrast, stray, one.plane != plane, place, one.computed, not one.drawn_on, *one.rank

    images: dict[str, Image] = {}
    filled: set[tuple[str, str]] = set()
    for one in sorted(series, key=preference):
        place = (one.contrast, "" if one.contrast == "other" else one.plane)
        if place in filled:
            rejected.append(Rejected(one.where, SPARE, patient))
            continue
        volume = one.load()
        if volume is not None:
            name = one.contrast if one.contrast not in images else f"{one.contrast} {one.plane}"
            images[name] = Image(volume, one.frame_of_reference)
            filled.add(place)
    return images

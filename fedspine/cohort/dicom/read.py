"""Read `dicom/` of a site folder: every MR or CT series to a volume, the ones that `cohort.select` chooses.

Of two series of one study, contrast and plane, none or both with a mask, the better is the one with more slices, then
with finer pixels, then (diffusion only) with the b-value nearest to 800 s/mm², then with the newest SeriesNumber.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fedspine.cohort.cache import Cache, file_key, key_of
from fedspine.cohort.dicom.header import DRAWN_ON, FileHeader, read_header
from fedspine.cohort.dicom.pixels import decode
from fedspine.cohort.dicom.record import restored, stored
from fedspine.cohort.dicom.series import Plane, Stack, stacks_of
from fedspine.cohort.files import File
from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.quiet import quiet
from fedspine.cohort.select import Candidate, Study, choose
from fedspine.errors import SeriesError

USUAL_B_VALUE = 800.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Imaging:
    """What `dicom/` holds.

    Args:
        studies: patient to studies, the baseline first.
        segmentations: patient to the files that hold DICOM SEG objects with their StudyInstanceUID, the newest series
            first.
        two_people: patients under whose id two people were found; nothing of them may be used.
        rejected: what was not used.
    """

    studies: dict[str, tuple[Study, ...]] = field(repr=False)
    segmentations: dict[str, list[tuple[File, str]]] = field(repr=False)
    two_people: frozenset[str] = field(repr=False)
    rejected: list[Rejected] = field(repr=False)


def read_dicom(
    folder: Path,
    files: Sequence[File],
    cache: Cache,
    known: Collection[str] | None,
    grids: Mapping[str, Sequence[Grid]],
    progress: Progress = lambda done, total: None,
) -> Imaging:
    """Return the images in `files` (places within `folder`) of the patients in `known`, or of all when it is `None`.

    `grids` are those of the patients' NIfTI masks.
    """
    rejected: list[Rejected] = []
    total = 2 * len(files)
    by_patient = _headers(folder, files, cache, rejected, lambda done: progress(done, total))
    studies, segmentations, two_people = {}, {}, set()
    done = len(files)
    for patient, members in sorted(by_patient.items()):
        if known is not None and patient not in known:
            rejected.append(Rejected(members[0][0].where, UNKNOWN_PATIENT, patient))
        elif (second := _second_person(members)) is not None:
            two_people.add(patient)
            rejected.append(Rejected(second, TWO_PEOPLE, patient))
        else:
            found = _patient_images(folder, patient, members, grids.get(patient, ()), cache, rejected)
            if found:
                studies[patient] = found
            masks = [(file, header) for file, header in members if header.modality == "SEG"]
            newest_first = sorted(masks, key=lambda one: -one[1].series_number)
            segmentations[patient] = [(file, header.study) for file, header in newest_first]
        done += len(members)
        progress(done, total)
    if files:
        progress(total, total)
    return Imaging(studies, segmentations, frozenset(two_people), rejected)


UNKNOWN_PATIENT = (
    "a PatientID must stand in patients.csv; found one that does not; add the row (spreadsheets drop leading zeros)."
)
TWO_PEOPLE = (
    "one PatientID must mean one person; found two names or birth dates under it; give each person an id of their own."
)


def _headers(
    folder: Path, files: Sequence[File], cache: Cache, rejected: list[Rejected], step: Callable[[int], None]
) -> dict[str, list[tuple[File, FileHeader]]]:
    """Return the readable files with their headers by patient; note the others in `rejected`."""
    by_patient: dict[str, list[tuple[File, FileHeader]]] = defaultdict(list)
    with quiet():
        for done, file in enumerate(files):
            header = _header(folder, file, cache, rejected)
            if header is not None:
                by_patient[header.patient].append((file, header))
            step(done + 1)
    return by_patient


def _header(folder: Path, file: File, cache: Cache, rejected: list[Rejected]) -> FileHeader | None:
    """Return the header of `file`, from the cache where it is known; note a refusal in `rejected`."""
    key = file_key("header", file)
    entry = cache.get(key)
    if entry is None:
        try:
            entry = {"header": stored(read_header(folder / file.where))}
        except SeriesError as error:
            entry = {"refused": str(error)}
        cache.put(key, entry)
    if "refused" in entry:
        rejected.append(Rejected(file.where, entry["refused"]))
        return None
    return restored(entry["header"])


def _second_person(members: Sequence[tuple[File, FileHeader]]) -> str | None:
    """Return the place of the first file whose name or birth date differs from an earlier file's; blanks agree."""
    for part in (0, 1):
        seen = ""
        for file, header in members:
            value = header.person[part]
            if value and seen and value != seen:
                return file.where
            seen = seen or value
    return None


def _patient_images(
    folder: Path,
    patient: str,
    members: Iterable[tuple[File, FileHeader]],
    grids: Sequence[Grid],
    cache: Cache,
    rejected: list[Rejected],
) -> tuple[Study, ...]:
    """Return the studies of one patient, by the rules of `cohort.select`."""
    by_series: dict[str, list[Plane]] = defaultdict(list)
    stat: dict[str, File] = {}
    drawn_on: set[str] = set()
    for file, header in members:
        stat[file.where] = file
        drawn_on |= set(header.text.get(DRAWN_ON, "").split())
        by_series[header.series] += [Plane(file.where, i, header, frame) for i, frame in enumerate(header.frames)]
    candidates = []
    for planes in by_series.values():
        if planes:
            stacks, refused = stacks_of(planes)
            rejected += [Rejected(where, str(error), patient) for where, error in refused]
            candidates += [
                Candidate(
                    contrast=stack.contrast,
                    grid=stack.grid,
                    rank=_rank(stack),
                    load=partial(_volume, folder, patient, stack, stat, cache, rejected),
                    where=stack.files[0],
                    study=stack.header.study,
                    day=stack.header.day,
                    drawn_on=stack.header.series in drawn_on or any(grid.covers(stack.grid) for grid in grids),
                    frame_of_reference=stack.header.frame_of_reference,
                )
                for stack in stacks
            ]
    return choose(patient, candidates, rejected)


def _rank(stack: Stack) -> tuple[float | str, ...]:
    """Return the order of preference, the best first; the last part only makes it definite."""
    frame = stack.planes[0][0].frame
    area_mm2 = frame.pixel_spacing_mm[0] * frame.pixel_spacing_mm[1]
    off_b = abs((frame.b_value or 0.0) - USUAL_B_VALUE) if stack.contrast == "DWI" else 0.0
    return -len(stack.planes), area_mm2, off_b, -stack.header.series_number, stack.files[0]


def _volume(
    folder: Path, patient: str, stack: Stack, stat: dict[str, File], cache: Cache, rejected: list[Rejected]
) -> Volume | None:
    """Return the volume of `stack`, from the cache where it is known; note what is refused in `rejected`."""
    places = [(plane.file, plane.index) for planes in stack.planes for plane in planes]
    key = key_of("stack", ((file, index, stat[file].size, stat[file].changed) for file, index in places))
    entry = cache.get(key)
    voxels = None if entry is None or "refused" in entry else cache.array(key)
    if entry is None or ("refused" not in entry and voxels is None):
        try:
            decoded, spare = decode(folder, stack)
            voxels, entry = cache.put_array(key, decoded), {"spare": spare}
        except SeriesError as error:
            entry = {"refused": str(error)}
        cache.put(key, entry)
    if "refused" in entry or voxels is None:
        rejected.append(Rejected(stack.files[0], entry["refused"], patient))
        return None
    rejected += [Rejected(where, reason, patient) for where, reason in entry["spare"]]
    return Volume(voxels, stack.affine, stack.contrast, stack.scanner)

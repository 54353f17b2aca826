"""Read `dicom/` of a site folder: every MR or CT series to a volume, the ones that `cohort.select` chooses.

Of two series of one study, contrast and plane, none or both with a mask, the better is the one with more slices, then
with finer pixels, then (diffusion only) with the b-value nearest to 800 s/mm², then (Dixon only) the one in phase
before the water alone, for it looks like everybody's, then the one with the newest SeriesNumber. The volumes of a
diffusion series become one DWI and one ADC map first, see `cohort.diffusion`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fedspine.cohort.cache import Cache
from fedspine.cohort.deidentify.cleared import Cleared
from fedspine.cohort.deidentify.keyring import Pseudonyms
from fedspine.cohort.dicom.header import DRAWN_ON, FileHeader
from fedspine.cohort.dicom.passes import Decoder, read_headers
from fedspine.cohort.dicom.series import Plane, Stack, stacks_of
from fedspine.cohort.diffusion import USUAL_B_VALUE, Desk, with_maps
from fedspine.cohort.files import File
from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.select import Candidate, Study, choose
from fedspine.cohort.workers import Workers

Progress = Callable[[int, int], None]
Member = tuple[File, FileHeader]


@dataclass(frozen=True, eq=False)
class Imaging:
    """What `dicom/` holds.

    Args:
        studies: patient to studies, the baseline first.
        segmentations: patient to the files that hold DICOM SEG objects with their StudyInstanceUID, the newest series
            first.
        two_people: patients under whose id two people were found; nothing of them may be used.
        rejected: what was not used.
        cleared: what was taken out of the headers: (tag, what became of it, files, patients).
    """

    studies: dict[str, tuple[Study, ...]] = field(repr=False)
    segmentations: dict[str, list[tuple[File, str]]] = field(repr=False)
    two_people: frozenset[str] = field(repr=False)
    rejected: list[Rejected] = field(repr=False)
    cleared: tuple[tuple[int, str, int, int], ...] = field(default=(), repr=False)


def read_dicom(
    folder: Path,
    files: Sequence[File],
    cache: Cache,
    known: Collection[str] | None,
    grids: Mapping[str, Sequence[Grid]],
    names: Pseudonyms,
    progress: Progress = lambda done, total: None,
    further: Mapping[str, Sequence[Candidate]] = MappingProxyType({}),
) -> Imaging:
    """Return the images in `files` (places within `folder`) of the patients in `known`, or of all when it is `None`.

    `grids` are those of the patients' NIfTI masks; `further` are series of other formats to choose among. `names` has
    the site's key and learns whom each pseudonym means.
    """
    rejected: list[Rejected] = []
    cleared = Cleared()
    total = 2 * len(files)
    with Workers() as workers:
        headers = read_headers(folder, files, cache, workers, names, cleared, lambda done: progress(done, total))
        by_patient = _by_patient(files, headers, rejected)
        two_people = _leave_out(by_patient, known, rejected)
        decoder = Decoder(folder, {file.where: file for file in files}, cache, workers)
        found = {
            patient: _candidates(patient, members, grids.get(patient, ()), decoder, rejected)
            for patient, members in by_patient.items()
        }
        trial = Desk(cache, [], trial=True)
        _decode(found, further, decoder, trial, lambda done: progress(min(len(files) + done, total), total))
    studies, segmentations = {}, {}
    for patient in sorted({*by_patient, *further} - two_people):
        candidates = [candidate for _, candidate in found.get(patient, ())]
        offered = with_maps([*candidates, *further.get(patient, ())], Desk(cache, rejected))
        chosen = choose(patient, offered, rejected)
        if chosen:
            studies[patient] = chosen
        members = by_patient.get(patient, ())
        masks = [(file, header) for file, header in members if header.modality == "SEG"]
        newest_first = sorted(masks, key=lambda one: -one[1].series_number)
        segmentations[patient] = [(file, header.study) for file, header in newest_first]
    if files:
        progress(total, total)
    return Imaging(studies, segmentations, frozenset(two_people), rejected, cleared.counted())


UNKNOWN_PATIENT = (
    "a PatientID must stand in patients.csv; found one that does not; add the row (spreadsheets drop leading zeros)."
)
TWO_PEOPLE = (
    "one PatientID must mean one person; found two names or birth dates under it; give each person an id of their own."
)


def _by_patient(
    files: Sequence[File], headers: Iterable[FileHeader | str], rejected: list[Rejected]
) -> dict[str, list[Member]]:
    """Return the readable files with their headers by patient, sorted; note the others in `rejected`."""
    # by patient too: whether one patient's picture counts may not depend on another's files
    by_instance: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for file, header in zip(files, headers, strict=True):
        if isinstance(header, str):
            rejected.append(Rejected(file.where, header))
        else:
            by_instance[header.patient, header.instance or file.where].append((file, header))
    by_patient: dict[str, list[Member]] = defaultdict(list)
    for members in by_instance.values():
        # the pixels of files that agree in what stands before them are compared when they are read
        if any(replace(header, plain=None) != replace(members[0][1], plain=None) for _, header in members[1:]):
            rejected += [Rejected(file.where, SAME_INSTANCE, header.patient) for file, header in members]
        else:
            by_patient[members[0][1].patient] += members
    return {patient: sorted(by_patient[patient], key=lambda one: one[0].where) for patient in sorted(by_patient)}


SAME_INSTANCE = (
    "one SOPInstanceUID must mean one picture; found two that differ under it; export each again with its own."
)


def _leave_out(
    by_patient: dict[str, list[Member]], known: Collection[str] | None, rejected: list[Rejected]
) -> set[str]:
    """Take patients out that nobody knows or that are two people; return the latter."""
    two_people = set()
    for patient, members in list(by_patient.items()):
        second = _second_person(members)
        if known is not None and patient not in known:
            rejected.append(Rejected(members[0][0].where, UNKNOWN_PATIENT, patient))
        elif second is not None:
            two_people.add(patient)
            rejected.append(Rejected(second, TWO_PEOPLE, patient))
        else:
            continue
        del by_patient[patient]
    return two_people


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


def _candidates(
    patient: str, members: Iterable[Member], grids: Sequence[Grid], decoder: Decoder, rejected: list[Rejected]
) -> list[tuple[Stack, Candidate]]:
    """Return the stacks of one patient, for `cohort.select` to choose from."""
    by_series: dict[str, list[Plane]] = defaultdict(list)
    drawn_on: set[str] = set()
    for file, header in members:
        drawn_on |= set(header.text.get(DRAWN_ON, "").split())
        by_series[header.series] += [Plane(file.where, i, header, frame) for i, frame in enumerate(header.frames)]
    found = []
    for planes in by_series.values():
        if planes:
            stacks, refused = stacks_of(planes)
            rejected += [Rejected(where, str(error), patient) for where, error in refused]
            candidates = [
                Candidate(
                    contrast=stack.contrast,
                    grid=stack.grid,
                    rank=rank_of(stack),
                    load=partial(_volume, patient, stack, decoder, rejected),
                    where=stack.files[0],
                    study=stack.header.study,
                    day=stack.header.day,
                    drawn_on=stack.header.series in drawn_on or any(grid.covers(stack.grid) for grid in grids),
                    frame_of_reference=stack.header.frame_of_reference,
                    scanner=stack.scanner,
                    gradient=stack.planes[0][0].frame.gradient,
                    key=decoder.key(stack),
                )
                for stack in stacks
            ]
            found += list(zip(stacks, candidates, strict=True))
    return found


def rank_of(stack: Stack) -> tuple[float | str, ...]:
    """Return the order of preference, the best first; the last part only makes it definite."""
    frame = stack.planes[0][0].frame
    area_mm2 = frame.pixel_spacing_mm[0] * frame.pixel_spacing_mm[1]
    off_b = abs((frame.b_value or 0.0) - USUAL_B_VALUE) if stack.contrast == "DWI" else 0.0
    water = bool({"W", "WATER"} & set(frame.image_type))
    return -len(stack.planes), area_mm2, off_b, water, -stack.header.series_number, stack.files[0]


def _volume(patient: str, stack: Stack, decoder: Decoder, rejected: list[Rejected]) -> Volume | None:
    """Return the volume of `stack`; note what is refused in `rejected`."""
    found = decoder.voxels(stack)
    if isinstance(found, str):
        rejected.append(Rejected(stack.files[0], found, patient))
        return None
    voxels, spare = found
    rejected += [Rejected(where, reason, patient) for where, reason in spare]
    return Volume(voxels, stack.affine, stack.contrast, stack.scanner)


def _decode(
    found: Mapping[str, Sequence[tuple[Stack, Candidate]]],
    further: Mapping[str, Sequence[Candidate]],
    decoder: Decoder,
    trial: Desk,
    progress: Callable[[int], None],
) -> None:
    """Decode whatever will be chosen, of all patients at once.

    What is chosen depends on what can be decoded. So the choice is tried as if everything could be; where something
    could not, it is tried again, until nothing new is asked for.
    """
    done = 0

    def step(stack: Stack) -> None:
        nonlocal done
        done += len(stack.files)
        progress(done)

    while True:
        wanted: list[Stack] = []
        for patient, candidates in found.items():
            tried = [replace(one, load=partial(_tried, stack, decoder, wanted)) for stack, one in candidates]
            beside = [replace(one, load=partial(_blank, one.contrast, one.grid)) for one in further.get(patient, ())]
            choose(patient, with_maps([*tried, *beside], trial), [])
        if not wanted:
            return
        decoder.decode(wanted, step)


def _tried(stack: Stack, decoder: Decoder, wanted: list[Stack]) -> Volume | None:
    """Return the volume of `stack` if it is known; else note it in `wanted` and return one without content."""
    if decoder.known(stack):
        return _volume("", stack, decoder, [])
    wanted.append(stack)
    return _blank(stack.contrast, stack.grid)


def _blank(contrast: str, grid: Grid) -> Volume:
    return Volume(np.broadcast_to(np.uint8(0), grid.shape), grid.affine, contrast)

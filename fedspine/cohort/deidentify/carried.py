"""List what a site folder still carries of its patients: attributes, marks, names and columns, never a value.

Read from the files as they lie there, not from the cache, and without the site's key: what the profile would act upon
is what identifies.
"""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from fedspine.cohort.deidentify.carried_elsewhere import in_nifti, in_sidecars, in_tables
from fedspine.cohort.deidentify.key import BYTES, Key, is_pseudonym
from fedspine.cohort.deidentify.marking import is_marked
from fedspine.cohort.deidentify.marks import refuse_pictures_of_persons
from fedspine.cohort.deidentify.profile import PRIVATE, deidentify
from fedspine.cohort.deidentify.rules import DATES
from fedspine.cohort.dicom.opening import header_and_place
from fedspine.cohort.files import File, files_below, open_file
from fedspine.cohort.patient import Rejected
from fedspine.cohort.quiet import quiet
from fedspine.errors import CohortError, SeriesError

SHORTEST_NAME_PART = 3


@dataclass
class Count:
    """In how many files something is, and of how many patients; the patients themselves are told to nobody."""

    files: int = 0
    patients: set[str] = field(default_factory=set, repr=False)

    def add(self, patient: str) -> None:
        """Count one file."""
        self.files += 1
        self.patients.add(patient)


@dataclass(frozen=True)
class Carried:
    """What a folder carries.

    Args:
        files: DICOM files that could be read.
        unread: files that could not, and links that leave the folder; nobody knows what these carry.
        marked: DICOM files that say that they were de-identified.
        attributes: (tag, what becomes of it at the door) to how often.
        creators: private creator to how often.
        pictures: why a picture may show a person, to how often.
        names: what stands in names of files and folders, to how often.
        tables: (table, column, what it looks like).
        sidecars: field of BIDS sidecars to the number of files.
        nifti: field of NIfTI headers to the number of files.
    """

    files: int
    unread: int
    marked: int
    attributes: Mapping[tuple[int, str], Count]
    creators: Mapping[str, Count]
    pictures: Mapping[str, Count]
    names: Mapping[str, Count]
    tables: Sequence[tuple[str, str, str]]
    sidecars: Mapping[str, int]
    nifti: Mapping[str, int]


def survey(folder: Path, progress: Callable[[int, int], None] | None = None) -> Carried:
    """Return what the site folder carries.

    Args:
        folder: the site folder.
        progress: called with (done, total) files below `dicom/`.

    Raises:
        CohortError: when it is no folder, or holds nothing that could be read.
    """
    if not folder.is_dir():
        raise CohortError("a site must be a folder", "none at the place given", "give the folder with dicom/ in it")
    passed: list[Rejected] = []
    dicom, refused = files_below(folder, "dicom")
    others, more_refused = _other_files(folder)
    tables = in_tables(folder, passed)
    if not dicom and not others and not tables.read:
        raise CohortError(
            "a site folder must hold patients.csv and dicom/, or BIDS", "none of them", "give the folder with them"
        )
    found = _Found(Key(secrets.token_bytes(BYTES)))
    with quiet():
        for number, file in enumerate(dicom, 1):
            found.look(folder, file)
            if progress:
                progress(number, len(dicom))
    known = {*tables.ids, *found.ids}
    for file in others:
        for own in known:
            found.look_at_name(file.where, own, [("patient's id", own)])
    sidecars, unread_sidecars = in_sidecars(folder, others)
    nifti, unread_nifti = in_nifti(folder, others)
    unread = len(dicom) - found.files + unread_sidecars + unread_nifti
    return Carried(
        files=found.files,
        unread=unread + len(refused) + len(more_refused) + len(passed),
        marked=found.marked,
        attributes=dict(sorted(found.attributes.items())),
        creators=dict(sorted(found.creators.items())),
        pictures=dict(found.pictures),
        names=dict(found.names),
        tables=tables.columns,
        sidecars=sidecars,
        nifti=nifti,
    )


def _other_files(folder: Path) -> tuple[list[File], list[Rejected]]:
    """Return the files of `masks/`, `levels/` and a BIDS data set in the folder or its `bids/`; what was passed."""
    rooms = [
        "masks",
        "levels",
        "bids",
        "derivatives",
        *sorted(one.name for one in folder.glob("sub-*") if one.is_dir()),
    ]
    found = [files_below(folder, room) for room in rooms]
    return [file for files, _ in found for file in files], [one for _, refused in found for one in refused]


@dataclass
class _Found:
    """What was found so far."""

    key: Key
    files: int = 0
    marked: int = 0
    ids: set[str] = field(default_factory=set, repr=False)
    attributes: dict[tuple[int, str], Count] = field(default_factory=lambda: defaultdict(Count))
    creators: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    pictures: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    names: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))

    def look(self, folder: Path, file: File) -> None:
        """Count what one DICOM file carries; one that cannot be read counts as unread."""
        try:
            with open_file(folder, file) as handle:
                dataset, _ = header_and_place(handle, file.size)
            self._look_into(dataset, file.where)
        except Exception:  # whatever a broken file raises, its text may quote the patient
            return
        self.files += 1

    def _look_into(self, dataset: Dataset, where: str) -> None:
        own = str(dataset.get("PatientID") or "").strip()
        self.ids |= {own} if own else set()
        self.look_at_name(where, own, _identity(dataset, own))
        try:
            refuse_pictures_of_persons(dataset)
        except SeriesError as error:
            self.pictures[error.found].add(own)
        private = [tag for tag in list(dataset.keys()) if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF]
        for creator in {str(dataset[tag].value or "").strip() for tag in private}:
            self.creators[creator].add(own)
        marked = is_marked(dataset)
        self.marked += marked
        for number, done in deidentify(dataset, self.key).actions:
            representation = "" if number == PRIVATE else _representation(number)
            # what was moved and keyed once is moved and keyed for good
            if number != PRIVATE and not (marked and (representation in DATES or representation == "UI")):
                self.attributes[number, done].add(own)

    def look_at_name(self, where: str, own: str, identity: Iterable[tuple[str, str]]) -> None:
        """Count what of a patient stands in the place of a file."""
        folded = where.casefold()
        held = set()
        for what, value in identity:
            alone = rf"(?<![^\W_]){re.escape(value.casefold())}(?![^\W_])"
            if not is_pseudonym(value) and re.search(alone, folded):
                held.add(what)
        for what in held:
            self.names[what].add(own)


def _identity(dataset: Dataset, own: str) -> list[tuple[str, str]]:
    """Return what a file name must not hold: (what it is, value)."""
    parts = re.split(r"[\W_]+", str(dataset.get("PatientName") or ""))
    found = [("patient's id", own)] if own else []
    found += [("part of the patient's name", part) for part in parts if len(part) >= SHORTEST_NAME_PART]
    birth, accession = (str(dataset.get(one) or "").strip() for one in ("PatientBirthDate", "AccessionNumber"))
    found += [("birth date", birth)] if birth else []
    return found + ([("accession number", accession)] if accession else [])


def _representation(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""

"""What tables, BIDS sidecars and NIfTI headers carry of patients: names of columns and fields, never a value."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
from pydicom.datadict import tag_for_keyword

from fedspine.cohort.deidentify.key import is_pseudonym
from fedspine.cohort.deidentify.nifti_texts import FIELDS
from fedspine.cohort.deidentify.rules import Rule, rule_of
from fedspine.cohort.deidentify.values import AGENT
from fedspine.cohort.files import File
from fedspine.cohort.patient import Rejected
from fedspine.cohort.quiet import quiet
from fedspine.cohort.sheet import Sheet, read_sheet
from fedspine.cohort.words import clean_words

TABLES = ("patients.csv", "omics.csv", "participants.tsv", "bids/participants.tsv")
OWN_IDS = "patients' own ids"
LARGEST_SIDECAR = 4_000_000

OLDEST = 90
"""Years that stand for every age above 89 in a copy (HIPAA Safe Harbor, 45 CFR 164.514(b)(2)): few are so old."""

LOOKS: tuple[tuple[str, str], ...] = (
    ("a name", r"name|surname|firstname|lastname|vorname|nachname|nom|prenom|apellidos?|nombre|cognome|naam|initials"),
    ("a birth date", r"birth|dob|birthdate|birthday|geburt\w*|geb|naissance|nacimiento|nascita|geboorte\w*"),
    ("another date", r"date|datum|fecha|day|acq_time|visit_date|scan_date"),
    ("an age", r"age|alter|edad|eta|leeftijd"),
    (
        "a record number",
        r"mrn|record|accession|ehr|emr|chart|case_?no|fallnummer|pid|hospital_?id|nhs|insurance|ssn|ahv",
    ),
    (
        "an address",
        r"address|adresse|street|strasse|city|town|zip|zipcode|postal|postcode|plz|county|country|direccion",
    ),
    ("a way to reach someone", r"phone|telephone|tel|mobile|fax|email|mail|contact"),
    ("a person's trait", r"ethnic\w*|race|religion|occupation|nationality|photo"),
    ("staff or place", r"physician|doctor|referr\w*|operator|radiologist|hospital|institution|ward|station"),
)
"""What the words of a column's name say that its cells may hold."""


@dataclass(frozen=True)
class Tables:
    """What the tables of a site folder show.

    Args:
        columns: (table, column, what it looks like).
        ids: patients' own ids.
        read: whether there is any table.
    """

    columns: tuple[tuple[str, str, str], ...]
    ids: frozenset[str] = field(repr=False)
    read: bool


def looks_like(column: str) -> str | None:
    """Return what a column of this name may hold of a person, or `None`.

    >>> looks_like("Date of Birth"), looks_like("ZIP"), looks_like("MKI67"), looks_like("stage")
    ('a birth date', 'an address', None, None)
    """
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", column).casefold()
    parts = [words, *re.split(r"[\W_]+", words)]
    return next((what for what, pattern in LOOKS if any(re.fullmatch(pattern, part) for part in parts)), None)


def in_tables(folder: Path, rejected: list[Rejected]) -> Tables:
    """Return the columns that look as if they told who a patient is, and the own ids that the tables hold."""
    found: list[tuple[str, str, str]] = []
    ids: set[str] = set()
    read = False
    for where in TABLES:
        sheet = read_sheet(folder / where, where, rejected)
        if sheet is None:
            continue
        read = True
        for number, column in enumerate(sheet.columns):
            if column.casefold() in ("patient", "participant_id"):
                own = {cells[number].removeprefix("sub-") for _, cells in sheet.rows if cells[number]}
                ids |= own
                if any(not is_pseudonym(one) for one in own):
                    found.append((where, column, OWN_IDS))
            elif (what := looks_like(column)) is not None and not _a_copys_age(where, column, number, sheet):
                found.append((where, column, what))
    return Tables(tuple(found), frozenset(ids), read)


def _a_copys_age(where: str, column: str, number: int, sheet: Sheet) -> bool:
    """Tell whether a column holds ages as a copy does: whole years that say no more than "over 89" of the oldest."""
    cells = [cells[number].strip() for _, cells in sheet.rows]
    whole = all(not cell or (cell.isdigit() and int(cell) <= OLDEST) for cell in cells)
    return (where, column.casefold()) == ("patients.csv", "age") and whole


def in_sidecars(folder: Path, files: Sequence[File]) -> tuple[dict[str, int], int]:
    """Return how many BIDS sidecars have each field that the profile would act upon, and how many are unreadable."""
    found: Counter[str] = Counter()
    unread = 0
    for file in files:
        if not file.where.lower().endswith(".json"):
            continue
        try:
            text = (folder / file.where).read_text("utf-8-sig") if file.size <= LARGEST_SIDECAR else ""
            found.update(key for key, value in json.loads(text).items() if value and tells(key, value))
        except (OSError, ValueError, AttributeError, RecursionError):  # no JSON, or JSON that is no table of fields
            unread += 1
    return dict(sorted(found.items())), unread


def tells(keyword: str, value: object) -> bool:
    """Tell whether a sidecar's field may identify: by DICOM's rule where it is a DICOM keyword.

    >>> tells("PatientName", "Doe"), tells("EchoTime", 0.1), tells("SeriesDescription", "t2")
    (True, False, False)
    """
    tag = tag_for_keyword(keyword)
    rule = Rule.KEEP if tag is None else rule_of(tag)
    if rule is Rule.CLEAN:
        return str(value) not in (clean_words(str(value)), AGENT)
    return rule is not Rule.KEEP or (tag is None and looks_like(keyword) is not None)


def in_nifti(folder: Path, files: Sequence[File]) -> tuple[dict[str, int], int]:
    """Return how many NIfTI files have text in each free field or extensions, and how many are unreadable."""
    found: Counter[str] = Counter()
    unread = 0
    for file in files:
        if not file.where.lower().endswith((".nii", ".nii.gz")):
            continue
        try:
            with quiet():
                header = nibabel.load(folder / file.where, mmap=False).header
                found.update(name for name in FIELDS if name in header and bytes(header[name]).strip(b"\0 "))
                found.update(["extensions"] if header.extensions else [])
        except Exception:  # nibabel raises anything, and its text holds the path
            unread += 1
    return dict(sorted(found.items())), unread

"""Write the BIDS images of a site folder to a de-identified copy, as a data set `bids/` of its own.

Names are made anew: the subject is the pseudonym without dashes, sessions are counted, and of the other words only
those stay that say what a picture shows. Each image gets one sidecar with all that held for it, but for what
identifies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from fedspine.cohort.bids.dates import days_of
from fedspine.cohort.bids.picture import IMAGE_TYPES
from fedspine.cohort.bids.read import patients_of
from fedspine.cohort.bids.sidecar import GROUPS, RENAMED, read_numbers, read_sidecar, sidecars_of
from fedspine.cohort.bids.tree import Item, Tree
from fedspine.cohort.contrast import NO_AGENT
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.deidentify.nifti_texts import without_texts
from fedspine.cohort.deidentify.rules import Rule, rule_of
from fedspine.cohort.deidentify.values import AGENT
from fedspine.cohort.files import open_file
from fedspine.cohort.patient import Rejected
from fedspine.cohort.words import clean_words
from fedspine.errors import SeriesError

SUFFIXES = frozenset(
    {"T1w", "T2w", "FLAIR", "PDw", "PDT2", "T2starw", "inplaneT1", "inplaneT2", "dwi", "ADC", "ct", "CT"}
)
COUNTED = ("echo", "inv", "part")
"""Entities whose values are numbers or fixed words."""

OWN_WORDS = frozenset({*RENAMED, "PulseSequenceType", "SliceEncodingDirection"})
"""Fields of sidecars that are no DICOM keywords and say how a picture was made."""


def write_bids(
    site: Path, tree: Tree, out: Path, key: Key, own_ids: Mapping[str, str], left_out: list[Rejected]
) -> tuple[int, int]:
    """Write images and drawings of the patients in `own_ids` (pseudonym to own id); return how many of each.

    Args:
        site: the site folder.
        tree: its data set.
        out: the copy.
        key: of the site.
        own_ids: who is in the cohort.
        left_out: what is not in the copy is noted here.
    """
    patients = {subject: key.pseudonym(own) for subject, own in patients_of(tree, set(own_ids.values())).items()}
    days = days_of(site, tree)
    images = masks = 0
    for subject, pseudonym in sorted(patients.items()):
        if pseudonym not in own_ids:
            continue
        writer = _Subject(site, out, pseudonym, _sessions(tree, subject))
        moved = {session: day - key.days(pseudonym) for (who, session), day in days.items() if who == subject}
        writer.write_dates(moved)
        for item in tree.images.get(subject, ()):
            images += writer.write(item, tree, left_out)
        for item in tree.masks.get(subject, ()):
            masks += writer.write_mask(item, left_out)
        for item in tree.levels.get(subject, ()):
            masks += writer.write_levels(item, left_out)
    return images, masks


def _sessions(tree: Tree, subject: str) -> dict[str, str]:
    """Return the new name of each session, counted in the order of the old ones."""
    items = [item for several in (tree.images, tree.masks, tree.levels) for item in several.get(subject, ())]
    names = sorted({item.session for item in items if item.session})
    return {name: str(number) for number, name in enumerate(names, 1)}


class _Subject:
    """Writes the files of one patient.

    Args:
        site: the site folder.
        out: the copy.
        pseudonym: of the patient.
        sessions: old name to new one.
    """

    def __init__(self, site: Path, out: Path, pseudonym: str, sessions: Mapping[str, str]) -> None:
        self._site, self._root, self._sessions = site, out / "bids", sessions
        self._label = f"sub-{pseudonym.replace('-', '')}"

    def write_dates(self, days: Mapping[str, int]) -> None:
        """Write when the sessions took place, as counts of days give it."""
        folder = self._root / self._label
        if days:
            folder.mkdir(parents=True, exist_ok=True)
        rows = [
            f"ses-{self._sessions[one]}\t{date.fromordinal(day)}" for one, day in days.items() if one in self._sessions
        ]
        if rows:
            text = "\n".join(["session_id\tacq_time", *sorted(rows), ""])
            (folder / f"{self._label}_sessions.tsv").write_text(text, "utf-8")
        elif "" in days:
            text = f"filename\tacq_time\nall\t{date.fromordinal(days[''])}\n"
            (folder / f"{self._label}_scans.tsv").write_text(text, "utf-8")

    def write(self, item: Item, tree: Tree, left_out: list[Rejected]) -> bool:
        """Write one image with its sidecars; return whether that was possible."""
        beside = {ending: sidecars_of(item, tree, ending) for ending in (".json", ".bval", ".bvec")}
        try:
            values = clean_sidecar(read_sidecar(self._site, beside[".json"]))
            numbers = {ending: read_numbers(self._site, beside[ending]) for ending in (".bval", ".bvec")}
        except SeriesError as error:
            left_out.append(Rejected(item.file.where, str(error)))
            return False
        place = self._free(item, self._words(item), _suffix(item))
        if not self._write_image(item, place, left_out):
            return False
        stem = place.name[: -len(item.ending)]
        if values:
            (place.parent / f"{stem}.json").write_text(json.dumps(values, indent=1), "utf-8")
        for ending, rows in numbers.items():
            if rows:
                text = "\n".join(" ".join(f"{value!r}" for value in row) for row in rows) + "\n"
                (place.parent / f"{stem}{ending}").write_text(text, "ascii")
        return True

    def write_mask(self, item: Item, left_out: list[Rejected]) -> bool:
        """Write one mask; return whether that was possible."""
        return self._write_image(item, self._free(item, ["label-lesion"], "mask", derived="masks"), left_out)

    def write_levels(self, item: Item, left_out: list[Rejected]) -> bool:
        """Write one drawing of vertebral levels; return whether that was possible."""
        return self._write_image(item, self._free(item, ["label-vertebrae"], "dseg", derived="masks"), left_out)

    def _write_image(self, item: Item, place: Path, left_out: list[Rejected]) -> bool:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_file(self._site, item.file) as handle:
                image = without_texts(handle, packed=item.ending == ".nii.gz")
        except Exception:  # nibabel and gzip raise anything, and their text holds the path
            left_out.append(Rejected(item.file.where, BROKEN))
            return False
        place.write_bytes(image)
        return True

    def _words(self, item: Item) -> list[str]:
        """Return the pairs of a name that say what the picture shows, without what anybody may have written in them."""
        found = []
        said = clean_words(" ".join(item.entities[name] for name in ("acq", "rec", "desc") if name in item.entities))
        if said:
            found.append(f"acq-{said.replace(', ', '')}")
        agent = item.entities.get("ce", "")
        if agent.casefold() not in NO_AGENT:
            found.append(f"ce-{AGENT}")
        counted = [(name, item.entities[name]) for name in COUNTED if name in item.entities]
        return found + [f"{name}-{value}" for name, value in counted if value.isdecimal() or name == "part"]

    def _free(self, item: Item, words: list[str], suffix: str, derived: str = "maps") -> Path:
        """Return a place that is not taken, with the run's number of the original where that is free."""
        session = self._sessions.get(item.session, "")
        folder = self._root / "derivatives" / derived if item.derived or suffix in ("mask", "dseg") else self._root
        folder = folder / self._label / (f"ses-{session}" if session else "")
        folder = folder / (item.data_type if item.data_type in ("anat", "dwi", "ct") else "anat")
        run = item.entities.get("run", "")
        number = int(run) if run.isdecimal() and len(run) < 6 else 0
        while True:
            parts = [self._label, *([f"ses-{session}"] if session else []), *words]
            parts += [f"run-{number}"] if number else []
            place = folder / f"{'_'.join([*parts, suffix])}{item.ending}"
            if not place.exists():
                return place
            number += 1


BROKEN = "a NIfTI file must be complete; found a broken one; save it again."


def _suffix(item: Item) -> str:
    """Return the last word of a name where it is one of BIDS'."""
    known = item.suffix in SUFFIXES or item.suffix.lower() in IMAGE_TYPES
    return item.suffix if known else "image"


def clean_sidecar(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a sidecar that say how the picture was made, descriptions cleaned."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        tag = tag_for_keyword(RENAMED.get(name, name))
        rule = Rule.KEEP if tag is None else rule_of(tag)
        if RENAMED.get(name, name) == "ContrastBolusAgent":
            kept[name] = "" if str(value).strip().casefold() in NO_AGENT else AGENT
        elif rule is Rule.CLEAN and clean_words(str(value)):
            kept[name] = clean_words(str(value))
        elif name in OWN_WORDS or (tag is not None and rule is Rule.KEEP and tag >> 16 in GROUPS):
            kept[name] = value
    return kept

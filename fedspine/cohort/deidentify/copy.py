"""Write a de-identified copy of a site folder, to be moved to a machine for research.

The copy holds what the site's cohort is made of: every usable DICOM file of its patients with the pixels untouched, the
tables by pseudonym, and the masks. Pseudonyms are their own pseudonyms, so the copy has the same patients, volumes and
folds as the original under whatever key it is read later; the key and the table of pseudonyms stay behind.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset

from fedspine.cohort.bids.tree import read_tree
from fedspine.cohort.deidentify.carried_elsewhere import OLDEST
from fedspine.cohort.deidentify.copy_bids import write_bids
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.deidentify.keyring import open_key
from fedspine.cohort.deidentify.marking import mark
from fedspine.cohort.deidentify.nifti_texts import without_texts
from fedspine.cohort.deidentify.profile import deidentify
from fedspine.cohort.dicom.header import read_header
from fedspine.cohort.dicom.opening import whole
from fedspine.cohort.drawing import NIFTI
from fedspine.cohort.files import File, files_below, open_file
from fedspine.cohort.level_files import ROOM as LEVELS
from fedspine.cohort.mask import NUMBERED
from fedspine.cohort.patient import Cohort, Patient, Rejected
from fedspine.cohort.quiet import quiet
from fedspine.cohort.site import load_cohort
from fedspine.errors import InputError, SeriesError

PATIENTS = ("patient", "label", "grade", "time", "event", "level", "age", "sex")


@dataclass(frozen=True)
class Copied:
    """What was written.

    Args:
        patients: in the tables of the copy.
        files: DICOM files.
        nifti: images of a BIDS data set.
        masks: NIfTI masks and drawings of levels.
        left_out: files of the original that are not in the copy, with the reason.
    """

    patients: int
    files: int
    nifti: int
    masks: int
    left_out: tuple[Rejected, ...]


def write_copy(site: Path, out: Path, progress: Callable[[int, int], None] | None = None) -> Copied:
    """Write a de-identified copy of `site` to `out`.

    Args:
        site: a site folder.
        out: absent or empty, and not inside the site folder.
        progress: called with (done, total) files below `dicom/`.

    Raises:
        InputError: when `out` holds something, or lies in the site folder.
        CohortError: when the site cannot be used.
    """
    try:
        return _write_copy(site, out, progress or (lambda done, total: None))
    except OSError:  # of reading the site there is none left: what cannot be read was refused
        raise InputError(
            "a copy must be written whole", "a place that is full or cannot be written", "remove it, name another one"
        ) from None


def _write_copy(site: Path, out: Path, progress: Callable[[int, int], None]) -> Copied:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("a copy must be written into an empty folder", "something there", "name another folder")
    if site.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError("a copy must lie outside the site folder", "one inside", "name another folder")
    cohort = load_cohort(site)
    if not cohort.key_kept:
        raise InputError(
            "a site must keep its pseudonym key", "a folder that cannot be written", "make .fedspine writable"
        )
    key = open_key(site).key
    left_out: list[Rejected] = []
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    dicom, _ = files_below(site, "dicom")
    written = _write_dicom(site, dicom, out, key, cohort, left_out, progress)
    masks = sum(_write_masks(site, room, out, key, cohort, left_out) for room in ("masks", LEVELS))
    tree = read_tree(site)
    nifti = 0
    if tree is not None:
        own_ids = {patient.identifier: cohort.own_ids[patient.identifier] for patient in cohort.patients}
        nifti, drawn = write_bids(site, tree, out, key, own_ids, left_out)
        masks += drawn
    _write_tables(out, cohort)
    return Copied(len(cohort.patients), written, nifti, masks, tuple(left_out))


def _write_dicom(
    site: Path,
    files: Sequence[File],
    out: Path,
    key: Key,
    cohort: Cohort,
    left_out: list[Rejected],
    progress: Callable[[int, int], None],
) -> int:
    """Write the DICOM files of the cohort's patients; numbers in the order of the places keep that order."""
    patients = {patient.identifier for patient in cohort.patients}
    number: Counter[str] = Counter()
    with quiet():
        for done, file in enumerate(files, 1):
            try:
                header = read_header(site, file, key).header
                patient = header.patient
                if header.tiles > 1:
                    left_out.append(Rejected(file.where, MOSAIC, cohort.own_ids.get(patient)))
                elif patient in patients:
                    place = out / "dicom" / patient / f"{number[patient] + 1:06}.dcm"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    _write_file(site, file, place, key, header.scanner.coil)
                    number[patient] += 1
                else:
                    left_out.append(Rejected(file.where, NOBODY, cohort.own_ids.get(patient)))
            except SeriesError as error:
                left_out.append(Rejected(file.where, str(error)))
            progress(done, len(files))
    return sum(number.values())


NOBODY = "a file must belong to a patient of the cohort; found another's; fedspine check says why."


MOSAIC = (
    "a copied picture must say itself where its slices lie; found a mosaic, whose private header says so and goes; "
    "export the series as single slices."
)
LONGEST_COIL = 16
"""Characters that ReceiveCoilName may have."""


def _write_file(site: Path, file: File, place: Path, key: Key, coil: str | None) -> None:
    """Write one DICOM file, de-identified and marked, in its own transfer syntax; `coil` if it hides its name."""
    try:
        with open_file(site, file) as handle:
            dataset = whole(handle)
        deidentify(dataset, key)
        if coil and len(coil) <= LONGEST_COIL and "ReceiveCoilName" not in dataset and "NumberOfFrames" not in dataset:
            dataset.ReceiveCoilName = coil
        mark(dataset)
        dataset.preamble = b"\0" * 128  # it may hold anything, another file's header too
        dataset.file_meta = _meta(dataset)
        written = BytesIO()
        dataset.save_as(written, enforce_file_format=True)
    except SeriesError:
        raise
    except Exception:  # its text may quote the patient
        raise SeriesError("a DICOM file must be complete", "a broken one", "export the file again") from None
    place.write_bytes(written.getbuffer())


def _meta(dataset: Dataset) -> FileMetaDataset:
    """Return a new file meta header: the old one may name the sender."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or dataset.file_meta.MediaStorageSOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return meta


def _write_masks(site: Path, room: str, out: Path, key: Key, cohort: Cohort, left_out: list[Rejected]) -> int:
    """Write the NIfTI files in `room`, masks or levels, of the cohort's patients under their pseudonyms."""
    patients = {patient.identifier for patient in cohort.patients}
    written = 0
    for file in files_below(site, room)[0]:
        name = file.where.rsplit("/", 1)[-1]
        suffix = next((one for one in NIFTI if name.lower().endswith(one)), None)
        new = None if suffix is None else _mask_name(name[: -len(suffix)].strip(), patients, key)
        if suffix is None or new is None:
            left_out.append(Rejected(file.where, NOBODY))
            continue
        place = out / room / f"{new}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_file(site, file) as handle:
                mask = without_texts(handle, packed=suffix == ".nii.gz")
        except Exception:  # nibabel and gzip raise anything
            left_out.append(Rejected(file.where, "a mask must be complete NIfTI; found a broken one; save it again."))
            continue
        place.write_bytes(mask)
        written += 1
    return written


def _mask_name(stem: str, patients: Iterable[str], key: Key) -> str | None:
    """Return the name of a mask by pseudonym, with the number of its study where it had one."""
    known = set(patients)
    if key.pseudonym(stem) in known:
        return key.pseudonym(stem)
    number = NUMBERED.search(stem)
    patient = key.pseudonym(stem[: number.start()]) if number else ""
    return f"{patient}_{number[1]}" if number and patient in known else None


def _write_tables(out: Path, cohort: Cohort) -> None:
    """Write the tables as they were understood: by pseudonym, without columns that fedspine does not read."""
    rows = [[_cell(value) for value in _row(patient)] for patient in cohort.patients]
    _write(out / "patients.csv", [list(PATIENTS), *rows])
    if cohort.omics_columns:
        omics: Mapping[str, list[str]] = {
            one.identifier: [_cell(value) for value in one.omics] for one in cohort.patients if one.omics is not None
        }
        _write(
            out / "omics.csv", [["patient", *cohort.omics_columns], *([one, *values] for one, values in omics.items())]
        )


def _row(patient: Patient) -> tuple[str | float | None, ...]:
    age = None if patient.age is None else str(min(round(patient.age), OLDEST))
    outcome = patient.grade, patient.time, patient.event
    return patient.identifier, patient.label, *outcome, patient.level, age, patient.sex


def _cell(value: str | float | None) -> str:
    """Return a cell that is read back as the same value; nothing for a missing one."""
    if value is None or value != value:
        return ""
    return value if isinstance(value, str) else repr(float(value))


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)

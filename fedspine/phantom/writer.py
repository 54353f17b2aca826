"""A consortium of phantom hospitals as site folders: real DICOM, NIfTI masks, tables, and holes in them as in life."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from fedspine.cohort.deidentify.keyring import ROOM, write_key
from fedspine.cohort.levels import NUMBERS, grid_places
from fedspine.cohort.patient import FollowUp, Patient, Volume
from fedspine.cohort.select import DAYS_A_MONTH
from fedspine.errors import InputError
from fedspine.phantom.dicom import Study, write_series
from fedspine.phantom.genome import CLASSES, OMICS_COLUMNS
from fedspine.phantom.hospital import Hospital, draw_scanner, hospital_of
from fedspine.phantom.levels import EVERY_LEVEL
from fedspine.phantom.patient import Phantom, draw, to_patient
from fedspine.phantom.scanner import CONTRASTS

TABLE = ("patient", "label", "age", "grade", "time", "event", "level")

LACKS_CONTRAST, LACKS_OMICS, LACKS_LABEL, LACKS_MASK, LACKS_CELL, LACKS_LEVELS = 0.10, 0.10, 0.05, 0.10, 0.05, 0.10
"""How often a patient lacks a contrast, the omics row, the label, the mask, one omics cell, or the drawn levels."""

_DAYS = (90, 540)
"""A second study follows within so many days, if the patient is followed so long."""


def write_consortium(
    out: Path,
    *,
    sites: int,
    patients: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (12, 128, 128),
    levels: str = EVERY_LEVEL,
    follow_up: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, ...]:
    """Write `sites` site folders of `patients` phantoms below `out`; the same seed gives the same bytes.

    Every hospital has its own scanners, case mix and naming. With four patients or more, it has every class.

    Args:
        out: absent or empty.
        sites: how many hospitals.
        patients: of each.
        seed: of everything.
        shape: (slice, row, column) of every volume.
        levels: the part of the spine that is shown, such as "C1-S1" or "T1-T12".
        follow_up: share of the patients who have a second study, months later.
        progress: called with (done, total) patients.

    Raises:
        InputError: if `out` holds something already.
    """
    check_request(out, sites, patients, seed)
    if not 0.0 <= follow_up <= 1.0:
        raise InputError("the share with a second study must lie between 0 and 1", f"{follow_up:g}", "mend it")
    folders = []
    for number in range(1, sites + 1):
        hospital = hospital_of(number, seed)
        labels = labels_of(hospital.mix, patients, np.random.default_rng([seed, number, 1]))
        cohort = []
        for index, label in enumerate(labels):
            generator = np.random.default_rng([seed, number, 2, index])
            phantom = draw(generator, label=label, shape=shape, levels=levels, hospital=hospital)
            patient = _known(phantom, f"S{number}-P{index + 1:04d}", generator)
            if np.random.default_rng([seed, number, 3, index]).random() < LACKS_LEVELS:
                patient = replace(patient, levels=None)
            if generator.random() < follow_up:
                patient = replace(patient, follow_up=(_later(phantom, generator, hospital),))
            write_patient(out / hospital.name, patient, hospital, seed)
            cohort.append(patient)
            if progress:
                progress((number - 1) * patients + index + 1, sites * patients)
        write_tables(out / hospital.name, cohort, OMICS_COLUMNS)
        write_key(out / hospital.name / ROOM, public_key(seed, number))
        folders.append(out / hospital.name)
    return tuple(folders)


def public_key(seed: int, number: int) -> str:
    """Return the pseudonym key of a phantom hospital: known to all, so that everybody finds the same folds."""
    return hashlib.sha256(f"fedspine phantom {seed} {number}".encode()).hexdigest()


def write_patient(site: Path, patient: Patient, hospital: Hospital, seed: int = 0) -> None:
    """Write a patient's series below `site/dicom`, and what is drawn, if any, to `site/masks` and `site/levels`.

    A second study has a later date, UIDs of its own, and its mask is called `PATIENT_2.nii.gz`.
    """
    identifier, key = patient.identifier, f"{seed}/{hospital.number}/{patient.identifier}"
    first = FollowUp(0.0, patient.volumes, patient.mask, patient.levels)
    for count, visit in enumerate((first, *patient.follow_up), 1):
        extra = "" if count == 1 else f"_{count}"
        days = round(visit.months * DAYS_A_MONTH)
        study = Study(identifier, key + extra, hospital.name, hospital.style, days)
        for number, contrast in enumerate(visit.volumes, 1):
            folder = site / "dicom" / identifier / f"{number}{extra}"
            write_series(folder, study, visit.volumes[contrast], number)
        if visit.mask is not None:
            (site / "masks").mkdir(parents=True, exist_ok=True)
            write_mask(site / "masks" / f"{identifier}{extra}.nii.gz", visit.mask)
        if visit.levels is not None and visit.volumes:
            (site / "levels").mkdir(parents=True, exist_ok=True)
            write_mask(site / "levels" / f"{identifier}{extra}.nii.gz", level_points(visit))


def check_request(out: Path, sites: int, patients: int, seed: int) -> None:
    """Raise an InputError when phantoms cannot be written so."""
    if sites < 1 or patients < 1 or seed < 0:
        raise InputError("sites and patients must be 1 or more, the seed 0 or more", "less", "raise it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("phantoms must be written into an empty folder", "something there", "name another folder")


def labels_of(mix: Sequence[float], patients: int, generator: np.random.Generator) -> list[str]:
    """Return the labels of a hospital's patients: drawn from its case mix, every class among four or more."""
    every = list(CLASSES) if patients >= 4 else []
    drawn = generator.choice(CLASSES, patients - len(every), p=mix).tolist()
    return [str(label) for label in generator.permutation([*every, *drawn])]


def _known(phantom: Phantom, identifier: str, generator: np.random.Generator) -> Patient:
    """Return a patient as the hospital knows it: scanned on one of its scanners, with something missing at times."""
    patient = to_patient(phantom, identifier, phantom.scanner)
    lacks = generator.random(4) < (LACKS_CONTRAST, LACKS_OMICS, LACKS_LABEL, LACKS_MASK)
    volumes = dict(patient.volumes)
    gone = str(generator.choice(CONTRASTS))
    if lacks[0]:
        del volumes[gone]
    assert patient.omics is not None
    omics = np.where(generator.random(len(OMICS_COLUMNS)) < LACKS_CELL, np.nan, patient.omics)
    return replace(
        patient,
        volumes=volumes,
        omics=None if lacks[1] else omics,
        label=None if lacks[2] else patient.label,
        mask=None if lacks[3] else patient.mask,
    )


def _later(phantom: Phantom, generator: np.random.Generator, hospital: Hospital) -> FollowUp:
    """Return a second study, before the patient's follow-up ends, on any of the hospital's scanners."""
    last = min(_DAYS[1], max(_DAYS[0], int(phantom.outcome[0] * DAYS_A_MONTH)))
    months = int(generator.integers(_DAYS[0], last + 1)) / DAYS_A_MONTH
    scanner = draw_scanner(generator, hospital=hospital)
    again = to_patient(phantom.follow_up(months), "", scanner, generator)
    return FollowUp(months, again.volumes, again.mask, again.levels)


def level_points(visit: FollowUp) -> Volume:
    """Return a drawing of a study's levels: one voxel each, with the number that it has in `cohort.levels`."""
    assert visit.levels is not None
    image = next(iter(visit.volumes.values()))
    drawn = np.zeros(image.voxels.shape, np.uint8)
    for number, level in NUMBERS.items():
        if np.isfinite(visit.levels[level]).all():
            place = np.rint(grid_places(visit.levels[level], image.affine)).astype(int)
            drawn[tuple(place)] = number
    return Volume(drawn, image.affine, "other")


def write_mask(file: Path, mask: Volume) -> None:
    """Write a mask on the image's grid as NIfTI: (column, row, slice) with an affine to RAS+."""
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    reverse = np.eye(4)[[2, 1, 0, 3]]  # (column, row, slice) to (slice, row, column)
    image = nib.Nifti1Image(np.ascontiguousarray(mask.voxels.transpose(2, 1, 0)), to_ras @ mask.affine @ reverse)
    file.write_bytes(_gzipped(image.to_bytes()))


def _gzipped(data: bytes) -> bytes:
    """Compress without a time stamp, so that equal masks are equal files."""
    return gzip.compress(data, compresslevel=1, mtime=0)


def write_tables(site: Path, cohort: Sequence[Patient], columns: Sequence[str]) -> None:
    """Write patients.csv and omics.csv of one site."""
    with open(site / "patients.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(TABLE)
        for p in cohort:
            numbers = ["" if value is None else f"{value:g}" for value in (p.age, p.grade, p.time, p.event)]
            rows.writerow([p.identifier, p.label or "", *numbers, p.level or ""])
    with open(site / "omics.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["patient", *columns])
        for p in cohort:
            if p.omics is not None:
                rows.writerow([p.identifier, *("" if np.isnan(v) else f"{v:.6g}" for v in p.omics)])

"""A consortium of phantom hospitals with chest CT of lung nodules, as site folders like those of `phantom.writer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedspine.cohort.deidentify.keyring import ROOM, write_key
from fedspine.cohort.patient import Patient
from fedspine.phantom.dicom import Study
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.lung.dicom import write_ct_series
from fedspine.phantom.lung.person import LUNG_OMICS, draw_lung, to_lung_patient
from fedspine.phantom.lung.scanner import CT_SCANNERS, CTScanner
from fedspine.phantom.writer import check_request, labels_of, public_key, write_mask, write_tables

LACKS_LABEL, LACKS_MASK, LACKS_CELL = 0.05, 0.05, 0.05
"""How often a patient lacks the label, the mask, or one omics cell."""
STYLES = ("Thorax nativ 5.0 B30f", "CHEST W/O", "Thorax LUNG", "CT torace")
"""How hospitals name their series."""


def write_lung_consortium(
    out: Path,
    *,
    sites: int,
    patients: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (12, 128, 128),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, ...]:
    """Write `sites` site folders of `patients` lung phantoms below `out`; the same seed gives the same bytes.

    Every hospital has a scanner of its own, some a second one, and its case mix. With four patients or more, it has
    every class.

    Args:
        out: absent or empty.
        sites: how many hospitals.
        patients: of each.
        seed: of everything.
        shape: (slice, row, column) of every volume.
        progress: called with (done, total) patients.

    Raises:
        InputError: if `out` holds something already.
    """
    check_request(out, sites, patients, seed)
    folders = []
    for number in range(1, sites + 1):
        site = out / f"site-{number}"
        stream = np.random.default_rng([seed, number, 3])
        scanners = [CT_SCANNERS[(number - 1) % len(CT_SCANNERS)]]
        if stream.random() < 0.5:
            scanners.append(CT_SCANNERS[int(stream.integers(len(CT_SCANNERS)))])
        labels = labels_of(stream.dirichlet([8.0] * len(CLASSES)).tolist(), patients, stream)
        cohort = []
        for index, label in enumerate(labels):
            generator = np.random.default_rng([seed, number, 4, index])
            scanner = scanners[int(generator.integers(len(scanners)))]
            phantom = draw_lung(generator, label=label, shape=shape, tilt=scanner.tilt)
            patient = _known(to_lung_patient(phantom, f"S{number}-L{index + 1:04d}", scanner, generator), generator)
            _write_patient(site, patient, scanner, f"{seed}/{number}", STYLES[(number - 1) % len(STYLES)])
            cohort.append(patient)
            if progress:
                progress((number - 1) * patients + index + 1, sites * patients)
        write_tables(site, cohort, LUNG_OMICS)
        write_key(site / ROOM, public_key(seed, number))
        folders.append(site)
    return tuple(folders)


def _known(patient: Patient, generator: np.random.Generator) -> Patient:
    """Return a patient as the hospital knows it: something is missing at times."""
    no_label, no_mask = generator.random(2) < (LACKS_LABEL, LACKS_MASK)
    assert patient.omics is not None
    return replace(
        patient,
        omics=np.where(generator.random(len(LUNG_OMICS)) < LACKS_CELL, np.nan, patient.omics),
        label=None if no_label else patient.label,
        mask=None if no_mask else patient.mask,
    )


def _write_patient(site: Path, patient: Patient, scanner: CTScanner, key: str, description: str) -> None:
    study = Study(patient.identifier, f"lung/{key}/{patient.identifier}", site.name, {"CT": description})
    write_ct_series(site / "dicom" / patient.identifier / "1", study, patient.volumes["CT"], 1, scanner)
    if patient.mask is not None:
        (site / "masks").mkdir(parents=True, exist_ok=True)
        write_mask(site / "masks" / f"{patient.identifier}.nii.gz", patient.mask)

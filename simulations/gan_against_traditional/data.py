"""Whose patients a study trains and tests on: site folders as hospitals have them, or drawn phantom hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.app import site_folders
from fedspine.cohort.patient import Patient
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan, Plan
from fedspine.errors import InputError
from fedspine.phantom.writer import write_consortium
from simulations.consortium import completed

PHANTOM_SITES, PHANTOM_PATIENTS = 4, 32
"""Of the phantom hospitals; a quarter of each is for testing."""

LEVELS = "T10-S1"
"""What the phantom hospitals scan: the field of view of a lumbar examination, in which a lesion is not a speck."""

TEST_SHARE = 0.25
FEWEST_TESTED = 2
"""Patients of every site that are tested, at the least."""


@dataclass(frozen=True, eq=False)
class StudySite:
    """One hospital's patients.

    Args:
        name: of the site folder.
        train: who may train.
        test: who is tested, the same whatever the seed, so that arms and seeds can be paired.
    """

    name: str
    train: tuple[PatientTensors, ...]
    test: tuple[PatientTensors, ...]

    def some(self, amount: int | None, seed: int) -> list[PatientTensors]:
        """Return `amount` training patients, another draw for every seed, a larger amount holding the smaller one's.

        Args:
            amount: `None` for all; a site that has fewer gives all.
            seed: of the draw.
        """
        order = np.random.default_rng([seed, len(self.train)]).permutation(len(self.train))
        return [self.train[index] for index in sorted(order[:amount])]


def drawn_sites(out: Path, seed: int = 0) -> Path:
    """Return a folder of phantom hospitals, written the first time."""
    folder = out / "phantoms"
    if not folder.exists():
        write_consortium(
            folder, sites=PHANTOM_SITES, patients=PHANTOM_PATIENTS, seed=seed, shape=(6, 96, 96), levels=LEVELS
        )
    return folder


def load_sites(folder: Path, plan: Plan) -> tuple[Plan, list[StudySite]]:
    """Return the plan with its lists filled in, and the sites below `folder`.

    Raises:
        InputError: if there is no site folder, or a site has too few patients to train and to test.
    """
    if not folder.is_dir() or not site_folders(folder):
        raise InputError("--data must be a folder of site folders", "none at the place given", "name the right folder")
    folders = site_folders(folder)
    cohorts = [load_cohort(one) for one in folders]
    data = completed(plan.data, cohorts)
    sites = []
    for one, cohort in zip(folders, cohorts, strict=True):
        train, test = _divided(list(cohort.patients))
        if not train or not test:
            raise InputError(f"site {one.name} must have patients to train and to test", "too few", "leave it out")
        sites.append(
            StudySite(one.name, _tensors(train, cohort.omics_columns, data), _tensors(test, cohort.omics_columns, data))
        )
    return replace(plan, data=data), sites


def _divided(patients: Sequence[Patient]) -> tuple[list[Patient], list[Patient]]:
    """Return who trains and who tests: a quarter of every label, chosen at random but always alike."""
    order = np.random.default_rng(len(patients)).permutation(len(patients))
    shuffled = sorted((patients[index] for index in order), key=lambda patient: patient.label or "")
    wanted = max(FEWEST_TESTED, round(TEST_SHARE * len(patients)))
    chosen = {int((index + 0.5) * len(shuffled) / wanted) for index in range(wanted)}
    train = [patient for index, patient in enumerate(shuffled) if index not in chosen]
    return train, [shuffled[index] for index in sorted(chosen) if index < len(shuffled)]


def _tensors(patients: Sequence[Patient], columns: tuple[str, ...], data: DataPlan) -> tuple[PatientTensors, ...]:
    return tuple(to_tensors(patient, columns, data) for patient in patients)

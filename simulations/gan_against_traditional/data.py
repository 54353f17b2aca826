"""Whose patients a study trains and tests on: site folders as hospitals have them, or drawn phantom hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.app import site_folders
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import Plan
from fedspine.errors import InputError
from fedspine.phantom.writer import write_consortium
from simulations.consortium import completed

PHANTOM_SITES, PHANTOM_PATIENTS = 4, 32
"""Of the phantom hospitals."""

LEVELS = "T10-S1"
"""What the phantom hospitals scan: the field of view of a lumbar examination, in which a lesion is not a speck."""

HELD_SHARE, FEWEST_HELD = 0.25, 2
"""Of a site's patients, those who never train."""


@dataclass(frozen=True, eq=False)
class StudySite:
    """One hospital's patients.

    Args:
        name: of the site folder.
        patients: all of them.
        held: which never train, whatever the seed and the amount.
    """

    name: str
    patients: tuple[PatientTensors, ...]
    held: frozenset[int]

    def some(self, amount: int | None, seed: int) -> list[int]:
        """Return which `amount` patients train; everybody else is tested.

        Another draw for every seed, a larger amount holding the smaller one's.

        Args:
            amount: `None` for all that are not held; a site that has fewer gives all of these.
            seed: of the draw.
        """
        may = [index for index in range(len(self.patients)) if index not in self.held]
        order = np.random.default_rng([seed, len(may)]).permutation(len(may))
        return [may[index] for index in sorted(order[:amount])]


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
        held = _held([patient.label or "" for patient in cohort.patients])
        if len(held) >= len(cohort.patients):
            raise InputError(f"site {one.name} must have patients to train and to test", "too few", "leave it out")
        patients = tuple(to_tensors(patient, cohort.omics_columns, data) for patient in cohort.patients)
        sites.append(StudySite(one.name, patients, held))
    return replace(plan, data=data), sites


def _held(labels: Sequence[str]) -> frozenset[int]:
    """Return who never trains: a quarter of every label, chosen at random but always alike."""
    order = np.random.default_rng(len(labels)).permutation(len(labels)).tolist()
    shuffled: list[int] = sorted(order, key=lambda index: labels[index])
    wanted = max(FEWEST_HELD, round(HELD_SHARE * len(labels)))
    return frozenset(shuffled[min(int((i + 0.5) * len(labels) / wanted), len(labels) - 1)] for i in range(wanted))

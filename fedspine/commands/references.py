"""The patients that a finished run is judged by: real ones where somebody has them, else phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.site import load_cohort
from fedspine.cohort.split import split
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import HELD_OUT, TRAIN, Plan
from fedspine.errors import InputError

PHANTOMS = {TRAIN: 96, HELD_OUT: 48}
"""Phantoms that stand for real patients where there is no `--data`."""

_PURPOSES = {TRAIN: 1, HELD_OUT: 4}
"""Which draws these are: those of pre-training, which a generator may have seen, and others that it has not."""


@dataclass(frozen=True)
class References:
    """The patients that a run is judged by.

    Args:
        trained: those of the training fold.
        held_out: those who were kept from training.
        source: `"phantoms"` or `"site folders"`.
    """

    trained: list[PatientTensors]
    held_out: list[PatientTensors]
    source: str


def references(run: Path, plan: Plan, data: Path | None) -> References:
    """Return the patients on the plan's grid, in the folds in which the run had them: those of `data`, or phantoms.

    Raises:
        InputError: if the patients' pseudonyms, and so their folds, cannot be those of the run.
    """
    if data is None:
        sides = {fold: phantoms(plan, count, _PURPOSES[fold]) for fold, count in PHANTOMS.items()}
        return References(sides[TRAIN], sides[HELD_OUT], "phantoms")
    if not data.is_dir():
        raise InputError("--data must be a site folder or a folder of them", "none", "name the place")
    found: dict[str, list[PatientTensors]] = {TRAIN: [], HELD_OUT: []}
    for folder in _site_folders(data):
        state = run / "sites" / folder.name
        cohort = load_cohort(folder, state=state if state.is_dir() else None)
        if not cohort.key_kept:
            raise InputError(
                "a site's key must be kept, or who trained cannot be told",
                "a new one",
                "let the folder be written to, or name the run where it was used",
            )
        for fold, patients in split(cohort.patients, plan.seed, plan.data.held_out).items():
            found[fold] += [to_tensors(patient, cohort.omics_columns, plan.data) for patient in patients]
    return References(found[TRAIN], found[HELD_OUT], "site folders")


def _site_folders(data: Path) -> list[Path]:
    if any((data / part).exists() for part in ("dicom", "bids", "site.toml")):
        return [data]
    return sorted(folder for folder in data.iterdir() if folder.is_dir() and not folder.name.startswith("."))

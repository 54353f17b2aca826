"""The patients that a finished run is judged by: real ones where somebody has them, else phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.commands.audited import subject_of
from fedspine.config import HELD_OUT, TRAIN, Plan

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
    """Return the patients as the run's networks met them, in its folds: those of `data`, or phantoms.

    Patients are on the plan's grid, aligned and harmonised where the run did so; phantoms are as pre-training has them.

    Raises:
        InputError: see `audited.subject_of`.
    """
    if data is None:
        sides = {fold: phantoms(plan, count, _PURPOSES[fold]) for fold, count in PHANTOMS.items()}
        return References(sides[TRAIN], sides[HELD_OUT], "phantoms")
    sites = subject_of(run, data).sites
    trained, held_out = ([one for site in sites for one in site.patients[fold]] for fold in (TRAIN, HELD_OUT))
    return References(trained, held_out, "site folders")

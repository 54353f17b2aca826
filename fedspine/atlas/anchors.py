"""Public anchors: phantoms as rows of image features and omics.

Negatives of the contrastive loss, the points of the shared map, and the prior of every scale come from here and never
from patients. Anchors are drawn from the plan's seed at the server; what hospitals need of them travels as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from fedspine.cohort.patient import Patient
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan, Plan
from fedspine.harmony.features import features
from fedspine.phantom.brain.look import BRAIN_CONTRASTS
from fedspine.phantom.genome import CLASSES, OMICS_COLUMNS
from fedspine.phantom.public import public_patients
from fedspine.phantom.scanner import EVERY_CONTRAST
from fedspine.phantom.structures import STRUCTURES

COUNT = 120
"""Anchors of a plan."""


def phantoms(plan: Plan, count: int, purpose: int, *, once: bool = False) -> list[PatientTensors]:
    """Return public phantoms on the plan's grid.

    Omics columns that phantoms do not know are drawn from a standard normal (in the units of `PatientTensors.omics`),
    so that anchors of a foreign omics table are spread out rather than all alike.

    Args:
        plan: contrasts, classes, omics, grid and seed.
        count: how many.
        purpose: tells draws apart: 0 anchors, 1 pre-training, 2 examples for the report.
        once: whether nobody will ask for them again, so that they are not kept in memory.
    """
    return on_grid(plan, drawn(plan, count, purpose, once=once), purpose)


def on_grid(plan: Plan, patients: Sequence[Patient], purpose: int) -> list[PatientTensors]:
    """Return phantoms on the plan's grid, with its classes and its omics columns; see `phantoms`."""
    data = plan.data
    tensors = [to_tensors(_relabelled(patient, data), OMICS_COLUMNS, data) for patient in patients]
    foreign = torch.tensor([name not in OMICS_COLUMNS for name in data.omics])
    if bool(foreign.any()):
        random = np.random.default_rng([plan.seed, purpose])
        for patient in tensors:
            values = torch.from_numpy(random.normal(size=len(data.omics)).astype(np.float32))
            patient.omics[foreign] = values[foreign]
            patient.omics_present[foreign] = 1.0
    return tensors


def _relabelled(patient: Patient, data: DataPlan) -> Patient:
    """Return the phantom with a class of the plan.

    Where the plan's classes are all foreign, the phantoms' own take their places in turn: what tells them apart is
    learned in pre-training, what they mean only from patients. Of heads only those with a tumour do: whoever names
    classes of gliomas has no patient without one.
    """
    classes = data.classes
    if not classes or patient.label is None or set(classes) & set(CLASSES):
        return patient
    own = CLASSES[1:] if data.body == "brain" else CLASSES
    label = classes[own.index(patient.label) % len(classes)] if patient.label in own else None
    return replace(patient, label=label)


_ROWS: WeakKeyDictionary[PatientTensors, tuple[Tensor, Tensor]] = WeakKeyDictionary()
"""Rows computed so far; an entry goes with its patient."""


def rows_of(patient: PatientTensors) -> tuple[Tensor, Tensor]:
    """Return one patient's image features and omics as one row, and which are known: both (feature + omics,)."""
    if patient not in _ROWS:
        values, known = features(patient) if patient.harmonised is None else patient.harmonised
        _ROWS[patient] = torch.cat([values, patient.omics]), torch.cat([known, patient.omics_present])
    return _ROWS[patient]


def anchor_rows(plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the anchors' rows and which entries are known: both (anchor, feature + omics)."""
    rows = [rows_of(patient) for patient in phantoms(plan, COUNT, purpose=0)]
    return torch.stack([values for values, _ in rows]), torch.stack([known for _, known in rows])


def anchor_labels(plan: Plan) -> list[str]:
    """Return the anchors' classes as words."""
    return [patient.label or "" for patient in drawn(plan, COUNT, 0)]


def prior(plan: Plan) -> dict[str, Tensor]:
    """Return the anchors' mean and deviation per column; columns that phantoms do not have get 0 and 1."""
    values, known = anchor_rows(plan)
    count = known.sum(0)
    mean = (values * known).sum(0) / count.clamp(min=1)
    variance = ((values - mean) ** 2 * known).sum(0) / (count - 1).clamp(min=1)
    deviation = torch.where(count > 1, variance.sqrt().clamp(min=1e-2), torch.ones_like(mean))
    return {"prior.mean": torch.where(count > 1, mean, torch.zeros_like(mean)), "prior.deviation": deviation}


def drawn(plan: Plan, count: int, purpose: int, *, once: bool = False) -> tuple[Patient, ...]:
    """Return public phantoms with their own classes and omics, each with the resolution of the plan's grid."""
    data = plan.data
    shape = (data.slices, data.size, data.size)
    seed, contrasts = 1000 * plan.seed + purpose, scanned(data.contrasts)
    draw = _public.__wrapped__ if once else _public
    return draw(count, seed, contrasts, shape, data.levels, data.structures, data.body)


def scanned(contrasts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bare names of contrasts: phantoms have one plane, and which name that is, `Patient.find` knows."""
    return tuple(dict.fromkeys(name.split(" ")[0] for name in contrasts))


def depicts(data: DataPlan) -> bool:
    """Return whether phantoms have images of one of the plan's contrasts, and masks of its structures.

    Those of a plan with CT alone are chests; they, and heads, know no structure but the lesion.
    """
    names = scanned(data.contrasts)
    chests = bool(names) and set(names) == {"CT"}
    contrasts = ("CT",) if chests else BRAIN_CONTRASTS if data.body == "brain" else EVERY_CONTRAST
    structures = ("lesion",) if chests or data.body == "brain" else tuple(STRUCTURES)
    return bool(set(names) & set(contrasts)) and set(data.structures) <= set(structures)


@lru_cache(maxsize=4)
def _public(
    count: int,
    seed: int,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int],
    levels: str,
    structures: tuple[str, ...],
    body: str,
) -> tuple[Patient, ...]:
    return public_patients(
        count, seed, contrasts=contrasts, shape=shape, levels=levels, structures=structures, body=body
    )

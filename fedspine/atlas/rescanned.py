"""The same phantoms on every scanner, on a plan's grid: no hospital has these; they show a scanner's effect alone."""

from __future__ import annotations

import numpy as np

from fedspine.atlas.anchors import on_grid, scanned
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.patient import draw, to_patient
from fedspine.phantom.scanner import SCANNERS, ScannerModel


def scanner_name(scanner: ScannerModel) -> str:
    """Return a scanner's name for a report.

    >>> scanner_name(SCANNERS[0])
    'Aera 1.5 T'
    """
    return f"{scanner.model.split()[-1]} {scanner.field_tesla:g} T"


def rescanned(plan: Plan, count: int, purpose: int) -> list[list[PatientTensors]]:
    """Return, for each of `phantom.scanner.SCANNERS`, the same `count` phantoms with the same noise.

    Empty where the plan asks for CT alone or for heads: those phantoms have one scanner.

    Args:
        plan: contrasts, classes, grid, levels and seed.
        count: phantoms, classes in turn.
        purpose: tells draws apart, see `anchors.phantoms`.
    """
    data, contrasts = plan.data, scanned(plan.data.contrasts)
    if contrasts == ("CT",) or data.body != "spine":
        return []
    shape = (max(data.slices, 2), data.size, data.size)
    people = [
        draw(
            np.random.default_rng([plan.seed, purpose, index]),
            label=CLASSES[index % len(CLASSES)],
            shape=shape,
            levels=data.levels,
        )
        for index in range(count)
    ]
    return [
        on_grid(plan, [to_patient(one, "phantom", scanner, contrasts=contrasts) for one in people], purpose)
        for scanner in SCANNERS
    ]

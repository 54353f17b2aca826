"""Phantoms of four hospitals, each of whom is examined on a scanner that nobody has seen as well."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedspine.atlas.anchors import on_grid
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.phantom.genome import CLASSES, expected_expression
from fedspine.phantom.patient import Phantom, draw, to_patient
from fedspine.phantom.scanner import SCANNERS, ScannerModel

SEEN, UNSEEN = (0, 1, 2, 5), (3, 4)
"""Which of `phantom.scanner.SCANNERS` the hospitals have, and which join later."""

JOINING = 20
"""Patients by whose sums a scanner joins."""


Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class People:
    """Phantoms and their examinations.

    Args:
        site: (person,) which of `SEEN`'s hospitals each goes to.
        label: (person,) index of the class.
        truth: (person,) the markers' mean as an assay without error would measure them.
        seen: each at the own hospital.
        unseen: each on one of `UNSEEN`.
        joining: other people, `JOINING` on each of `UNSEEN`.
    """

    site: Labels = field(repr=False)
    label: Labels = field(repr=False)
    truth: Array = field(repr=False)
    seen: list[PatientTensors] = field(repr=False)
    unseen: list[PatientTensors] = field(repr=False)
    joining: list[PatientTensors] = field(repr=False)


def people(plan: Plan, patients: int, seed: int) -> People:
    """Return `patients` a hospital, classes in turn at each."""
    count = patients * len(SEEN)
    drawn = [_person(plan, index, seed) for index in range(count)]
    site = np.arange(count) // len(CLASSES) % len(SEEN)
    others = [_person(plan, count + index, seed) for index in range(JOINING * len(UNSEEN))]
    expected = np.stack([expected_expression(one.tumour, one.pathways)[:5] for one in drawn])
    shown = np.arcsinh(expected)
    return People(
        site,
        np.array([CLASSES.index(one.label) for one in drawn]),
        ((shown - shown.mean(0)) / shown.std(0)).mean(1),
        [_examined(plan, one, SCANNERS[SEEN[s]], 0) for one, s in zip(drawn, site, strict=True)],
        [_examined(plan, one, SCANNERS[UNSEEN[i % 2]], i % 2) for i, one in enumerate(drawn)],
        [_examined(plan, one, SCANNERS[UNSEEN[i % 2]], i % 2) for i, one in enumerate(others)],
    )


def _person(plan: Plan, index: int, seed: int) -> Phantom:
    data = plan.data
    shape = (data.slices, data.size, data.size)
    random = np.random.default_rng([seed, 31, index])
    return draw(random, label=CLASSES[index % len(CLASSES)], shape=shape, levels=data.levels)


def _examined(plan: Plan, person: Phantom, scanner: ScannerModel, batch: int) -> PatientTensors:
    patient = to_patient(person, "phantom", scanner, contrasts=plan.data.contrasts)
    return replace(on_grid(plan, [patient], 31)[0], batch=batch)

"""Phantoms in memory: anchors and pre-training material that cost no privacy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Patient
from fedspine.errors import InputError
from fedspine.phantom.brain.person import public_brains
from fedspine.phantom.genome import CLASSES, expected_expression
from fedspine.phantom.graph import entropy_from, run
from fedspine.phantom.levels import EVERY_LEVEL
from fedspine.phantom.lung.person import public_lungs
from fedspine.phantom.patient import Phantom, draw, to_patient
from fedspine.phantom.person import GRAPH
from fedspine.phantom.scanner import SCANNERS


def public_patients(
    count: int,
    seed: int,
    *,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int] = (8, 64, 64),
    levels: str = EVERY_LEVEL,
    structures: tuple[str, ...] = (),
    body: str = "spine",
) -> tuple[Patient, ...]:
    """Return `count` phantoms, classes in turn, each on a scanner drawn at random.

    Every patient is drawn from its own stream: the first ten of twenty are the ten of ten. The same seed gives the same
    voxels on every machine. A contrast that no scanner knows is absent. `levels` is the part of the spine that is
    shown, such as "C1-C7". `structures` are those of the mask; the lesion alone if none is named, and no mask if one
    is not in `structures.STRUCTURES`. Where all contrasts are CT, the phantoms are chests with lung nodules, without
    omics; else `body`, one of `config.BODIES`, may ask for heads with gliomas, without omics.
    """
    if count < 0 or seed < 0:
        raise InputError("the number of phantoms and their seed must be 0 or more", "a negative number", "raise it")
    if contrasts and all(contrast.split()[0] == "CT" for contrast in contrasts):
        return public_lungs(count, seed, shape, structures)
    if body == "brain":
        return public_brains(count, seed, contrasts=contrasts, shape=shape, structures=structures)
    return tuple(_public_patient(index, seed, contrasts, shape, levels, structures) for index in range(count))


def public_twins(
    count: int,
    seed: int,
    *,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int] = (8, 64, 64),
    levels: str = EVERY_LEVEL,
) -> tuple[Patient, ...]:
    """Return the first `count` of `public_patients`, spines all, each on another scanner: a counterfactual examination.

    The noise is the person's own, so the scanner alone differs; the others take turns.
    """
    scans = []
    for index in range(count):
        phantom = _person(index, seed, shape, levels)
        others = [scanner for scanner in SCANNERS if scanner is not phantom.scanner]
        other = others[index % len(others)]
        scans.append(to_patient(phantom, f"phantom-{index:04d}", other, contrasts=contrasts))
    return tuple(scans)


def public_genomes(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return omics of `count` phantoms that nobody examined, and what assays without error would have measured.

    Returns:
        (phantom, column) in the order of `OMICS_COLUMNS`; and (phantom, column) of the columns after the mutations.
    """
    measured, expected = [], []
    for index in range(count):
        entropy = entropy_from(np.random.default_rng([seed, index]))
        label = {"label": CLASSES[index % len(CLASSES)]}
        drawn = run(GRAPH, entropy, label, wanted=("omics", "tumour", "pathways"))
        measured.append(drawn["omics"])
        expected.append(expected_expression(drawn["tumour"], drawn["pathways"]))
    return np.stack(measured), np.stack(expected)


def _public_patient(
    index: int,
    seed: int,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int],
    levels: str,
    structures: tuple[str, ...],
) -> Patient:
    phantom = _person(index, seed, shape, levels)
    return to_patient(phantom, f"phantom-{index:04d}", phantom.scanner, contrasts=contrasts, structures=structures)


def _person(index: int, seed: int, shape: tuple[int, int, int], levels: str) -> Phantom:
    generator = np.random.default_rng([seed, index])
    return draw(generator, label=CLASSES[index % len(CLASSES)], shape=shape, levels=levels)

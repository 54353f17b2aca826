"""How a network's score falls as images get worse: noise, bias field, contrast, a missing sequence, another scanner.

Each patient is their own control: the same patient with and without the change, the change drawn alike at every
strength, so that curves are smooth and differences paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.bootstrap import Estimate, mean_interval

Score = Callable[[PatientTensors], float | None]
"""What a network gets on one patient, such as Dice; higher is better, `None` where there is nothing to score."""

Change = Callable[[PatientTensors, float, torch.Generator], PatientTensors]

BRIGHTEST = 1.5
"""Images lie in [0, `BRIGHTEST`], before and after."""

_DEGREE = 3


@dataclass(frozen=True)
class Shift:
    """One way in which images get worse.

    Args:
        name: in a report.
        unit: of the strength, in words.
        levels: strengths; the first leaves images as they are.
        change: of (patient, strength, draws); only images change.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    change: Change


@dataclass(frozen=True)
class Point:
    """A score at one strength.

    Args:
        level: the strength, or the name of a contrast or a scanner.
        score: mean over patients.
        loss: mean over patients of (score - score of the same patient without the change).
    """

    level: float | str
    score: Estimate
    loss: Estimate


@dataclass(frozen=True)
class Curve:
    """Scores over the strengths of one change; `unit` is empty where these are names."""

    name: str
    unit: str
    points: tuple[Point, ...]


def rician(patient: PatientTensors, deviation: float, draws: torch.Generator) -> PatientTensors:
    """Return the patient with Rician noise: the magnitude of a complex image with noise of `deviation` in each part."""
    parts = torch.randn(2, *patient.images.shape, generator=draws) * deviation
    return _changed(patient, ((patient.images + parts[0]).square() + parts[1].square()).sqrt())


def biased(patient: PatientTensors, strength: float, draws: torch.Generator) -> PatientTensors:
    """Return the patient under a smooth field from exp(-strength) to exp(strength), one for each contrast."""
    rows, columns = (torch.linspace(-1, 1, side) for side in patient.images.shape[2:])
    powers = [rows[:, None] ** i * columns[None] ** j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)][1:]
    weights = torch.randn(patient.images.shape[1], len(powers), generator=draws)
    field = torch.einsum("cp,pxy->cxy", weights, torch.stack(powers))
    field = field - (field.amax((1, 2), keepdim=True) + field.amin((1, 2), keepdim=True)) / 2
    field = field / field.abs().amax((1, 2), keepdim=True)
    return _changed(patient, patient.images * (strength * field).exp())


def contrast_scaled(patient: PatientTensors, exponent: float, draws: torch.Generator) -> PatientTensors:
    """Return the patient with intensities to the power of exp(± strength), the sign drawn once for each contrast."""
    signs = (torch.rand(patient.images.shape[1], generator=draws) < 0.5).float() * 2 - 1
    return _changed(patient, patient.images.clamp(min=0) ** (exponent * signs).exp()[:, None, None])


SHIFTS = (
    Shift("Rician noise", "standard deviation (brightest tissue is about 1)", (0.0, 0.03, 0.06, 0.12, 0.24), rician),
    Shift("bias field", "strength (logarithm of the largest gain)", (0.0, 0.2, 0.4, 0.8, 1.2), biased),
    Shift("contrast scaling", "strength (logarithm of the exponent)", (0.0, 0.15, 0.3, 0.6, 0.9), contrast_scaled),
)


def curves(score: Score, patients: Sequence[PatientTensors], contrasts: Sequence[str], seed: int = 0) -> list[Curve]:
    """Return a curve for each of `SHIFTS`, and one over the contrasts left out one at a time.

    Args:
        score: of one patient.
        patients: whom the network was not trained on.
        contrasts: names of the images' channels.
        seed: of the changes.
    """
    plain = _scores(score, patients)
    found = []
    for shift in SHIFTS:
        points = []
        for level in shift.levels:
            changed = [shift.change(p, level, _draws(seed, i)) if level else p for i, p in enumerate(patients)]
            points.append(_point(level, _scores(score, changed), plain))
        found.append(Curve(shift.name, shift.unit, tuple(points)))
    if len(contrasts) > 1:
        missing = [_point("none", plain, plain)]
        for index, name in enumerate(contrasts):
            scores = [score(without(p, index)) if _has_others(p, index) else None for p in patients]
            missing.append(_point(name, _array(scores), plain))
        found.append(Curve("missing contrast", "", tuple(missing)))
    return found


def scanner_curve(score: Score, scans: Sequence[Sequence[PatientTensors]], names: Sequence[str]) -> Curve:
    """Return the scores of the same patients on several scanners; the loss is against each patient's own mean.

    Args:
        score: of one patient.
        scans: of each scanner, the same patients in the same order; only phantoms can be scanned so often.
        names: of the scanners.
    """
    table = np.stack([_scores(score, patients) for patients in scans])
    own = table.mean(axis=0)
    return Curve("scanner", "", tuple(_point(name, scores, own) for name, scores in zip(names, table, strict=True)))


def without(patient: PatientTensors, contrast: int) -> PatientTensors:
    """Return the patient without one of the contrasts."""
    kept = torch.ones_like(patient.present)
    kept[contrast] = 0
    return replace(patient, images=patient.images * kept[:, None, None], present=patient.present * kept)


def _has_others(patient: PatientTensors, contrast: int) -> bool:
    return bool(patient.present[contrast]) and float(patient.present.sum()) > 1


def _changed(patient: PatientTensors, images: Tensor) -> PatientTensors:
    """Return the patient with these images; a contrast that is missing stays empty."""
    return patient.with_images(images.clamp(0, BRIGHTEST) * patient.present[:, None, None], patient.mask)


def _draws(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(1_000_003 * seed + index)


def _scores(score: Score, patients: Sequence[PatientTensors]) -> np.ndarray:
    return _array([score(patient) for patient in patients])


def _array(scores: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if one is None else one for one in scores], dtype=np.float64)


def _point(level: float | str, scores: np.ndarray, plain: np.ndarray) -> Point:
    return Point(level, mean_interval(scores), mean_interval(scores - plain))

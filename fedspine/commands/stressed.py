"""What a stress test of one network gives, as JSON has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from fedspine.atlas.rescanned import rescanned, scanner_name
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.evaluation.gradcam import localisation
from fedspine.evaluation.robustness import Curve, curves, scanner_curve
from fedspine.phantom.scanner import SCANNERS
from fedspine.tasks._task import Explained, Rated

RESCANNED = 24
"""Phantoms that are scanned on every scanner."""

_PURPOSE = 5


def stressed(plan: Plan, task: Rated, model: nn.Module, patients: Sequence[PatientTensors]) -> dict[str, Any]:
    """Return curves, and localisation where there is any, of one network on patients whom it was not trained on."""
    score = partial(task.score, model)
    found = curves(score, patients, plan.data.contrasts, plan.seed)
    scans = rescanned(plan, RESCANNED, _PURPOSE)
    if scans:
        found.append(scanner_curve(score, scans, [scanner_name(scanner) for scanner in SCANNERS]))
    looks = {"grad-cam": _looks(task, model, patients, plan.seed)} if isinstance(task, Explained) else {}
    return {"score": task.measure, "curves": [_as_dict(curve) for curve in found], **looks}


def _looks(task: Explained, model: nn.Module, patients: Sequence[PatientTensors], seed: int) -> dict[str, Any]:
    found = localisation(model, task.explained, patients, every=task.pixelwise, seed=seed)
    return {
        "inside": found.inside.as_dict(),
        "randomised": found.randomised.as_dict(),
        "gain": found.gain.as_dict(),
        "by chance": found.by_chance if math.isfinite(found.by_chance) else None,
        "patients": found.patients,
        "layer": found.layer,
    }


def _as_dict(curve: Curve) -> dict[str, Any]:
    points = [{"level": p.level, "score": p.score.as_dict(), "loss": p.loss.as_dict()} for p in curve.points]
    return {"name": curve.name, "unit": curve.unit, "points": points}

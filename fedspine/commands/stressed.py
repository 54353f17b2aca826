"""What a stress test of one network gives, as JSON has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from fedspine.atlas.rescanned import rescanned, scanner_name
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.evaluation.gradcam import localisation
from fedspine.evaluation.robustness import Curve, curves, scanner_curve
from fedspine.phantom.scanner import SCANNERS
from fedspine.tasks._scores import SCORES, explained, score_of
from fedspine.tasks._task import Trained
from fedspine.tasks.segment import Segment

RESCANNED = 24
"""Phantoms that are scanned on every scanner."""

_PURPOSE = 5


def stressed(plan: Plan, task: Trained, model: nn.Module, patients: Sequence[PatientTensors]) -> dict[str, Any]:
    """Return curves and localisation of one network on patients whom it was not trained on."""
    score = score_of(task, model)
    found = curves(score, patients, plan.data.contrasts, plan.seed)
    scans = rescanned(plan, RESCANNED, _PURPOSE)
    if scans:
        found.append(scanner_curve(score, scans, [scanner_name(scanner) for scanner in SCANNERS]))
    looks = localisation(model, explained(task), patients, every=isinstance(task, Segment), seed=plan.seed)
    return {
        "score": SCORES[type(task)],
        "curves": [_as_dict(curve) for curve in found],
        "grad-cam": {
            "inside": looks.inside.as_dict(),
            "randomised": looks.randomised.as_dict(),
            "gain": looks.gain.as_dict(),
            "by chance": looks.by_chance if math.isfinite(looks.by_chance) else None,
            "patients": looks.patients,
            "layer": looks.layer,
        },
    }


def _as_dict(curve: Curve) -> dict[str, Any]:
    points = [{"level": p.level, "score": p.score.as_dict(), "loss": p.loss.as_dict()} for p in curve.points]
    return {"name": curve.name, "unit": curve.unit, "points": points}

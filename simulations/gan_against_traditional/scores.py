"""How one tested patient fares under a trained network."""

from __future__ import annotations

import math

import torch
from torch import nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.segmentation import mask_metrics
from fedspine.tasks._task import Trained
from fedspine.tasks.classify import Classify
from fedspine.tasks.segment import Segment


def scores_of(task: Trained, model: nn.Module, patient: PatientTensors) -> dict[str, float]:
    """Return the patient's scores; NaN where the patient cannot be scored.

    `segment`: Dice over the patient's whole volume, and whether a lesion was found at all (recall). `classify`:
    whether the class is right, and the probability given to it.
    """
    model.eval()
    with torch.no_grad():
        if isinstance(task, Segment):
            return _segmented(task, model, patient)
        assert isinstance(task, Classify)
        if patient.label < 0 or not patient.has_image:
            return {"accuracy": math.nan, "probability": math.nan}
        probabilities = task.predict(model, patient).softmax(-1)
        right = float(int(probabilities.argmax()) == patient.label)
        return {"accuracy": right, "probability": float(probabilities[patient.label])}


def _segmented(task: Segment, model: nn.Module, patient: PatientTensors) -> dict[str, float]:
    if patient.lesion is None or not patient.has_image or not bool(patient.lesion.any()):
        return {"dice": math.nan, "recall": math.nan}
    dice = mask_metrics(task.segmented(model, patient)[:, 0], patient.lesion[:, 0], (1.0, 1.0, 1.0))["dice"]
    return {"dice": dice, "recall": float(dice >= 0.1)}

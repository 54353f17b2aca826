"""One patient's score under a trained task, and what its network is asked to explain: for studies and stress tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.metrics.meandice import compute_dice
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.robustness import Score
from fedspine.tasks._task import Trained
from fedspine.tasks.classify import Classify
from fedspine.tasks.segment import Segment

SCORES = {Segment: "Dice", Classify: "accuracy"}
"""Tasks that can be scored a patient at a time, and what the score is called."""

_SURE = 1e-6


def score_of(task: Trained, model: nn.Module) -> Score:
    """Return the function that scores one patient: the first structure's Dice over all slices, or 1 where right."""

    def score(patient: PatientTensors) -> float | None:
        if not patient.has_image:
            return None
        with torch.no_grad():
            if isinstance(task, Segment):
                if patient.mask is None or not bool(patient.mask[:, 0].any()):
                    return None
                found = task.segmented(model, patient)[:, 0]
                return float(compute_dice(found[None, None], patient.mask[None, None, :, 0]))
            assert isinstance(task, Classify)
            return float(int(task.predict(model, patient).argmax()) == patient.label) if patient.label >= 0 else None

    return score


def explained(task: Trained) -> Callable[[nn.Module, PatientTensors], Tensor]:
    """Return the scalar whose Grad-CAM is drawn.

    For a classifier the logit of the patient's class, or of the class it names where there is no label. For a U-Net the
    sum of the log-odds of the pixels that it takes for lesion, of all pixels where it takes none (Seg-Grad-CAM,
    Vinogradova 2020); probabilities would be silent where the network is sure.
    """

    def target(model: nn.Module, patient: PatientTensors) -> Tensor:
        if isinstance(task, Segment):
            odds = task.predict(model, patient)[:, 0].clamp(_SURE, 1 - _SURE).logit()
            found = odds.detach() > 0
            return odds[found].sum() if bool(found.any()) else odds.sum()
        assert isinstance(task, Classify)
        logits = task.predict(model, patient)
        return logits[patient.label if patient.label >= 0 else int(logits.argmax())]

    return target

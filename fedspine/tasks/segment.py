"""`segment`: a U-Net finds the tumour in every slice, whatever contrasts are there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from monai.losses.dice import DiceCELoss
from monai.metrics.meandice import compute_dice
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.evaluation.classification import binary_metrics
from fedspine.networks.parts import chosen_parameters
from fedspine.networks.unet import unet
from fedspine.strict import build
from fedspine.tasks._task import Shared, network_input

FOUND = 0.1
"""A lesion counts as found when its Dice reaches this."""

UNIT = 1 / math.sqrt(2)


@dataclass(frozen=True)
class Options:
    """Settings of the stage; `features` are the U-Net's six widths."""

    features: tuple[int, ...] = (8, 8, 16, 32, 64, 8)


@dataclass(frozen=True)
class Segment:
    """The task; see `Trained` and `Scored` in `_task`."""

    channels: int
    options: Options
    trained: str = "norms and head"
    loss_bound: float = 2.0
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self) -> nn.Module:
        """Return the U-Net."""
        return unet(self.channels, self.options.features)

    def predict(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return logits (slice, 1, row, column)."""
        result: Tensor = model(network_input(patient))
        return result

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return Dice plus cross-entropy over all slices of the patient taken as one volume."""
        if patient.mask is None or not patient.has_image:
            return None
        logits = self.predict(model, patient)
        volume, truth = (x.transpose(0, 1).unsqueeze(0) for x in (logits, patient.mask))  # (1, 1, slice, row, column)
        loss: Tensor = DiceCELoss(sigmoid=True)(volume, truth)
        return loss

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train: all weights, or norms and head."""
        return chosen_parameters(model, self.trained)

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: phantoms are used before round 1."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """`found`: (truth has lesion, lesion found) patients; `dice`: sum of Dice over patients with a lesion."""
        return {"found": torch.zeros(2, 2), "dice": torch.zeros(())}

    def units(self) -> dict[str, float]:
        """Return a patient's weight: two entries of at most 1, together of norm 1."""
        return {"found": UNIT, "dice": UNIT}

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, scaled to norm 1: Dice is over the whole volume."""
        if patient.mask is None or not patient.has_image:
            return None
        predicted = (self.predict(model, patient) > 0).float()
        has_lesion, has_prediction = bool(patient.mask.any()), bool(predicted.any())
        dice = float(compute_dice(predicted.reshape(1, 1, -1), patient.mask.reshape(1, 1, -1))) if has_lesion else 0.0
        found = dice >= FOUND if has_lesion else has_prediction
        counts = self.counts()
        counts["found"][int(has_lesion), int(found)] = 1.0
        counts["dice"] += dice
        return {key: value * UNIT for key, value in counts.items()}

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return Dice over patients with a lesion, and recall, precision, specificity of finding it at all."""
        found = counts["found"] / UNIT
        (true_negative, false_positive), (false_negative, true_positive) = found.clamp(min=0).tolist()
        lesions = true_positive + false_negative
        dice = float(counts["dice"]) / UNIT / lesions if lesions >= 0.5 else math.nan
        detection = binary_metrics(true_positive, false_positive, true_negative, false_negative)
        return {"dice": min(max(dice, 0.0), 1.0) if not math.isnan(dice) else dice, **detection}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Segment:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    return Segment(2 * len(plan.data.contrasts), options, stage.trained or "norms and head")

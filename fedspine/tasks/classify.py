"""`classify`: a ResNet names the patient's class from all slices together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.evaluation.classification import auc_from_histogram, multiclass_metrics
from fedspine.networks.parts import chosen_parameters
from fedspine.networks.resnet import resnet
from fedspine.strict import build
from fedspine.tasks._task import Shared, network_input

BINS = 10
CONFUSION, HISTOGRAM = 0.8, 0.6
"""How a patient's unit of norm is shared: a confusion one-hot of 0.8 and score one-hots of 0.6 together."""


@dataclass(frozen=True)
class Options:
    """Settings of the stage; `widths` are the channels of the ResNet's stages."""

    widths: tuple[int, ...] = (8, 16, 32, 32)


@dataclass(frozen=True)
class Classify:
    """The task; see `Trained` and `Scored` in `_task`."""

    channels: int
    classes: int
    options: Options
    trained: str = "norms and head"
    loss_bound: float = 2.0
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self) -> nn.Module:
        """Return the ResNet."""
        return resnet(self.channels, self.classes, self.options.widths)

    def predict(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the patient's logits (class,): the mean over slices of log-probabilities."""
        logits: Tensor = model(network_input(patient))
        return logits.log_softmax(dim=-1).mean(0)

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return cross-entropy, with no class weights: these would come from other patients."""
        if patient.label < 0 or not patient.has_image:
            return None
        return F.cross_entropy(self.predict(model, patient), torch.tensor(patient.label))

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train: all weights, or norms and head."""
        return chosen_parameters(model, self.trained)

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: phantoms are used before round 1."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """`confusion`: (truth, predicted); `scores`: (truth, class, bin) of the probability given to each class."""
        k = self.classes
        return {"confusion": torch.zeros(k, k), "scores": torch.zeros(k, k, BINS)}

    def units(self) -> dict[str, float]:
        """Return a patient's weight in the confusion table and in each of the histograms."""
        return {"confusion": CONFUSION, "scores": HISTOGRAM / math.sqrt(self.classes)}

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, of norm 1."""
        if patient.label < 0 or not patient.has_image:
            return None
        probabilities = self.predict(model, patient).softmax(-1)
        if not bool(torch.isfinite(probabilities).all()):
            return None
        bins = (probabilities * BINS).long().clamp(max=BINS - 1)
        counts = self.counts()
        counts["confusion"][patient.label, int(probabilities.argmax())] = CONFUSION
        counts["scores"][patient.label, torch.arange(self.classes), bins] = self.units()["scores"]
        return counts

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return accuracy, macro precision, recall, specificity, F1, and AUC-ROC from the histograms."""
        confusion = counts["confusion"] / CONFUSION
        return {**multiclass_metrics(confusion), "auc": auc_from_histogram(counts["scores"] / self.units()["scores"])}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Classify:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    channels, classes = 2 * len(plan.data.contrasts), max(len(plan.data.classes), 2)
    return Classify(channels, classes, options, stage.trained or "norms and head")

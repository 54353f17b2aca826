"""`classify`: a network names the patient's class from all slices together, and learns from masks where to look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import PARTS, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.evaluation.classification import histogram_metrics, multiclass_metrics
from fedspine.networks.encoders import encoder
from fedspine.networks.lesion_classifier import LesionClassifier, Seen
from fedspine.networks.parts import chosen_parameters, prepared
from fedspine.strict import build
from fedspine.tasks._slices import arranged, with_fewer_contrasts
from fedspine.tasks._task import Shared, need_images

BINS = 10
TRAINS = PARTS

CONFUSION, HISTOGRAM = 0.8, 0.6
"""How a patient's unit of norm is shared: a confusion one-hot of 0.8 and score one-hots of 0.6 together."""


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        network: `networks.encoders.ENCODERS`.
        dimensions: 2 for slices one by one, 3 for volumes.
        widths: of the encoder's four stages.
        features: channels in which the scales meet.
        pooling: `networks.lesion_classifier.POOLINGS`.
        mask_weight: of the heat map's loss where a mask is known; 0 learns where to look from classes alone.
        class_weights: factor on a patient's loss by the patient's class, agreed in the plan and never counted from
            patients; 1 for all if left out.
        prior: how common each class is taken to be, a public guess: logit adjustment (Menon 2021, ICLR) lets the
            network learn what is left when that is known. Equal if left out.
        focus: exponent of the focal loss (Lin 2017, ICCV), which lowers the weight of easy patients; 0 for none.
        dropped: probability with which each contrast is left out in training.
    """

    network: str = "resnet"
    dimensions: int = 2
    widths: tuple[int, ...] = (8, 16, 32, 32)
    features: int = 16
    pooling: str = "attention"
    mask_weight: float = 1.0
    class_weights: tuple[float, ...] = ()
    prior: tuple[float, ...] = ()
    focus: float = 0.0
    dropped: float = 0.1


@dataclass(frozen=True)
class Classify:
    """The task; see `Trained`, `Scored`, `Rated` and `Explained` in `_task`.

    Args:
        channels: of the network's input.
        classes: names, in order.
        options: of the stage.
        trained: which weights patients train.
    """

    channels: int
    classes: tuple[str, ...]
    options: Options
    trained: str = "norms and head"
    loss_bound: float = 3.0
    betas: tuple[float, float] = (0.9, 0.999)
    measure: ClassVar[str] = "accuracy"
    pixelwise: ClassVar[bool] = False

    def build(self) -> nn.Module:
        """Return the network with fresh weights."""
        o = self.options
        maps = encoder(o.network, self.channels, o.widths, o.dimensions)
        network = LesionClassifier(maps, len(self.classes), o.features, o.pooling, o.dimensions)
        return prepared(network, self.trained)

    def look(self, model: nn.Module, patient: PatientTensors) -> Seen:
        """Return the patient's logits, and where the network looked."""
        seen: Seen = model(arranged(patient))
        return seen

    def predict(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the patient's logits (class,)."""
        return self.look(model, patient).logits

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return the loss of the class, and of the heat map where there is a mask; weights come from the plan alone."""
        learns_place = self.options.mask_weight > 0 and patient.lesion is not None
        if not patient.has_image or (patient.label < 0 and not learns_place):
            return None
        seen = self.look(model, with_fewer_contrasts(patient, self.options.dropped, draws))
        loss = seen.logits.new_zeros(())
        if patient.label >= 0:
            loss = loss + self.class_loss(seen.logits, patient.label)
        if learns_place and patient.lesion is not None:
            loss = loss + self.options.mask_weight * heat_loss(seen.heat, patient.lesion)
        return loss

    def class_loss(self, logits: Tensor, label: int) -> Tensor:
        """Return the weighted, focused and prior-adjusted cross-entropy of one patient's logits (class,)."""
        prior = torch.tensor(self.options.prior or [1.0] * len(logits)).to(logits)
        surprise = -(logits + (prior / prior.sum()).log()).log_softmax(-1)[label]
        weight = self.options.class_weights[label] if self.options.class_weights else 1.0
        return weight * (1 - (-surprise).exp()).pow(self.options.focus) * surprise

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train."""
        return chosen_parameters(model, self.trained)

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: phantoms are used before round 1."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """`confusion`: (truth, predicted); `scores`: (truth, class, bin) of the probability given to each class."""
        k = len(self.classes)
        return {"confusion": torch.zeros(k, k), "scores": torch.zeros(k, k, BINS)}

    def units(self) -> dict[str, float]:
        """Return a patient's weight in the confusion table and in each of the histograms."""
        return {"confusion": CONFUSION, "scores": HISTOGRAM / math.sqrt(len(self.classes))}

    def totals(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return nothing: all entries count patients."""
        return {}

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
        counts["scores"][patient.label, torch.arange(len(self.classes)), bins] = self.units()["scores"]
        return counts

    def score(self, model: nn.Module, patient: PatientTensors) -> float | None:
        """Return whether the patient's class is named."""
        if patient.label < 0 or not patient.has_image:
            return None
        with torch.no_grad():
            return float(int(self.predict(model, patient).argmax()) == patient.label)

    def explained(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the logit of the patient's class, or where there is no label of the class that is named."""
        logits = self.predict(model, patient)
        return logits[patient.label if patient.label >= 0 else int(logits.argmax())]

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return macro averages, AUC, AUPRC, Brier, calibration error, and how many of each class are recognised."""
        confusion = (counts["confusion"] / CONFUSION).double().clamp(min=0)
        truth = confusion.sum(1)
        recognised = {
            f"recall of {name}": float(confusion[i, i] / truth[i]) if float(truth[i]) >= 0.5 else math.nan
            for i, name in enumerate(self.classes)
        }
        scores = counts["scores"] / self.units()["scores"]
        return {**multiclass_metrics(confusion), **histogram_metrics(scores), **recognised}


def heat_loss(heat: Tensor, mask: Tensor) -> Tensor:
    """Return focal loss and Dice of a heat map against the share of each of its places that is lesion.

    The focal loss is that for shares (Li 2020, NeurIPS, quality focal loss), per place of lesion, as for other objects
    that are small in their image (Lin 2017, ICCV): a mean over all places would hardly notice a lesion.

    Args:
        heat: (slice, 1, row, column) logits, coarser than the mask.
        mask: (slice, 1, row, column) in {0, 1}.
    """
    share = F.adaptive_avg_pool2d(mask, (heat.shape[2], heat.shape[3]))
    probability = heat.sigmoid()
    surprise = F.binary_cross_entropy_with_logits(heat, share, reduction="none")
    focal = ((share - probability).square() * surprise).sum() / (share.sum() + 1)
    overlap = (2 * (probability * share).sum() + 1) / (probability.sum() + share.sum() + 1)
    return focal + 1 - overlap


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Classify:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    classes = plan.data.classes or ("first", "second")
    _check(options, classes, stage.name)
    need_images(plan, stage)
    return Classify(2 * len(plan.data.contrasts), classes, options, stage.trained or "norms and head")


def _check(options: Options, classes: tuple[str, ...], name: str) -> None:
    for what, values in (("class_weights", options.class_weights), ("prior", options.prior)):
        if values and (len(values) != len(classes) or min(values) <= 0):
            rule = f"{what} of stage '{name}' must be a positive number for each of {len(classes)} classes"
            raise ConfigError(rule, f"{len(values)} numbers", "write one for each, in the plan's order")
    if options.dimensions not in (2, 3):
        raise ConfigError(f"dimensions of stage '{name}' must be 2 or 3", str(options.dimensions), "write one of them")
    if not 0 <= options.dropped < 1 or options.focus < 0 or options.mask_weight < 0:
        rule = f"dropped of stage '{name}' must lie in [0, 1), focus and mask_weight must be 0 or more"
        raise ConfigError(rule, "another number", "mend it")

"""`segment`: a U-Net finds the tumour, or each of the plan's structures, whatever contrasts are there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from monai.losses.dice import DiceCELoss, DiceFocalLoss
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import PARTS, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.evaluation.classification import binary_metrics
from fedspine.evaluation.segmentation import dice, mask_metrics, slice_distance
from fedspine.networks.parts import chosen_parameters, prepared
from fedspine.networks.unet import Shape, Unet
from fedspine.strict import build
from fedspine.tasks._slices import arranged, largest_parts, with_fewer_contrasts, with_fewer_slices
from fedspine.tasks._task import Shared, need_images

TRAINS = PARTS

FOUND = 0.1
"""A lesion counts as found when its Dice reaches this."""

SURE = 1e-6
"""Probabilities are explained up to this far from 0 and 1, where log-odds end."""

FARTHEST = 0.25
"""Distances are counted up to this share of the grid's side: a lesion that was not found is this far off."""

LOSSES = {"dice and cross-entropy": DiceCELoss, "dice and focal": DiceFocalLoss}
PRESENCE = ("planes", "modulation")
COUNTED = ("found", "dice", "iou", "distance")


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        dimensions: 2 for slices; 2.5 for slices that see their two neighbours; 3 for volumes.
        features: the U-Net's widths from the top down.
        unshuffle: see `networks.unet.Shape`.
        deep_supervision: how many coarser levels are supervised too.
        presence: whether the network is told by planes beside the images which contrasts are there, or by modulation.
        dropped: probability with which each contrast of a patient is left out of a step, never the last one.
        sampled_slices: slices of a patient in a step, half of them with a lesion; 0 for all.
        loss: one of `LOSSES`.
        mirrored: whether slices are mirrored, at random in training and both ways averaged in predictions; nobody
            stands that way in a sagittal one.
        largest: whether of each structure only the largest connected part, through slices too, is kept of what was
            found: for tumours that come alone (as Buda 2019, Comput Biol Med 109:218, did for gliomas), not for
            metastases. It is done to predictions; training sees nothing of it.
        precision: `"float32"`, or `"bfloat16"` for convolutions on processors that have it.
    """

    dimensions: float = 2
    features: tuple[int, ...] = (8, 8, 16, 32, 64)
    unshuffle: int = 1
    deep_supervision: int = 0
    presence: str = "planes"
    dropped: float = 0.1
    sampled_slices: int = 0
    loss: str = "dice and cross-entropy"
    mirrored: bool = False
    largest: bool = False
    precision: str = "float32"

    def check(self) -> None:
        """Raise ConfigError where a setting is out of range."""
        rules = (
            ("dimensions must be 2, 2.5 or 3", self.dimensions, self.dimensions in (2, 2.5, 3)),
            ("unshuffle must be 1, 2 or 4", self.unshuffle, self.unshuffle in (1, 2, 4)),
            (f"presence must be one of: {', '.join(PRESENCE)}", self.presence, self.presence in PRESENCE),
            ("dropped must lie in [0, 1)", self.dropped, 0 <= self.dropped < 1),
            ("sampled_slices must be 0 or more", self.sampled_slices, self.sampled_slices >= 0),
            (f"loss must be one of: {', '.join(LOSSES)}", self.loss, self.loss in LOSSES),
            ("precision must be float32 or bfloat16", self.precision, self.precision in ("float32", "bfloat16")),
        )
        for rule, found, holds in rules:
            if not holds:
                raise ConfigError(rule, str(found), "mend the value")


@dataclass(frozen=True)
class Segment:
    """The task; see `Trained`, `Scored`, `Rated` and `Explained` in `_task`.

    Args:
        contrasts: how many the plan has.
        structures: names of the mask's channels; none for the lesion.
        size: pixels a side.
        options: of the stage.
        trained: which weights patients train, one of `config.PARTS`.
        loss_bound: see `Trained`.
        betas: see `Trained`.
    """

    contrasts: int
    structures: tuple[str, ...]
    size: int
    options: Options
    trained: str = "norms and head"
    loss_bound: float = 2.0
    betas: tuple[float, float] = (0.9, 0.999)
    measure: ClassVar[str] = "Dice"
    pixelwise: ClassVar[bool] = True

    def build(self) -> nn.Module:
        """Return the U-Net."""
        return prepared(Unet(self.shape()), self.trained)

    def shape(self) -> Shape:
        """Return what the U-Net looks like."""
        planes, options = self.options.presence == "planes", self.options
        seen = 3 if options.dimensions == 2.5 else 1
        return Shape(
            channels=self.contrasts * (seen + planes),
            outputs=max(len(self.structures), 1),
            features=options.features,
            volumes=options.dimensions == 3,
            unshuffle=options.unshuffle,
            deep=options.deep_supervision,
            contrasts=0 if planes else self.contrasts,
        )

    def _logits(self, model: nn.Module, patient: PatientTensors) -> list[Tensor]:
        """Return logits (slice, structure, row, column), the finest first."""
        options = self.options
        images = arranged(patient, options.dimensions, planes=options.presence == "planes")
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=options.precision == "bfloat16"):
            every: Sequence[Tensor] = model(images, patient.present)
        if options.dimensions == 3:
            every = [one[0].transpose(0, 1) for one in every]
        return [one.float() for one in every]

    def predict(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return probabilities (slice, structure, row, column)."""
        found = self._with_background(self._logits(model, patient)[0]).softmax(1)[:, 1:]
        if not self.options.mirrored:
            return found
        other = self._logits(model, patient.with_images(patient.images.flip(3), None))[0].flip(3)
        return (found + self._with_background(other).softmax(1)[:, 1:]) / 2

    def segmented(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the masks found, (slice, structure, row, column) in {0, 1}: a voxel is one structure at most."""
        likely = self.predict(model, patient)
        rest = 1 - likely.sum(1, keepdim=True)
        best = torch.cat([rest, likely], dim=1).argmax(1, keepdim=True)
        found = torch.cat([best == number for number in range(1, likely.shape[1] + 1)], dim=1).float()
        return largest_parts(found) if self.options.largest else found

    def sampled(self, patient: PatientTensors, draws: torch.Generator) -> PatientTensors:
        """Return what a step sees of the patient: `sampled_slices`, in 2.5 and 3 dimensions neighbours; or mirrored."""
        seen = with_fewer_slices(patient, self.options.sampled_slices, draws, together=self.options.dimensions > 2)
        if not self.options.mirrored or float(torch.rand((), generator=draws)) < 0.5:
            return seen
        return seen.with_images(seen.images.flip(3), None if seen.mask is None else seen.mask.flip(3))

    @property
    def apart(self) -> bool:
        """Whether slices are seen one by one, so that each may be augmented on its own."""
        return self.options.dimensions == 2

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return Dice plus cross-entropy or focal loss over the patient's slices taken as one volume.

        With deep supervision a level counts half as much as the one above it.
        """
        if patient.mask is None or not patient.has_image:
            return None
        every = self._logits(model, with_fewer_contrasts(patient, self.options.dropped, draws))
        weights = [0.5**level for level in range(len(every))]
        losses = [weight * self._loss(logits, patient.mask) for weight, logits in zip(weights, every, strict=True)]
        return torch.stack(losses).sum() / sum(weights)

    def _loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        volume, wanted = (x.transpose(0, 1).unsqueeze(0) for x in (logits, truth))  # (1, structure, slice, row, column)
        if wanted.shape[1] == 1:
            loss: Tensor = LOSSES[self.options.loss](sigmoid=True)(volume, wanted)
            return loss
        background = (1 - wanted.sum(1, keepdim=True)).clamp(min=0)
        criterion = LOSSES[self.options.loss](softmax=True, include_background=False)
        loss = criterion(self._with_background(volume), torch.cat([background, wanted], dim=1))
        return loss

    def _with_background(self, logits: Tensor) -> Tensor:
        """Return logits with a channel of zeros first: one structure's softmax is then its sigmoid."""
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train: all weights, norms and head, or the head."""
        return chosen_parameters(model, self.trained)

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: phantoms are used before round 1, and by the server."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    @property
    def _unit(self) -> float:
        return 1 / math.sqrt(len(COUNTED) * max(len(self.structures), 1))

    def counts(self) -> dict[str, Tensor]:
        """Return zeros, of each structure.

        `found`: (truth has it, it was found) patients; of patients who have it `dice`, `iou` and `distance`: the sums
        of Dice, of IoU, and of the Hausdorff distance over its largest that counts.
        """
        count = max(len(self.structures), 1)
        return {"found": torch.zeros(count, 2, 2), **{key: torch.zeros(count) for key in COUNTED[1:]}}

    def units(self) -> dict[str, float]:
        """Return a patient's weight: four entries of at most 1 for each structure, together of norm 1."""
        return dict.fromkeys(COUNTED, self._unit)

    def totals(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return that Dice, IoU and distance are over patients who have the structure."""
        return {key: counts["found"][:, 1].sum(-1) for key in COUNTED[1:]}

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, scaled to norm 1: Dice and IoU over the volume, the distance slice by slice."""
        if patient.mask is None or not patient.has_image:
            return None
        predicted, counts, farthest = self.segmented(model, patient), self.counts(), FARTHEST * self.size
        for index in range(predicted.shape[1]):
            found, truth = predicted[:, index], patient.mask[:, index]
            if not bool(truth.any()):
                counts["found"][index, 0, int(found.any())] = 1.0
                continue
            fit = mask_metrics(found, truth, (1.0, 1.0, 1.0))
            counts["found"][index, 1, int(fit["dice"] >= FOUND)] = 1.0
            counts["dice"][index] = fit["dice"]
            counts["iou"][index] = fit["iou"]
            counts["distance"][index] = slice_distance(found, truth, farthest) / farthest
        return {key: value * self._unit for key, value in counts.items()}

    def score(self, model: nn.Module, patient: PatientTensors) -> float | None:
        """Return the Dice of the first structure, which is the lesion where no other is named, over all slices."""
        if patient.mask is None or not patient.has_image or not bool(patient.mask[:, 0].any()):
            return None
        with torch.no_grad():
            found = self.segmented(model, patient)[:, 0]
        return dice(found, patient.mask[:, 0])

    def explained(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the sum of the log-odds of what is taken for the first structure (Seg-Grad-CAM, Vinogradova 2020).

        Where nothing is taken for it, of all pixels; probabilities would be silent where the network is sure.
        """
        odds = self.predict(model, patient)[:, 0].clamp(SURE, 1 - SURE).logit()
        found = odds.detach() > 0
        return odds[found].sum() if bool(found.any()) else odds.sum()

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return Dice, IoU and distance over patients with a lesion, and recall, precision, specificity of finding it.

        Of several structures, the means, and each one's Dice.
        """
        every = [
            self._metrics_of({key: counts[key][index] / self._unit for key in COUNTED})
            for index in range(len(counts["dice"]))
        ]
        if len(every) == 1:
            return every[0]
        averages = {key: _mean([one[key] for one in every]) for key in every[0]}
        return averages | {f"dice {name}": one["dice"] for name, one in zip(self.structures, every, strict=True)}

    def _metrics_of(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        (true_negative, false_positive), (false_negative, true_positive) = counts["found"].clamp(min=0).tolist()
        lesions = true_positive + false_negative
        means = {
            key: min(max(float(counts[key]) / lesions, 0.0), 1.0) if lesions >= 0.5 else math.nan for key in COUNTED[1:]
        }
        detection = binary_metrics(true_positive, false_positive, true_negative, false_negative)
        pixels = means.pop("distance") * FARTHEST * self.size
        return {**means, "hausdorff95_pixels": pixels, **detection}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Segment:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    options.check()
    need_images(plan, stage)
    data = plan.data
    made = Segment(len(data.contrasts), data.structures, data.size, options)
    made.shape().check(data.size)
    return replace(made, trained=stage.trained) if stage.trained else made

"""`encode`: SOCCE's two towers learn, patient by patient, which omics belong to which image.

Contrastive, with public phantom anchors as the only negatives: a patient's loss reads that patient, the anchors and the
weights. In-batch negatives would make every patient's gradient depend on the others (measured: the clipped sum then
moves by up to 2.5 C when one patient leaves, and no library notices).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.atlas.anchors import anchor_rows, prior, rows_of
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.harmony.features import feature_names
from fedspine.harmony.scaling import scale_of, standard
from fedspine.networks.towers import Towers
from fedspine.strict import build
from fedspine.tasks._task import Shared, need

RANKS = (1, 5, 10, 20)
"""Bins of the rank that a patient's own omics reach among the anchors': up to 1, 5, 10, 20, beyond."""

UNIT = 1 / math.sqrt(3)


@dataclass(frozen=True)
class Options:
    """Settings of the stage: width, latent dimensions, softmax temperature, weight of the score's squared error."""

    hidden: int = 24
    latent: int = 8
    temperature: float = 0.2
    score_weight: float = 0.2


@dataclass(frozen=True)
class Encode:
    """The task; see `Trained` and `Scored` in `_task`.

    Args:
        features: number of image features; the rest of a row is omics.
        markers: indices of the marker columns within omics.
        options: of the stage.
        mean: (column,) of the shared scale.
        deviation: (column,) of the shared scale.
        anchors: (anchor, column) standardised.
        anchors_known: (anchor, column).
    """

    features: int
    markers: tuple[int, ...]
    options: Options
    mean: Tensor
    deviation: Tensor
    anchors: Tensor
    anchors_known: Tensor
    loss_bound: float = 5.0
    on_cpu: bool = True
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self) -> Towers:
        """Return the two towers."""
        omics = len(self.mean) - self.features
        return Towers(2 * self.features, 2 * max(omics, 1), self.options.hidden, self.options.latent)

    def rows(self, patient: PatientTensors) -> tuple[Tensor, Tensor]:
        """Return one patient's standardised row and which entries are known: both (1, column)."""
        values, known = rows_of(patient)
        return standard(values, known, self.mean, self.deviation)[None], known[None]

    def image_rows(self, values: Tensor, known: Tensor) -> Tensor:
        """Return the image tower's input (row, 2·feature)."""
        return torch.cat([values[:, : self.features], known[:, : self.features]], dim=1)

    def omics_rows(self, values: Tensor, known: Tensor) -> Tensor:
        """Return the omics tower's input (row, 2·column)."""
        parts = [values[:, self.features :], known[:, self.features :]]
        return torch.cat(parts, dim=1) if parts[0].shape[1] else values.new_zeros(len(values), 2)

    def embed(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the image side's unit vector (latent,)."""
        assert isinstance(model, Towers)
        return model.embed_image(self.image_rows(*self.rows(patient)))[0]

    def marker_score(self, values: Tensor, known: Tensor) -> Tensor | None:
        """Return the mean of the known, standardised markers of one row (1, column); `None` if there is none."""
        if not self.markers:
            return None
        columns = torch.tensor(self.markers) + self.features
        weight = known[0, columns]
        return (values[0, columns] * weight).sum() / weight.sum() if bool(weight.any()) else None

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return symmetric InfoNCE of image and omics against the anchors, plus the score's squared error."""
        assert isinstance(model, Towers)
        values, known = self.rows(patient)
        has_image, has_omics = bool(known[0, : self.features].any()), bool(known[0, self.features :].any())
        if not (has_image and has_omics):
            return None
        image, omics = (
            model.embed_image(self.image_rows(values, known)),
            model.embed_omics(self.omics_rows(values, known)),
        )
        anchor_image = model.embed_image(self.image_rows(self.anchors, self.anchors_known))
        anchor_omics = model.embed_omics(self.omics_rows(self.anchors, self.anchors_known))
        own, target = (image * omics).sum(1, keepdim=True), torch.tensor([0])
        to_omics = torch.cat([own, image @ anchor_omics.T], dim=1) / self.options.temperature
        to_image = torch.cat([own, omics @ anchor_image.T], dim=1) / self.options.temperature
        loss = (F.cross_entropy(to_omics, target) + F.cross_entropy(to_image, target)) / 2
        score = self.marker_score(values, known)
        if score is not None:
            loss = loss + self.options.score_weight * F.mse_loss(model.pseudo_genomic(image)[0], score)
        return loss

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return all weights."""
        return list(model.parameters())

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: phantoms are used before round 1."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """`rank`: patients by bin of `RANKS`; `error`: sum of the score's absolute error (at most 3); `scored`."""
        return {"rank": torch.zeros(len(RANKS) + 1), "error": torch.zeros(()), "scored": torch.zeros(())}

    def units(self) -> dict[str, float]:
        """Return a patient's weight: three entries of at most 1, together of norm 1."""
        return dict.fromkeys(self.counts(), UNIT)

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, of norm at most 1: how well the image finds its own omics among anchors."""
        assert isinstance(model, Towers)
        values, known = self.rows(patient)
        if not (bool(known[0, : self.features].any()) and bool(known[0, self.features :].any())):
            return None
        image, omics = (
            model.embed_image(self.image_rows(values, known)),
            model.embed_omics(self.omics_rows(values, known)),
        )
        anchor_omics = model.embed_omics(self.omics_rows(self.anchors, self.anchors_known))
        better = int((image @ anchor_omics.T > (image * omics).sum()).sum())
        counts = self.counts()
        counts["rank"][sum(better + 1 > limit for limit in RANKS)] = 1.0
        score = self.marker_score(values, known)
        if score is not None:
            counts["error"] += float((model.pseudo_genomic(image)[0] - score).abs().clamp(max=3)) / 3
            counts["scored"] += 1.0
        return {key: value * UNIT for key, value in counts.items()}

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return how often a patient's own omics rank first and within ten, and the score's mean absolute error."""
        rank = (counts["rank"] / UNIT).clamp(min=0)
        total, scored = float(rank.sum()), float(counts["scored"]) / UNIT
        result = {"top 1": math.nan, "top 10": math.nan, "score error": math.nan}
        if total >= 0.5:
            result |= {"top 1": float(rank[0]) / total, "top 10": float(rank[:3].sum()) / total}
        if scored >= 0.5:
            result["score error"] = min(max(3 * float(counts["error"]) / UNIT / scored, 0.0), 3.0)
        return result


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the anchors' rows, which entries are known, and the phantoms' own scale."""
    values, known = anchor_rows(plan)
    return {**prior(plan), "anchors.values": values, "anchors.known": known}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Encode:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    known = need(shared, "anchors.known")
    mean, deviation = scale_of(shared)
    anchors = standard(need(shared, "anchors.values"), known, mean, deviation)
    markers = tuple(plan.data.omics.index(name) for name in plan.data.markers)
    return Encode(len(feature_names(plan.data.contrasts)), markers, options, mean, deviation, anchors, known)

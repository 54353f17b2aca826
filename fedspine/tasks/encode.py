"""`encode`: SOCCE's two towers learn, patient by patient, which omics belong to which image, whatever the scanner.

Contrastive, with public phantom anchors as the only negatives: a patient's loss reads that patient, the anchors and the
weights. In-batch negatives would make every patient's gradient depend on the others (measured: the clipped sum then
moves by up to 2.5 C when one patient leaves, and no library notices). The positives are the patient's omics and, for
the image, what the patient's own scanner measured beside what the average scanner would have. Anchors were examined on
two scanners each; that both examinations of one belong together is taught without noise (`public_loss`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.atlas.anchors import prior, rows_of
from fedspine.atlas.surrogate import NORMAL_90, Reading, reading, surrogate
from fedspine.atlas.twins import anchors
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.harmony.features import feature_names
from fedspine.harmony.scaling import scale_of, standard
from fedspine.networks.towers import Towers
from fedspine.phantom.genome import OMICS_COLUMNS
from fedspine.strict import build
from fedspine.tasks._task import Shared, need

RANKS = (1, 5, 10, 20)
"""Bins of the rank that a patient's own omics reach among the anchors': up to 1, 5, 10, 20, beyond."""

UNIT = 1 / math.sqrt(3)
LARGEST_ERROR = 3.0


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        hidden: width of the towers.
        latent: dimensions of the sphere's space.
        temperature: of the softmax.
        score_weight: of the likelihood of the pseudo-genomic score.
        twin_weight: of anchors' two examinations belonging together; 0 leaves scanners to `harmonise` alone.
    """

    hidden: int = 24
    latent: int = 8
    temperature: float = 0.2
    score_weight: float = 0.2
    twin_weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Encode:
    """The task; see `Trained` and `Scored` in `_task`.

    Args:
        features: number of image features; the rest of a row is omics.
        options: of the stage.
        mean: (column,) of the shared scale.
        deviation: (column,) of the shared scale.
        anchors: (anchor, column) standardised.
        anchors_known: (anchor, column).
        twins: (anchor, column) standardised, of the anchors' other examination.
        twins_known: (anchor, column).
        own_columns: (omics column,) 1 where phantoms have it; of others, anchors hold random numbers, from which
            nothing can be learnt.
        scores: (anchor,) the anchors' pseudo-genomic scores, NaN where a marker is none that phantoms have.
        reading: how the pseudo-genomic score is read off omics.
    """

    features: int
    options: Options
    mean: Tensor
    deviation: Tensor
    anchors: Tensor
    anchors_known: Tensor
    twins: Tensor
    twins_known: Tensor
    own_columns: Tensor
    scores: Tensor
    reading: Reading
    loss_bound: float = 5.0
    on_cpu: bool = True
    betas: tuple[float, float] = (0.9, 0.999)

    @property
    def scored(self) -> bool:
        """Whether there is a pseudo-genomic score at all: whether the plan has markers."""
        return bool(self.reading.markers)

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

    def marker_score(self, patient: PatientTensors) -> Tensor | None:
        """Return the pseudo-genomic score and its deviation as omics tell them, (2,); `None` without a marker."""
        found = self.reading.of(patient.omics[None], patient.omics_present[None])[0]
        return found if bool(found.isfinite().all()) else None

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return InfoNCE of the image with each positive there is, against the anchors, plus the score's likelihood."""
        assert isinstance(model, Towers)
        values, known = self.rows(patient)
        has_image, has_omics = bool(known[0, : self.features].any()), bool(known[0, self.features :].any())
        if not has_image or not (has_omics or patient.measured is not None):
            return None
        image = model.embed_image(self.image_rows(values, known))
        anchor_image = model.embed_image(self.image_rows(self.anchors, self.anchors_known))
        losses = []
        if has_omics:
            omics = model.embed_omics(self.omics_rows(values, known))
            anchor_omics = model.embed_omics(self.omics_rows(self.anchors, self.anchors_known))
            losses.append(self._among_anchors(image, omics, anchor_image, anchor_omics))
        if patient.measured is not None:
            other = model.embed_image(self._measured_row(patient))
            losses.append(self._among_anchors(image, other, anchor_image, anchor_image))
        loss = torch.stack(losses).mean()
        found = self.marker_score(patient)
        return loss if found is None else loss + self.options.score_weight * _misfit(model, image, found[:1])

    def _measured_row(self, patient: PatientTensors) -> Tensor:
        """Return the image tower's input as the patient's own scanner measured it, (1, 2·feature)."""
        assert patient.measured is not None
        values, known = patient.measured
        scaled = standard(values, known, self.mean[: self.features], self.deviation[: self.features])
        return torch.cat([scaled, known])[None]

    def _among_anchors(self, one: Tensor, other: Tensor, anchor_one: Tensor, anchor_other: Tensor) -> Tensor:
        """Return how hard it is to tell a patient's two unit vectors (1, latent) from the anchors', both ways."""
        own, target = (one * other).sum(1, keepdim=True), torch.tensor([0])
        to_other = torch.cat([own, one @ anchor_other.T], dim=1) / self.options.temperature
        to_one = torch.cat([own, other @ anchor_one.T], dim=1) / self.options.temperature
        return (F.cross_entropy(to_other, target) + F.cross_entropy(to_one, target)) / 2

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return all weights."""
        return list(model.parameters())

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return InfoNCE of the anchors' two examinations with each other and with their omics; and their scores'."""
        assert isinstance(model, Towers)
        if self.options.twin_weight == 0:
            return None
        first = model.embed_image(self.image_rows(self.anchors, self.anchors_known))
        second = model.embed_image(self.image_rows(self.twins, self.twins_known))
        loss = self._paired(first, second)
        if bool(self.own_columns.any()):
            shown = self.anchors_known * torch.cat([torch.ones(self.features), self.own_columns])
            omics = model.embed_omics(self.omics_rows(self.anchors * shown, shown))
            loss = loss + (self._paired(first, omics) + self._paired(second, omics)) / 2
        told = self.scores.isfinite()
        if bool(told.any()):
            misfit = _misfit(model, first[told], self.scores[told]) + _misfit(model, second[told], self.scores[told])
            loss = loss + self.options.score_weight * misfit
        return self.options.twin_weight * loss

    def _paired(self, one: Tensor, other: Tensor) -> Tensor:
        target = torch.arange(len(one))
        likeness = one @ other.T / self.options.temperature
        return (F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)) / 2

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """`rank`: patients by bin of `RANKS`; `error`: sum of the score's absolute error; `scored`: missed, within."""
        return {"rank": torch.zeros(len(RANKS) + 1), "error": torch.zeros(()), "scored": torch.zeros(2)}

    def units(self) -> dict[str, float]:
        """Return a patient's weight: three entries of at most 1, together of norm 1."""
        return dict.fromkeys(self.counts(), UNIT)

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, of norm at most 1: how well the image finds its own omics among anchors."""
        assert isinstance(model, Towers)
        values, known = self.rows(patient)
        if not (bool(known[0, : self.features].any()) and bool(known[0, self.features :].any())):
            return None
        image = model.embed_image(self.image_rows(values, known))
        omics = model.embed_omics(self.omics_rows(values, known))
        anchor_omics = model.embed_omics(self.omics_rows(self.anchors, self.anchors_known))
        better = int((image @ anchor_omics.T > (image * omics).sum()).sum())
        counts = self.counts()
        counts["rank"][sum(better + 1 > limit for limit in RANKS)] = 1.0
        told = self.marker_score(patient)
        if told is not None:
            guess, deviation = model.pseudo_genomic(image)[0].tolist()
            error = abs(guess - float(told[0]))
            counts["error"] += min(error, LARGEST_ERROR) / LARGEST_ERROR
            counts["scored"][int(error <= NORMAL_90 * deviation)] = 1.0
        return {key: value * UNIT for key, value in counts.items()}

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return how often a patient's own omics rank first and within ten; the score's error and intervals' coverage.

        The error is the mean absolute one, the coverage the share of patients whose score as omics tell it lies in the
        90 % interval that the image alone gives.
        """
        rank, scored = (counts["rank"] / UNIT).clamp(min=0), (counts["scored"] / UNIT).clamp(min=0)
        total, told = float(rank.sum()), float(scored.sum())
        result = {"top 1": math.nan, "top 10": math.nan, "score error": math.nan, "score coverage": math.nan}
        if total >= 0.5:
            result |= {"top 1": float(rank[0]) / total, "top 10": float(rank[:3].sum()) / total}
        if told >= 0.5:
            error = LARGEST_ERROR * float(counts["error"]) / UNIT / told
            result |= {"score error": min(max(error, 0.0), LARGEST_ERROR), "score coverage": float(scored[1]) / told}
        return result


def _misfit(model: Towers, image: Tensor, wanted: Tensor) -> Tensor:
    """Return the negative log-likelihood of scores (row,) under what image embeddings (row, latent) tell of them."""
    found = model.pseudo_genomic(image)
    return F.gaussian_nll_loss(found[:, 0], wanted, found[:, 1].square())


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the anchors' rows, the phantoms' own scale, and what reads the pseudo-genomic score off omics."""
    both = anchors(plan)
    rows = {
        "anchors.values": both.values,
        "anchors.known": both.known,
        "anchors.twins": both.twins,
        "anchors.twins_known": both.twins_known,
    }
    return {**prior(plan), **rows, **surrogate(plan)}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Encode:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    known, twins_known = need(shared, "anchors.known"), need(shared, "anchors.twins_known")
    mean, deviation = scale_of(shared)
    features = len(feature_names(plan.data.contrasts))
    markers = tuple(plan.data.omics.index(name) for name in plan.data.markers)
    values = need(shared, "anchors.values")
    read = reading(shared, markers, mean[features:], deviation[features:])
    own_columns = torch.tensor([float(name in OMICS_COLUMNS) for name in plan.data.omics])
    scores = read.of(values[:, features:], known[:, features:])[:, 0]
    return Encode(
        features,
        options,
        mean,
        deviation,
        standard(values, known, mean, deviation),
        known,
        standard(need(shared, "anchors.twins"), twins_known, mean, deviation),
        twins_known,
        own_columns,
        scores if read.model is not None else torch.full_like(scores, math.nan),
        read,
    )

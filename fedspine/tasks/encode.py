"""`encode`: SOCCE's two towers learn, patient by patient, which omics belong to which image, whatever the scanner.

Contrastive, with public phantom anchors as the only negatives: a patient's loss reads that patient, the anchors and the
weights. In-batch negatives would make every patient's gradient depend on the others (measured: the clipped sum then
moves by up to 2.5 C when one patient leaves, and no library notices). The positives are the patient's omics and, for
the image, what the patient's own scanner measured beside what the average scanner would have. Anchors were examined on
two scanners each; that both examinations of one belong together is taught without noise (`public_loss`).

With `of = "segment"` (or "classify") in its stage, the image tower also reads what that stage's released network sees
of the patient (`_deep`): no more than the patient and released values, so a term still depends on one patient alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import prior, rows_of
from fedspine.atlas.surrogate import NORMAL_90, Reading, reading, surrogate
from fedspine.atlas.twins import anchors, examined_twice
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.harmony.features import feature_names
from fedspine.harmony.scaling import scale_of, standard
from fedspine.networks.towers import Towers
from fedspine.phantom.genome import OMICS_COLUMNS
from fedspine.strict import build
from fedspine.tasks import _ranks
from fedspine.tasks._contrastive import among_anchors, misfit, paired
from fedspine.tasks._deep import Deep, Network, public_values, reader
from fedspine.tasks._task import Shared, make, need
from fedspine.tasks.classify import Classify
from fedspine.tasks.segment import Segment

READS = ("segment", "classify")
TRAINS = ("all",)


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        hidden: width of the towers.
        latent: dimensions of the sphere's space.
        temperature: of the softmax.
        score_weight: of the likelihood of the pseudo-genomic score.
        twin_weight: of anchors' two examinations belonging together; 0 leaves scanners to `harmonise` alone.
        axes: with `of`, along how many axes each region of that network's map is told.
    """

    hidden: int = 24
    latent: int = 8
    temperature: float = 0.2
    score_weight: float = 0.2
    twin_weight: float = 1.0
    axes: int = 8


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
        deep: what reads patients off another stage's network; `None` without `of`.
        anchors_deep, twins_deep: (anchor, input) what it reads off the anchors; no columns without it.
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
    deep: Deep | None
    anchors_deep: Tensor
    twins_deep: Tensor
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
        images = 2 * self.features + self.anchors_deep.shape[1]
        return Towers(images, 2 * max(omics, 1), self.options.hidden, self.options.latent)

    def rows(self, patient: PatientTensors) -> tuple[Tensor, Tensor]:
        """Return one patient's standardised row and which entries are known: both (1, column)."""
        values, known = rows_of(patient)
        return standard(values, known, self.mean, self.deviation)[None], known[None]

    def image_rows(self, values: Tensor, known: Tensor) -> Tensor:
        """Return measured features as the image tower reads them (row, 2·feature)."""
        return torch.cat([values[:, : self.features], known[:, : self.features]], dim=1)

    def image_of(self, patient: PatientTensors, values: Tensor, known: Tensor) -> Tensor:
        """Return the image tower's input (1, input) of the patient whose row is `values` and `known`."""
        measured = self.image_rows(values, known)
        return measured if self.deep is None else torch.cat([measured, self.deep.row(patient)], dim=1)

    @property
    def anchor_images(self) -> Tensor:
        """The anchors' input of the image tower, (anchor, input)."""
        return torch.cat([self.image_rows(self.anchors, self.anchors_known), self.anchors_deep], dim=1)

    @property
    def twin_images(self) -> Tensor:
        """The same of the anchors' other examination."""
        return torch.cat([self.image_rows(self.twins, self.twins_known), self.twins_deep], dim=1)

    def omics_rows(self, values: Tensor, known: Tensor) -> Tensor:
        """Return the omics tower's input (row, 2·column)."""
        parts = [values[:, self.features :], known[:, self.features :]]
        return torch.cat(parts, dim=1) if parts[0].shape[1] else values.new_zeros(len(values), 2)

    def embed(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the image side's unit vector (latent,)."""
        assert isinstance(model, Towers)
        return model.embed_image(self.image_of(patient, *self.rows(patient)))[0]

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
        image = model.embed_image(self.image_of(patient, values, known))
        anchor_image = model.embed_image(self.anchor_images)
        losses, temperature = [], self.options.temperature
        if has_omics:
            omics = model.embed_omics(self.omics_rows(values, known))
            anchor_omics = model.embed_omics(self.omics_rows(self.anchors, self.anchors_known))
            losses.append(among_anchors(image, omics, anchor_image, anchor_omics, temperature))
        if patient.measured is not None:
            other = model.embed_image(self._measured_row(patient))
            losses.append(among_anchors(image, other, anchor_image, anchor_image, temperature))
        loss = torch.stack(losses).mean()
        found = self.marker_score(patient)
        return loss if found is None else loss + self.options.score_weight * misfit(model, image, found[:1])

    def _measured_row(self, patient: PatientTensors) -> Tensor:
        """Return the image tower's input as the patient's own scanner measured it, (1, input); no network saw that."""
        assert patient.measured is not None
        values, known = patient.measured
        scaled = standard(values, known, self.mean[: self.features], self.deviation[: self.features])
        return torch.cat([scaled, known, scaled.new_zeros(self.anchors_deep.shape[1])])[None]

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return all weights."""
        return list(model.parameters())

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return InfoNCE of the anchors' two examinations with each other and with their omics; and their scores'."""
        assert isinstance(model, Towers)
        if self.options.twin_weight == 0:
            return None
        first = model.embed_image(self.anchor_images)
        second = model.embed_image(self.twin_images)
        temperature = self.options.temperature
        loss = paired(first, second, temperature)
        if bool(self.own_columns.any()):
            shown = self.anchors_known * torch.cat([torch.ones(self.features), self.own_columns])
            omics = model.embed_omics(self.omics_rows(self.anchors * shown, shown))
            loss = loss + (paired(first, omics, temperature) + paired(second, omics, temperature)) / 2
        told = self.scores.isfinite()
        if bool(told.any()):
            wrong = misfit(model, first[told], self.scores[told]) + misfit(model, second[told], self.scores[told])
            loss = loss + self.options.score_weight * wrong
        return self.options.twin_weight * loss

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """Return zero counts; see `_ranks.zeros`."""
        return _ranks.zeros()

    def units(self) -> dict[str, float]:
        """Return a patient's weight in each."""
        return _ranks.units()

    def totals(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what errors are over; see `_ranks.totals`."""
        return _ranks.totals(counts)

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, of norm at most 1: how well the image finds its own omics among anchors."""
        assert isinstance(model, Towers)
        values, known = self.rows(patient)
        if not (bool(known[0, : self.features].any()) and bool(known[0, self.features :].any())):
            return None
        image = model.embed_image(self.image_of(patient, values, known))
        omics = model.embed_omics(self.omics_rows(values, known))
        anchor_omics = model.embed_omics(self.omics_rows(self.anchors, self.anchors_known))
        better = int((image @ anchor_omics.T > (image * omics).sum()).sum())
        told = self.marker_score(patient)
        if told is None:
            return _ranks.counted(better, None, 0.0)
        guess, deviation = model.pseudo_genomic(image)[0].tolist()
        return _ranks.counted(better, abs(guess - float(told[0])), NORMAL_90 * deviation)

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return what follows from summed counts; see `_ranks.metrics`."""
        return _ranks.metrics(counts)


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the anchors' rows, the phantoms' own scale, and what reads the pseudo-genomic score off omics."""
    both = anchors(plan)
    rows = {
        "anchors.values": both.values,
        "anchors.known": both.known,
        "anchors.twins": both.twins,
        "anchors.twins_known": both.twins_known,
    }
    result = {**prior(plan), **rows, **surrogate(plan)}
    if model is not None:
        network = Network(_source(plan, stage, shared), model)
        seen = public_values(network, *examined_twice(plan), check(plan, stage).axes)
        result |= {f"deep.{stage.name}.{key}": value for key, value in seen.items()}
    return result


def _source(plan: Plan, stage: Stage, shared: Shared) -> Segment | Classify:
    found = make(plan, plan.find(stage.of), shared)
    assert isinstance(found, Segment | Classify), "the plan was checked"
    return found


def check(plan: Plan, stage: Stage) -> Options:
    """Return the stage's options, or say which cannot be."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    demand(1 <= options.axes <= 64, f"axes of stage '{stage.name}' must lie between 1 and 64", options.axes, "mend it")
    return options


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Encode:
    """Return the task of `stage`."""
    options = check(plan, stage)
    known, twins_known = need(shared, "anchors.known"), need(shared, "anchors.twins_known")
    mean, deviation = scale_of(shared)
    features = len(feature_names(plan.data.contrasts))
    markers = tuple(plan.data.omics.index(name) for name in plan.data.markers)
    values = need(shared, "anchors.values")
    read = reading(shared, markers, mean[features:], deviation[features:])
    prefix = f"deep.{stage.name}."
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
        reader(_source(plan, stage, shared), shared, prefix) if stage.of else None,
        need(shared, f"{prefix}anchors") if stage.of else torch.zeros(len(known), 0),
        need(shared, f"{prefix}twins") if stage.of else torch.zeros(len(known), 0),
    )

"""`levels`: finds the vertebrae, names them, and judges each level in the context of its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.levels import VERTEBRAE
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.errors import ConfigError
from fedspine.evaluation.classification import binary_metrics, multiclass_metrics
from fedspine.networks.chain import Found, found
from fedspine.networks.vertebrae import Finder, Levels, Reader
from fedspine.phantom.levels import parse_levels
from fedspine.strict import build
from fedspine.tasks._slices import arranged
from fedspine.tasks._task import Shared, need_images
from fedspine.tasks._vertebrae import (
    balanced,
    heat_loss,
    hills,
    lesion_levels,
    name_loss,
    nearest,
    slice_loss,
)

CLOSE, NEAR = 5 / 256, 10 / 256
"""A middle is found within 5 pixels of 256, and named within 10: about as many millimetres in a usual field of view."""

JITTER = 0.015
"""Standard deviation, as a share of the image's side, by which true places are moved in training."""

CENTRES, LESIONS, CONFUSION = 0.3, 0.6, 0.52
"""How a patient's unit of norm is shared: four shares of at most 1, a table of 1 in all, and a one-hot."""


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        features: the six widths of the U-Net that finds vertebrae, each divisible by 4; the deeper, the more context.
        width: of the first layer that reads a level, divisible by 4.
        tokens: length of a level's token, divisible by 4.
        layers: of the transformer.
        context: whether a level is judged in the context of the others.
        judged: whether levels and patients are judged at all, or only found and named.
    """

    features: tuple[int, ...] = (8, 8, 16, 32, 64, 8)
    width: int = 8
    tokens: int = 32
    layers: int = 2
    context: bool = True
    judged: bool = True


@dataclass(frozen=True)
class FindLevels:
    """The task; see `Trained`, `Scored` and `Rated` in `_task`.

    Args:
        contrasts: how many.
        classes: of the patient.
        options: of the stage.
        middle: of the part of the spine that the plan names, which every name starts from.
        trained: which weights patients train, one of `config.PARTS`.
        loss_bound: see `Trained`.
        betas: see `Trained`.
    """

    contrasts: int
    classes: int
    options: Options
    middle: float = (len(VERTEBRAE) - 1) / 2
    trained: str = "norms and head"
    loss_bound: float = 10.0
    betas: tuple[float, float] = (0.9, 0.999)
    measure: ClassVar[str] = "identification rate"

    def build(self) -> nn.Module:
        """Return both networks."""
        o = self.options
        finder = Finder(2 * self.contrasts, len(VERTEBRAE), o.features, self.middle)
        return Levels(
            finder, Reader(self.contrasts, len(VERTEBRAE), self.classes, o.width, o.tokens, o.layers, o.context)
        )

    def find(self, model: nn.Module, patient: PatientTensors) -> Found:
        """Return the vertebrae that the network sees; the patient must have an image."""
        with torch.no_grad():
            return found(*cast(Levels, model).finder(arranged(patient)))

    def judge(self, model: nn.Module, patient: PatientTensors, places: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of a lesion at each of these levels, (seen,), and of the patient's class, (class,)."""
        levels, whole = cast(Levels, model).reader(patient.images, patient.present, places, names)
        return levels, whole

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return the losses of finding, naming and judging this patient's levels, as far as their truth is known.

        Whoever drew levels is taken to have drawn all that the image shows. Without a drawing, the network judges
        what it found itself.
        """
        if not patient.has_image:
            return None
        losses = []
        known = _known(patient)
        if known is not None:
            levels, truth = known
            rows, columns = patient.images.shape[2:]
            heat, names, weights = cast(Levels, model).finder(arranged(patient))
            wanted = hills(truth[:, 1:], rows, columns)
            losses += [heat_loss(heat, wanted), name_loss(names, wanted, levels)]
            losses.append(slice_loss(weights, wanted, truth[:, 0]))
            places = truth[:, 1:] + JITTER * rows * torch.randn(truth[:, 1:].shape, generator=draws)
        if self.options.judged and (patient.label >= 0 or _lesion(patient) is not None):
            if known is None:
                seen = self.find(model, patient)
                places, levels = seen.places, seen.names
            losses += self._judged(model, patient, places, levels)
        return torch.stack(losses).sum() if losses else None

    def _judged(self, model: nn.Module, patient: PatientTensors, places: Tensor, names: Tensor) -> list[Tensor]:
        if not len(places):
            return []
        logits, whole = self.judge(model, patient, places, names)
        lesion, losses = _lesion(patient), []
        if lesion is not None:
            losses.append(balanced(logits, lesion_levels(lesion, places)))
        if patient.label >= 0:
            losses.append(F.cross_entropy(whole, torch.tensor(patient.label)))
        return losses

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train: all weights, the heads, or these and the affine weights of normalisation."""
        both = cast(Levels, model)
        if self.trained == "all":
            chosen = list(both.parameters()) if self.options.judged else list(both.finder.parameters())
            return chosen
        norms = (
            [] if self.trained == "head" else [m for m in both.modules() if isinstance(m, nn.GroupNorm | nn.LayerNorm)]
        )
        parts: list[nn.Module] = [*norms, both.finder.head, both.reader.level_head, both.reader.patient_head]
        return [parameter for part in parts for parameter in part.parameters()]

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: phantoms are used before round 1."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def counts(self) -> dict[str, Tensor]:
        """Return zero counts.

        `centres`: patients with known levels, and their shares of levels found close by, found near by and rightly
        named, and of found ones that are levels; `lesions`: (truth, judged) shares of a patient's levels;
        `confusion`: (truth, predicted) classes.
        """
        k = self.classes
        return {"centres": torch.zeros(4), "lesions": torch.zeros(2, 2), "confusion": torch.zeros(k, k)}

    def units(self) -> dict[str, float]:
        """Return the most that a patient adds to an entry."""
        return {"centres": CENTRES, "lesions": LESIONS, "confusion": CONFUSION}

    def totals(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return that shares of levels are over patients whose levels are known."""
        known = counts["centres"][:1]
        return {"centres": torch.cat([torch.full_like(known, torch.nan), known.expand(3)])}

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return one patient's counts, of norm 1 at most."""
        if not patient.has_image:
            return None
        counts, seen = self.counts(), self.find(model, patient)
        known = _known(patient)
        if known is not None:
            counts["centres"] += CENTRES * _shares(known[0], known[1][:, 1:], seen, patient.images.shape[2])
        if not self.options.judged:
            return counts
        logits, whole = self.judge(model, patient, seen.places, seen.names)
        asked, lesion = seen.places if known is None else known[1][:, 1:], _lesion(patient)
        if lesion is not None and len(asked):
            distance, which = nearest(asked, seen.places)
            said = torch.zeros(len(asked))
            if len(seen.places):
                said = (logits[which] > 0) & (distance <= NEAR * patient.images.shape[2])
            table = F.one_hot((2 * lesion_levels(lesion, asked) + said).long(), 4).float().mean(0)
            counts["lesions"] += LESIONS * table.reshape(2, 2)
        if patient.label >= 0 and bool(torch.isfinite(whole).all()):
            counts["confusion"][patient.label, int(whole.argmax())] = CONFUSION
        return counts

    def score(self, model: nn.Module, patient: PatientTensors) -> float | None:
        """Return the share of the patient's known levels that are found near by under their own name."""
        known = _known(patient)
        if known is None or not patient.has_image:
            return None
        return float(_shares(known[0], known[1][:, 1:], self.find(model, patient), patient.images.shape[2])[2])

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return how well levels are found and named, how well lesions are laid to them, and accuracy of the class."""
        known, close, named, right = (counts["centres"] / CENTRES).clamp(min=0).tolist()
        shares = {"centre_recall": close, "named": named, "centre_precision": right}
        result = {name: min(value / known, 1.0) if known >= 0.5 else float("nan") for name, value in shares.items()}
        (true_negative, false_positive), (false_negative, true_positive) = (counts["lesions"] / LESIONS).tolist()
        lesions = binary_metrics(true_positive, false_positive, true_negative, false_negative)
        result |= {f"level_{name}": lesions[name] for name in ("recall", "precision", "specificity", "f1")}
        return result | {"accuracy": multiclass_metrics(counts["confusion"] / CONFUSION)["accuracy"]}


def _known(patient: PatientTensors) -> tuple[Tensor, Tensor] | None:
    """Return which levels are known, (known,), and where, (known, 3); `None` where there is none."""
    if patient.levels is None or not bool(patient.levels.isfinite().all(1).any()):
        return None
    which = patient.levels.isfinite().all(1).nonzero().flatten()
    return which, patient.levels[which]


def _lesion(patient: PatientTensors) -> Tensor | None:
    """Return the lesion's mask (slice, 1, row, column); a mask of several structures is none."""
    return patient.mask if patient.mask is not None and patient.mask.shape[1] == 1 else None


def _shares(levels: Tensor, places: Tensor, seen: Found, side: int) -> Tensor:
    """Return 1, and the shares of true levels found, of those found and named, and of found ones that are levels."""
    distance, _ = nearest(places, seen.places)
    back, _ = nearest(seen.places, places)
    own = {int(name): place for name, place in zip(seen.names, seen.places, strict=True)}
    named = [
        int(level) in own and float((own[int(level)] - place).norm()) <= NEAR * side
        for level, place in zip(levels, places, strict=True)
    ]
    precision = float((back <= NEAR * side).float().mean()) if len(back) else 0.0
    return torch.tensor([1.0, float((distance <= CLOSE * side).float().mean()), sum(named) / len(named), precision])


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> FindLevels:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    need_images(plan, stage)
    rule = f"layers of stage '{stage.name}' must be 1 or more"
    demand(options.layers >= 1, rule, options.layers, "raise it; context = false judges each level by itself")
    if plan.data.body != "spine":
        raise ConfigError("levels need spines", f"a plan whose body is '{plan.data.body}'", "leave `body` out")
    first, last = parse_levels(plan.data.levels)
    middle = (first + min(last, len(VERTEBRAE) - 1)) / 2
    return FindLevels(
        len(plan.data.contrasts), max(len(plan.data.classes), 2), options, middle, stage.trained or "norms and head"
    )

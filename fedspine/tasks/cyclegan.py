"""`cyclegan`: one contrast is turned into another and back (Zhu 2017), so that a missing one can be filled in.

Both translators and both critics see patients: a translator is asked to give the patient's own image back. So nothing
of the loss is free: adversarial, cycle and identity terms of both directions are one loss of one patient, clipped
together and noised once, over the weights of all four networks. A patient with one of the two contrasts feeds the side
that they have.

Unpaired means that no loss compares a translated slice with the true one. Where a patient has both contrasts, on one
grid, `pairs` weighs that comparison all the same (Isola 2017); 0 leaves it out. Phantoms always have both.

Whether translators have collapsed is seen on phantoms: what is made of different ones must differ as they do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedspine.atlas.anchors import on_grid, phantoms, scanned
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.errors import ConfigError
from fedspine.networks.cyclegan import CycleGan
from fedspine.networks.parts import chosen_parameters
from fedspine.phantom.public import public_patients
from fedspine.strict import build
from fedspine.tasks._diversity import CONSTANT, MADE, unlikeness
from fedspine.tasks._task import Shared

BRIGHTEST = 1.5
"""The largest value of an image on the plan's grid; see `cohort.tensors`."""


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        source, target: contrasts of the plan; the plan's first and second if left out.
        features: the translators' six widths.
        width: channels of a critic's first layer.
        cycle: weight of the difference after going there and back.
        identity: weight of the change to an image that is of the wanted contrast already.
        adversarial: weight of the critics' opinion of translated slices.
        pairs: weight of the difference to the true image where a patient has both contrasts.
        diversity: translated phantoms less unlike each other than this share of true ones count as collapsed.
    """

    source: str = ""
    target: str = ""
    features: tuple[int, ...] = (8, 8, 16, 32, 64, 8)
    width: int = 8
    cycle: float = 1.0
    identity: float = 0.5
    adversarial: float = 0.1
    pairs: float = 1.0
    diversity: float = 0.5


@dataclass(frozen=True)
class Cycle:
    """The task; see `Trained`, `Generative` and `Diverse`; `source` and `target` are indices of contrasts."""

    plan: Plan
    options: Options
    source: int
    target: int
    trained: str = "all"
    loss_bound: float = 5.0
    betas: tuple[float, float] = (0.5, 0.999)
    made_by: ClassVar[tuple[str, ...]] = ("there.", "back.")

    @property
    def least_diversity(self) -> float:
        """Share of phantoms' own diversity below which the translators count as collapsed."""
        return self.options.diversity

    def build(self) -> CycleGan:
        """Return both translators and both critics."""
        return CycleGan(self.options.features, self.options.width)

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return everything that this patient has to say: of each contrast they have, and of the pair."""
        assert isinstance(model, CycleGan)
        has_source, has_target = (bool(patient.present[i] > 0) for i in (self.source, self.target))
        source, target = (patient.images[:, i : i + 1] for i in (self.source, self.target))
        losses = []
        if has_source:
            made, loss = self._one_way(model, source, there=True)
            losses.append(loss + (self.options.pairs * (made - target).abs().mean() if has_target else 0.0))
        if has_target:
            made, loss = self._one_way(model, target, there=False)
            losses.append(loss + (self.options.pairs * (made - source).abs().mean() if has_source else 0.0))
        return torch.stack(losses).sum() if losses else None

    def _one_way(self, model: CycleGan, images: Tensor, *, there: bool) -> tuple[Tensor, Tensor]:
        """Return translated slices and the loss of translators and critics on these images of one contrast."""
        out, back = (model.there, model.back) if there else (model.back, model.there)
        own, other = model.critic_source, model.critic_target
        if not there:
            own, other = other, own
        made = out(images)
        frozen = {name: weight.detach() for name, weight in other.named_parameters()}
        fooled = functional_call(other, frozen, (made,))
        again, unchanged = back(torch.cat([made, images])).chunk(2)
        translators = (
            self.options.adversarial * (fooled - 1).square().mean()
            + self.options.cycle * (again - images).abs().mean()
            + self.options.identity * (unchanged - images).abs().mean()
        )
        critics = (own(images) - 1).square().mean() + other(made.detach()).square().mean()
        return made, translators + critics / 2

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what patients train of each of the four networks."""
        assert isinstance(model, CycleGan)
        return [weight for network in model.networks() for weight in chosen_parameters(network, self.trained)]

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return nothing: there is no term that patients do not enter."""
        return None

    def after_step(self, model: nn.Module) -> None:
        """Nothing follows the weights."""

    def translate(self, model: nn.Module, patient: PatientTensors) -> PatientTensors:
        """Return the patient with the missing one of the two contrasts filled in from the other.

        A patient with both or neither is returned as they are. The filled contrast counts as present: whoever needs to
        tell made from measured keeps the patient that went in.
        """
        has_source, has_target = (bool(patient.present[i] > 0) for i in (self.source, self.target))
        if has_source == has_target:
            return patient
        return self._filled(model, patient, self.source if has_source else self.target)

    def synthetic(self, model: nn.Module | None, count: int, draws: torch.Generator) -> list[PatientTensors]:
        """Return phantoms whose target contrast is translated from their source, in turn with the reverse."""
        seed = int(torch.randint(2**31, (), generator=draws))
        data = self.plan.data
        shape = (max(data.slices, 2), data.size, data.size)
        drawn = public_patients(
            count,
            seed,
            contrasts=scanned(data.contrasts),
            shape=shape,
            levels=data.levels,
            structures=data.structures,
            body=data.body,
        )
        people = on_grid(self.plan, drawn, 4)
        assert model is not None
        return [self._filled(model, one, (self.source, self.target)[i % 2]) for i, one in enumerate(people)]

    def diversity(self, model: nn.Module, draws: torch.Generator) -> float | None:
        """Return how unlike each other translated phantoms are, as a share of the same phantoms' true contrast.

        The lesser of both directions; `None` where phantoms do not show both contrasts. Where one direction has
        collapsed, both go back: they were trained against each other.
        """
        pairs = ((self.source, self.target), (self.target, self.source))
        true = [one for one in self._phantoms if float(one.present[[self.source, self.target]].min()) > 0]
        if len(true) < 2:
            return None
        return min(self._diversity(model, true, known, missing) for known, missing in pairs)

    def _diversity(self, model: nn.Module, true: list[PatientTensors], known: int, missing: int) -> float:
        made = [self._filled(model, one, known) for one in true]
        share, own = (unlikeness(torch.cat([one.images[:, missing] for one in some])) for some in (made, true))
        return min(max(share, 0.0) / max(own, CONSTANT), 1.0)

    @cached_property
    def _phantoms(self) -> list[PatientTensors]:
        """A slice of each, the second of three: two slices of one patient are too much alike, or too little."""
        thin = replace(self.plan.data, slices=3)
        some = phantoms(replace(self.plan, data=thin), MADE, purpose=0)
        return [one.with_images(one.images[1:2], None) for one in some]

    def _filled(self, model: nn.Module, patient: PatientTensors, known: int) -> PatientTensors:
        assert isinstance(model, CycleGan)
        missing = self.target if known == self.source else self.source
        network = model.there if known == self.source else model.back
        images, present = patient.images.clone(), patient.present.clone()
        with torch.no_grad():
            images[:, missing] = network(patient.images[:, known : known + 1])[:, 0].clamp(0, BRIGHTEST)
        present[missing] = 1.0
        return replace(patient, images=images, present=present)


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Cycle:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    names = plan.data.contrasts
    first, second = (*names, "", "")[:2]
    source, target = options.source or first, options.target or second
    in_stage = f"of stage '{stage.name}' must"
    demand(0 <= options.diversity <= 1, f"diversity {in_stage} lie in [0, 1]", options.diversity, "mend it")
    for name in ("cycle", "identity", "adversarial", "pairs"):
        weight = getattr(options, name)
        demand(weight >= 0, f"{name} {in_stage} be 0 or more", weight, "write 0 to leave it out")
    if source not in names or target not in names or source == target:
        raise ConfigError(
            f"stage '{stage.name}' translates between two of the plan's contrasts", "others", "name source and target"
        )
    return Cycle(plan, options, names.index(source), names.index(target), stage.trained or "all")

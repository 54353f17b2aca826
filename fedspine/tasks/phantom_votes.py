"""`phantom_votes`: patients vote for the phantoms that look like them, and the winners' like are made (Sim-PE).

After private evolution (Lin et al. 2023, arXiv:2305.15560) with a simulator (Lin et al. 2025, arXiv:2502.05505). The
server draws candidate phantoms. Every patient votes for the nearest in a fixed space of image features; the sum of the
votes is noised once a round. Candidates with few votes go, the others are crossed and parts of them drawn anew: another
scanner, another lesion, another spine. After a few rounds phantoms are made like the winners, with exact masks.

Privacy. A patient's term has the entry 1/√k for each of the k nearest candidates and 0 elsewhere: its norm is 1,
whatever the patient looks like. It depends on this patient and on candidates that were drawn from the plan's seed and
earlier releases, never on another patient. So each round is one Gaussian mechanism of sensitivity 1 over all patients,
and is booked as one event; the rounds compose adaptively, since a round's candidates are functions of earlier releases
alone. Smoothing, crossing and all made phantoms are post-processing. A round costs the same for 40 candidates and for
4,000, but the more there are the fewer votes each has to stand out of the noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import on_grid, scanned
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.evaluation.feature_space import FEATURES, embed
from fedspine.harmony.features import features
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.variation import Recipe, fresh, grown_from, recipe_of, varied
from fedspine.strict import build
from fedspine.tasks._population import children, kept, smoothed
from fedspine.tasks._task import Outcome, Shared, Site, need, need_images

MEASURES = ()
REPEATS = True
"""`finish` is called after every round, and the next round's task is made of what it gave."""


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        candidates: phantoms that patients vote for.
        nearest: candidates that a patient votes for.
        elite: share of the candidates that may stay for the next round.
        change: probability with which a part of a child is drawn anew.
    """

    candidates: int = 48
    nearest: int = 3
    elite: float = 0.5
    change: float = 0.1


@dataclass(frozen=True)
class PhantomVotes:
    """The task; see `Measured` and `Generative` in `_task`."""

    plan: Plan
    options: Options
    shared: Shared
    pools: ClassVar[bool] = True

    def zeros(self) -> dict[str, Tensor]:
        """`votes`: (candidate,)."""
        return {"votes": torch.zeros(len(self._state("rows")))}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's votes, of norm 1: only for candidates of the patient's class where that is known."""
        if not patient.has_image:
            return None
        values, known = row_of(patient)
        distances = _distances((values / self._state("scale"))[None], known[None], self._rows, self._state("known"))[0]
        labels = self._state("labels")
        if patient.label >= 0 and bool((labels == patient.label).any()):
            distances = distances.masked_fill(labels != patient.label, torch.inf)
        count = min(self.options.nearest, int(distances.isfinite().sum()))
        votes = torch.zeros(len(distances))
        votes[distances.topk(count, largest=False).indices] = count**-0.5
        return {"votes": votes}

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return this round's winners with their weights, and the candidates of the next round."""
        votes = torch.stack([site.sums["votes"] for site in sites.values()]).sum(0)
        near = _distances(self._rows, self._state("known"), self._rows, self._state("known"))
        # candidates of different classes get votes from different patients: how alike they look says nothing
        labels = self._state("labels")
        near = torch.where(labels[:, None] == labels, near, near + 3 * near.max())
        scale = self.options.nearest**0.5
        weights = smoothed(votes * scale, near, noise_sd * len(sites) ** 0.5 * scale)
        recipes, number = _recipes(self._state("recipes")), int(self._state("round")) + 1
        random = np.random.default_rng([self.plan.seed, 11, number])
        stay = [recipes[i] for i in kept(weights, self.options.elite).tolist()]
        more = children(recipes, weights, len(recipes) - len(stay), self.options.change, random)
        state = _population(self.plan, [*stay, *more]) | {
            "scale": self._state("scale"),
            "round": torch.tensor(number),
            "winners": self._state("recipes"),
            "weights": weights,
        }
        return Outcome(common=state, numbers={"phantom votes": self._numbers(votes * scale, weights, number)})

    def synthetic(self, model: nn.Module | None, count: int, draws: torch.Generator) -> list[PatientTensors]:
        """Return phantoms like the winners: crossed in proportion to their votes, parts drawn anew, noise always."""
        random = np.random.default_rng(torch.randint(2**62, (2,), generator=draws).tolist())
        winners, weights = _recipes(self._state("winners")), self._state("weights")
        alike = children(winners, weights, count, self.options.change, random)
        return _made(self.plan, [varied(one, ("noise",), random) for one in alike])

    @property
    def _rows(self) -> Tensor:
        return self._state("rows") / self._state("scale")

    def _state(self, key: str) -> Tensor:
        return need(self.shared, f"phantom_votes.{key}")

    def _numbers(self, votes: Tensor, weights: Tensor, number: int) -> dict[str, object]:
        """Return what a report may show of a round: the class mix that was voted for, and how uneven the votes were."""
        shares = weights / weights.sum().clamp(min=1e-9)
        classes = self._state("recipes")[:, 0]
        mix = {name: float(shares[classes == index].sum()) for index, name in enumerate(CLASSES)}
        effective = float(1 / shares.square().sum().clamp(min=1e-9))
        return {f"round {number}": {"votes": votes.tolist(), "class mix": mix, "effective candidates": effective}}


def row_of(patient: PatientTensors) -> tuple[Tensor, Tensor]:
    """Return the features by which patients and phantoms are compared, and which are known: both (column,).

    Intensities and the lesion's size and place (`harmony.features`), and for each contrast the mean place of the
    patient's slices in the fixed feature space: of those with a lesion, or of all where there is none.
    """
    values, known = features(patient)
    lesion = patient.lesion
    inside = torch.zeros(len(patient.images), dtype=torch.bool) if lesion is None else lesion.flatten(1).any(1)
    shown = inside if bool(inside.any()) else ~inside
    places = torch.cat([embed(patient.images[shown, i : i + 1]).mean(0) for i in range(len(patient.present))])
    flags = torch.tensor([float(bool(inside.any()))]), torch.tensor([float(lesion is not None)])
    return (
        torch.cat([values, flags[0], places]),
        torch.cat([known, flags[1], patient.present.repeat_interleave(FEATURES)]),
    )


def _distances(one: Tensor, one_known: Tensor, other: Tensor, other_known: Tensor) -> Tensor:
    """Return (one, other) root mean square differences over the columns that both know."""
    both = one_known[:, None] * other_known[None]
    squares = ((one[:, None] - other[None]) ** 2 * both).sum(-1)
    return (squares / both.sum(-1).clamp(min=1)).sqrt()


def _recipes(numbers: Tensor) -> list[Recipe]:
    return [recipe_of(row) for row in numbers.tolist()]


def _made(plan: Plan, recipes: Sequence[Recipe]) -> list[PatientTensors]:
    data = plan.data
    shape = (max(data.slices, 2), data.size, data.size)
    contrasts = scanned(data.contrasts)
    grown = [
        grown_from(
            recipe,
            f"made-{index:04d}",
            contrasts=contrasts,
            shape=shape,
            levels=data.levels,
            structures=data.structures,
            body=data.body,
        )
        for index, recipe in enumerate(recipes)
    ]
    return on_grid(plan, grown, 3)


def _population(plan: Plan, recipes: Sequence[Recipe]) -> dict[str, Tensor]:
    """Return what travels of the candidates: recipes (candidate, part), rows and known (candidate, column), labels."""
    made = _made(plan, recipes)
    rows = [row_of(patient) for patient in made]
    return {
        "recipes": torch.tensor([recipe.numbers() for recipe in recipes]),
        "rows": torch.stack([values for values, _ in rows]),
        "known": torch.stack([known for _, known in rows]),
        "labels": torch.tensor([patient.label for patient in made]),
    }


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the stage cannot work."""
    options_of(plan, stage)


def options_of(plan: Plan, stage: Stage) -> Options:
    """Return the stage's settings, checked."""
    need_images(plan, stage)
    where = f"options of stage '{stage.name}'"
    options = build(Options, dict(stage.options), where)
    least = len(CLASSES)  # one of every class to begin with
    demand(
        options.candidates >= least, f"candidates in {where} must be {least} or more", options.candidates, "raise it"
    )
    demand(options.nearest >= 1, f"nearest in {where} must be 1 or more", options.nearest, "raise it")
    for name, value in (("elite", options.elite), ("change", options.change)):
        demand(0 <= value <= 1, f"{name} in {where} must lie in [0, 1]", value, "write a number from 0 to 1")
    return options


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the first candidates, every class as often, and the scale of each column among them."""
    options = options_of(plan, stage)
    random = np.random.default_rng([plan.seed, 11])
    state = _population(plan, [fresh(CLASSES[i % len(CLASSES)], random) for i in range(options.candidates)])
    count = state["known"].sum(0).clamp(min=1)
    mean = (state["rows"] * state["known"]).sum(0) / count
    scale = (((state["rows"] - mean) ** 2 * state["known"]).sum(0) / count).sqrt().clamp(min=1e-2)
    places = FEATURES * len(plan.data.contrasts)
    scale[-places:] *= (places / (len(scale) - places)) ** 0.5  # both kinds of column weigh the same together
    start = {"scale": scale, "round": torch.tensor(0), "winners": state["recipes"]}
    start |= {"weights": torch.ones(options.candidates)}
    return {f"phantom_votes.{key}": value for key, value in (state | start).items()}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> PhantomVotes:
    """Return the task of `stage`."""
    return PhantomVotes(plan, options_of(plan, stage), shared)

"""`tokens`: how many patients of each class fall to each lesion token of the shared map, and what those look like.

Without an `atlas` stage before it, the map is one of public phantoms alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedspine.atlas import shared_map
from fedspine.atlas.anchors import anchor_labels
from fedspine.atlas.names import Named, named
from fedspine.atlas.placing import Placed, SharedMap, place
from fedspine.atlas.private_anchors import Anchors
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.harmony.features import feature_names
from fedspine.harmony.scaling import BOUND
from fedspine.networks.towers import Towers
from fedspine.strict import build
from fedspine.tasks import encode
from fedspine.tasks._task import Outcome, Shared, Site, frozen_values, need
from fedspine.tasks.atlas import phantom_latents, phantom_spread, shared_atlas

MEASURES = ("encode",)
FREEZES = True

COUNTED, PROFILED = 0.8, 0.6
"""Shares of a term's norm, whose squares add up to 1: which token and class, and what the patient is like."""

POINTS = 800
"""Synthetic points of a map of phantoms."""

LEVEL = "level"
"""The last column of a profile: where on the spine, 0 at C1 to 1 at S1."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """Settings of the stage: how many lesion tokens, where no `atlas` stage has found them already."""

    tokens: int = 6


@dataclass(frozen=True)
class Tokens:
    """The task; see `Measured` in `_task`.

    Args:
        plan: classes and columns.
        encoder, model: that give a patient's latent.
        atlas: the shared map.
        before: tokens of an earlier run, whose names stay; `None` for fresh names.
    """

    plan: Plan
    encoder: encode.Encode
    model: Towers
    atlas: SharedMap
    before: Named | None
    pools: ClassVar[bool] = True

    @property
    def number(self) -> int:
        """How many tokens there are."""
        return int(self.atlas.membership.shape[1])

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a profile's columns."""
        return (*feature_names(self.plan.data.contrasts), *self.plan.data.omics, LEVEL)

    def zeros(self) -> dict[str, Tensor]:
        """`counts`: (token + 1, class + 1), last unlike anything seen and no label; `profiles`: (token, column)."""
        return {
            "counts": torch.zeros(self.number + 1, len(self.plan.data.classes) + 1),
            "profiles": torch.zeros(self.number, len(self.columns)),
        }

    def placed(self, patient: PatientTensors) -> Placed:
        """Return one patient's place, tokens and strangeness; they stay at the site."""
        with torch.no_grad():
            latent = self.encoder.embed(self.model, patient)
        return place(latent.double().numpy()[None], self.atlas)

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's one-hot count, and its row in its token's profile, of norm 1 at most together.

        The row is standardised, within ±`BOUND` a column, and divided by the largest norm that it can have.
        """
        if not patient.has_image:
            return None
        found = self.placed(patient)
        token = self.number if bool(found.unlike[0]) else int(found.tokens[0])
        term = self.zeros()
        term["counts"][token, patient.label] = COUNTED  # -1, no label, is the last column
        if token < self.number:
            row = self._row(patient)
            term["profiles"][token] = PROFILED * row / (BOUND * math.sqrt(len(row)))
        return term

    def _row(self, patient: PatientTensors) -> Tensor:
        """Return (column,): the patient's standardised row, then the level about the middle of the spine."""
        values, _ = self.encoder.rows(patient)
        level = patient.person.level
        return torch.cat([values[0], torch.tensor([0.0 if level is None else 2 * BOUND * (level - 0.5)])])

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return the tokens by name, and the released table and profiles for the report."""
        phantoms = place(phantom_latents(self.encoder, self.model), self.atlas)
        shares = phantoms.membership.T / np.maximum(phantoms.membership.sum(0)[:, None], 1e-9)
        known = named(shares, self.before)
        own = len(self.encoder.anchors)
        rows = self.encoder.anchors.double().numpy()
        profiles = self._profiles(sites, noise_sd, phantoms.membership[:own], rows)
        with torch.no_grad():
            centres = torch.nn.functional.normalize(torch.from_numpy(self.atlas.centres).float(), dim=1)
            score = self.model.pseudo_genomic(centres)
        places = zip(phantoms.places[:own].tolist(), phantoms.tokens[:own].tolist(), strict=True)
        table = {
            "names": list(known.names),
            "classes": [*self.plan.data.classes, "no label"],
            "anchors": [
                {"x": x, "y": y, "token": token, "class": label}
                for ((x, y), token), label in zip(places, anchor_labels(self.plan), strict=True)
            ],
            "points": [
                {"x": float(x), "y": float(y), "token": int(token)}
                for (x, y), token in zip(self.atlas.plane, self.atlas.membership.argmax(1), strict=True)
            ],
            "counts": {n: (site.sums["counts"][: self.number] / COUNTED).tolist() for n, site in sites.items()},
            "unlike": {n: float(site.sums["counts"][self.number].sum()) / COUNTED for n, site in sites.items()},
            "score": score[:, 0].tolist() if self.encoder.scored else [None] * self.number,
            "columns": list(self.columns),
            "profiles": profiles.tolist(),
        }
        numbers = [float(name.removeprefix("token-")) for name in known.names]
        return Outcome(
            common={
                "places": torch.from_numpy(known.places),
                "numbers": torch.tensor(numbers, dtype=torch.float64),
                "issued": torch.tensor(float(known.issued), dtype=torch.float64),
            },
            numbers={"tokens": table},
        )

    def _profiles(self, sites: Mapping[str, Site], noise_sd: float, membership: Array, rows: Array) -> Array:
        """Return (token, column): patients' means in shared deviations, drawn to phantoms' as far as noise weighs.

        Args:
            sites: released sums.
            noise_sd: of each entry of one site's.
            membership: (phantom, token).
            rows: (phantom, feature + omics), standardised.
        """
        phantom = (membership.T @ rows) / np.maximum(membership.sum(0)[:, None], 1e-9)
        prior = np.concatenate([phantom, np.zeros((self.number, 1))], axis=1)
        scale = BOUND * math.sqrt(len(self.columns)) / PROFILED
        total = sum((one.sums["profiles"].double().numpy() for one in sites.values()), np.zeros(prior.shape)) * scale
        counts = sum((one.sums["counts"][:-1].double().numpy().sum(1) for one in sites.values()), np.zeros(self.number))
        count = np.maximum(counts / COUNTED, 1.0)[:, None]
        noise = (noise_sd * math.sqrt(len(sites)) * scale / count) ** 2 + 1 / count  # of the mean: noise, and sampling
        found = prior + (total / count - prior) / (1 + noise)
        found[:, -1] = 0.5 + found[:, -1] / (2 * BOUND)  # the level is told as it is
        return np.asarray(found)


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return a map of phantoms under the trained encoder, where no `atlas` stage has made one of patients."""
    assert isinstance(model, Towers)
    if shared_atlas(shared) is not None and any(s.task == "atlas" and s.of == stage.of for s in plan.stage):
        return {}
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    latents = phantom_latents(encode.task(plan, plan.find(stage.of), shared), model)
    spread = np.repeat(phantom_spread(latents)[None], len(latents), axis=0)
    anchors = Anchors(latents, np.ones(len(latents)), spread)
    made = shared_map.fit(anchors, min(options.tokens, len(latents)), plan.seed, unit=True, points=POINTS)
    return {f"atlas.{key}": torch.from_numpy(np.asarray(value)) for key, value in made.arrays().items()}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Tokens:
    """Return the task of `stage`."""
    assert isinstance(model, Towers)
    atlas = shared_atlas(shared)
    if atlas is None:
        need(shared, "atlas.references")
    assert atlas is not None
    encoder = encode.task(plan, plan.find(stage.of), shared)
    return Tokens(plan, encoder, model, atlas, _before(shared, stage))


def _before(shared: Shared, stage: Stage) -> Named | None:
    """Return the tokens of the run whose `tokens.safetensors` the stage's `initial` names."""
    if not stage.initial:
        return None
    places, numbers, issued = frozen_values(shared, stage, ("places", "numbers", "issued"))
    names = tuple(f"token-{int(number)}" for number in numbers.tolist())
    return Named(names, places.double().numpy(), int(issued))


def as_numbers(placed: Placed) -> dict[str, Any]:
    """Return one patient's place as plain numbers, for the hospital's own page."""
    x, y = placed.places[0].tolist()
    token = int(placed.tokens[0])
    return {
        "x": x,
        "y": y,
        "token": token,
        "certainty": float(placed.membership[0, token]),
        "unlike": bool(placed.unlike[0]),
    }

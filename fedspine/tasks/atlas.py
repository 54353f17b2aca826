"""`atlas`: the map that all hospitals share, from rounds of private sums about public centres.

A patient's term tells which centre is nearest, how far off the patient lies, and in which direction patients scatter:
`atlas.private_anchors.term`, of norm 1 at most. After the last round the server draws synthetic points about the
anchors, lays them out by UMAP and finds lesion tokens among them; hospitals place their own patients with these arrays
and keep the places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from fedspine.atlas import private_anchors, shared_map
from fedspine.atlas.placing import SharedMap, from_arrays
from fedspine.atlas.private_anchors import Anchors, Query
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.networks.towers import Towers
from fedspine.strict import build
from fedspine.tasks import encode
from fedspine.tasks._task import Outcome, Shared, Site, need

MEASURES = ("encode",)
REPEATS = True

EXACT, NOISY = 150, 32
"""Anchors where the plan has no noise, and where it has: each should have several times the noise's patients."""

PHANTOMS = 0.25
"""Phantoms weigh this many standard deviations of the noise of all counts together."""

ARRAYS = ("references", "plane", "membership", "centres", "radius")


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        anchors: of the map; 0 for 150 without noise and 32 with it.
        tokens: lesion tokens; 0 for as many as tell.
    """

    anchors: int = 0
    tokens: int = 6


@dataclass(frozen=True)
class Atlas:
    """The task; see `Measured` in `_task`.

    Args:
        encoder, model: that give a patient's latent.
        asked: what this round asks.
        last: whether the map is made of this round's sums.
        tokens: how many; 0 for as many as tell.
        seed: the plan's.
        number: of the round, from 0.
    """

    encoder: encode.Encode
    model: Towers
    asked: Query
    last: bool
    tokens: int
    seed: int
    number: int
    pools: ClassVar[bool] = True

    def zeros(self) -> dict[str, Tensor]:
        """Return a term of nothing, float64."""
        return {key: torch.from_numpy(value) for key, value in private_anchors.zeros(self.asked).items()}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's term; of norm 1 at most, from the patient's latent and the public query."""
        if not patient.has_image:
            return None
        with torch.no_grad():
            latent = self.encoder.embed(self.model, patient).double().numpy()
        return {key: torch.from_numpy(value) for key, value in private_anchors.term(latent, self.asked).items()}

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return the next round's centres, or after the last round the map."""
        sums = {
            key: sum((site.sums[key].double().numpy() for site in sites.values()), np.zeros(value.shape))
            for key, value in self.zeros().items()
        }
        noise = noise_sd * math.sqrt(len(sites))
        if not self.last:
            following = private_anchors.advance(self.asked, sums, noise, self.seed + self.number)
            return Outcome(common=_packed(following, self.number + 1))
        anchors = self._with_phantoms(private_anchors.finish(self.asked, sums, noise), noise)
        made = shared_map.fit(anchors, min(self.tokens, len(anchors.counts)), self.seed, unit=True)
        common = {key: torch.from_numpy(np.asarray(value)) for key, value in made.arrays().items()}
        told = {"anchors": len(anchors.counts), "noise": noise / private_anchors.COUNT}
        return Outcome(common=common, numbers={"atlas": told})

    def _with_phantoms(self, anchors: Anchors, noise: float) -> Anchors:
        """Return the anchors and, beside them, phantoms that weigh as much as the noise: where that is more than there
        are patients, the map is one of phantoms, and without noise it is the patients' alone.
        """
        weight = PHANTOMS * noise / private_anchors.COUNT * len(self.asked.centres)
        if weight <= 0 and anchors.counts.sum() > 0:
            return anchors
        latents = phantom_latents(self.encoder, self.model)
        spread = np.repeat(phantom_spread(latents)[None], len(latents), axis=0)
        return Anchors(
            np.concatenate([anchors.centres, latents]),
            np.concatenate([anchors.counts, np.full(len(latents), max(weight, 1.0) / len(latents))]),
            np.concatenate([anchors.spread, spread]),
        )


def phantom_spread(latents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance of synthetic points about a phantom, (latent, latent): a little of the phantoms' own."""
    return np.asarray(0.02 * np.cov(latents.T) + 1e-4 * np.eye(latents.shape[1]))


def shared_atlas(shared: Shared) -> SharedMap | None:
    """Return the map that a plan's stages released, `None` before there is one."""
    if f"atlas.{ARRAYS[0]}" not in shared:
        return None
    return from_arrays({key: shared[f"atlas.{key}"].numpy() for key in ARRAYS})


def phantom_latents(encoder: encode.Encode, model: Towers) -> NDArray[np.float64]:
    """Return the anchors' latents from both examinations, (2·anchor, latent)."""
    with torch.no_grad():
        both = [model.embed_image(rows) for rows in (encoder.anchor_images, encoder.twin_images)]
    return torch.cat(both).double().numpy()


def _packed(asked: Query, number: int) -> dict[str, Tensor]:
    return {
        "asked": torch.from_numpy(asked.centres),
        "reach": torch.tensor(asked.reach, dtype=torch.float64),
        "groups": torch.from_numpy(asked.groups),
        "round": torch.tensor(float(number)),
    }


def check(plan: Plan, stage: Stage) -> Options:
    """Return the stage's options, or say which cannot be."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    for what in ("anchors", "tokens"):
        value = getattr(options, what)
        demand(
            value == 0 or value >= 2, f"{what} of stage '{stage.name}' must be 0, or 2 or more", value, "mend the value"
        )
    return options


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return what the first round asks: centres among the phantoms' latents."""
    assert isinstance(model, Towers)
    options = check(plan, stage)
    exact = plan.privacy.mechanism == "none"
    latents = np.unique(phantom_latents(encode.task(plan, plan.find(stage.of), shared), model), axis=0)
    count = options.anchors or (EXACT if exact else NOISY)
    if count < len(latents):
        centres = KMeans(count, n_init=3, random_state=plan.seed).fit(latents).cluster_centers_
    else:
        extra = private_anchors.grid_on_sphere(latents.shape[1], count - len(latents) or 1, plan.seed)
        centres = np.concatenate([latents, extra])[:count]
    centres = np.asarray(centres, dtype=np.float64)
    asked = private_anchors.query(centres, own_spread=exact)
    return {f"atlas.{key}": value for key, value in _packed(asked, 0).items()}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Atlas:
    """Return the task of `stage`."""
    assert isinstance(model, Towers)
    options = check(plan, stage)
    number = int(need(shared, "atlas.round"))
    asked = Query(
        need(shared, "atlas.asked").double().numpy(),
        float(need(shared, "atlas.reach")),
        need(shared, "atlas.groups").numpy(),
    )
    encoder = encode.task(plan, plan.find(stage.of), shared)
    return Atlas(encoder, model, asked, number + 1 >= stage.rounds, options.tokens, plan.seed, number)

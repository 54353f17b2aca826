"""`tokens`: how many patients of each class fall to each lesion token, and where the tokens' centres then lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.atlas.anchors import anchor_labels
from fedspine.atlas.token_map import fit, nearest_token
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.networks.towers import Towers
from fedspine.strict import build
from fedspine.tasks import encode
from fedspine.tasks._task import Outcome, Shared, Site, need

MEASURES = ("encode",)


@dataclass(frozen=True)
class Options:
    """Settings of the stage: how many lesion tokens."""

    tokens: int = 6


@dataclass(frozen=True)
class Tokens:
    """The task; see `Measured` in `_task`."""

    plan: Plan
    encoder: encode.Encode
    model: Towers
    shared: Shared

    @property
    def centres(self) -> Tensor:
        """(token, latent) unit vectors before patients were counted."""
        return need(self.shared, "atlas.centres")

    def zeros(self) -> dict[str, Tensor]:
        """`counts`: (token, class + 1), the last for unlabelled patients; `centres`: (token, latent)."""
        tokens, latent = self.centres.shape
        return {"counts": torch.zeros(tokens, len(self.plan.data.classes) + 1), "centres": torch.zeros(tokens, latent)}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's one-hot count and its unit vector in its token's row."""
        if not patient.has_image:
            return None
        with torch.no_grad():
            latent = self.encoder.embed(self.model, patient)
        token = nearest_token(latent, self.centres)
        term = self.zeros()
        term["counts"][token, patient.label] = 1.0  # -1, no label, is the last column
        term["centres"][token] = latent
        return {key: value / math.sqrt(2) for key, value in term.items()}

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return the tokens' centres moved by the patients, and the released table for the report."""
        zeros = self.zeros()
        total = {key: sum((site.sums[key] for site in sites.values()), zero) for key, zero in zeros.items()}
        noise = noise_sd * math.sqrt(2 * len(sites))
        anchors = torch.stack([(need(self.shared, "atlas.token") == t).sum() for t in range(len(self.centres))])
        moved = self.centres * (anchors[:, None] + noise**2) + total["centres"] * math.sqrt(2)
        with torch.no_grad():
            score = self.model.pseudo_genomic(self.centres)[:, 0]
        plane, token = need(self.shared, "atlas.map"), need(self.shared, "atlas.token")
        labels = anchor_labels(self.plan)
        table = {
            "names": [f"token-{t + 1}" for t in range(len(self.centres))],
            "classes": [*self.plan.data.classes, "no label"],
            "anchors": [
                {"x": float(x), "y": float(y), "token": int(t), "class": label}
                for (x, y), t, label in zip(plane.tolist(), token.tolist(), labels, strict=True)
            ],
            "counts": {name: (site.sums["counts"] * math.sqrt(2)).tolist() for name, site in sites.items()},
            "score": score.tolist(),
        }
        return Outcome(common={"centres": F.normalize(moved, dim=1)}, numbers={"tokens": table})


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the atlas of the anchors under the trained encoder."""
    assert isinstance(model, Towers)
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    encoder = encode.task(plan, plan.find(stage.of), shared)
    with torch.no_grad():
        latents = model.embed_image(encoder.image_rows(encoder.anchors, encoder.anchors_known))
    atlas = fit(latents, options.tokens, plan.seed)
    return {f"atlas.{key}": value for key, value in atlas.items()}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Tokens:
    """Return the task of `stage`."""
    assert isinstance(model, Towers)
    return Tokens(plan, encode.task(plan, plan.find(stage.of), shared), model, shared)

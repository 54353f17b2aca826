"""`standardise`: one shared mean and deviation per image feature and omics column.

Phantoms give a public prior. Each patient's term holds, per column, its distance from the prior's mean in prior
deviations, and that squared; zero where the patient has no value, which leaves the prior where it is. The released sums
move the prior, the less the noisier they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import prior, rows_of
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.harmony.scaling import BOUND, standard
from fedspine.tasks._task import Outcome, Shared, Site, need

SQUARE = 1 / 8
"""Weight of the squared distance within a term."""

MEASURES = ()


@dataclass(frozen=True)
class Standardise:
    """The task; see `Measured` in `_task`."""

    mean: Tensor
    deviation: Tensor

    @property
    def scale(self) -> float:
        """Divisor that brings the term of a typical patient to norm 1 (a rare larger one is clipped)."""
        return math.sqrt(0.2 * max(len(self.mean), 1))

    def zeros(self) -> dict[str, Tensor]:
        """`first` and `second`: (column,)."""
        return {key: torch.zeros(len(self.mean)) for key in ("first", "second")}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's row: distance, squared distance less one."""
        values, known = rows_of(patient)
        z = standard(values, known, self.mean, self.deviation)
        parts = {"first": z / BOUND, "second": SQUARE * (z**2 - 1) * known}
        return {key: part / self.scale for key, part in parts.items()}

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return `standardise.mean` and `standardise.deviation`: the prior moved by noise-aware shrinkage."""
        count = max(sum(site.patients for site in sites.values()), 1)
        total = {key: sum((site.sums[key] for site in sites.values()), zero) for key, zero in self.zeros().items()}
        noise = noise_sd * math.sqrt(len(sites)) * self.scale
        shift = total["first"] * self.scale * BOUND / count
        shift = shift / (1 + (noise * BOUND / count) ** 2 + 1 / count)
        excess = total["second"] * self.scale / SQUARE / count
        excess = excess / (1 + (noise / SQUARE / count) ** 2 + 2 / count)
        variance = (1 + excess - shift**2).clamp(min=0.1)
        return Outcome(
            common={"mean": self.mean + self.deviation * shift, "deviation": self.deviation * variance.sqrt()}
        )


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the phantoms' mean and deviation per column."""
    return prior(plan)


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Standardise:
    """Return the task of `stage`."""
    return Standardise(need(shared, "prior.mean"), need(shared, "prior.deviation"))

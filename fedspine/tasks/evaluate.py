"""`evaluate`: counts of how a trained network does on held-out patients; metrics follow from the released sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.evaluation.intervals import Counts, interval
from fedspine.tasks._task import TOGETHER, Outcome, Scored, Shared, Site, make

MEASURES = ("segment", "classify", "encode", "levels")


@dataclass(frozen=True)
class Evaluate:
    """The task; see `Measured` in `_task`."""

    name: str
    scored: Scored
    model: nn.Module
    pools: ClassVar[bool] = True

    def zeros(self) -> dict[str, Tensor]:
        """Return the measured task's zero counts."""
        return self.scored.counts()

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's counts."""
        with torch.no_grad():
            return self.scored.evaluate(self.model, patient)

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return metrics per site and pooled, each with its interval."""
        zeros = self.zeros()
        pooled = {key: sum((site.sums[key] for site in sites.values()), zero) for key, zero in zeros.items()}
        everybody = sum(site.patients for site in sites.values())
        numbers = {
            "pooled": self._metrics(pooled, everybody, noise_sd * math.sqrt(len(sites))),
            "sites": {
                name: self._metrics(site.sums, site.patients, noise_sd)
                for name, site in sites.items()
                if name != TOGETHER
            },
        }
        return Outcome(numbers={"metrics": {self.name: numbers}})

    def _metrics(self, counts: Counts, patients: int, noise_sd: float) -> dict[str, dict[str, float | None]]:
        """Return each metric with its interval, or `None` where there is nobody to measure."""
        task = self.scored
        found = interval(counts, task.metrics, noise_sd=noise_sd, units=task.units(), totals=task.totals)
        nothing: dict[str, float | None] = {"value": None, "low": None, "high": None}
        return found if patients else dict.fromkeys(found, nothing)


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Evaluate:
    """Return the task of `stage`."""
    assert model is not None
    return Evaluate(stage.name, cast(Scored, make(plan, plan.find(stage.of), shared)), model)

"""`evaluate`: counts of how a trained network does on held-out patients; metrics follow from the released sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.evaluation.intervals import interval
from fedspine.tasks._task import Outcome, Scored, Shared, Site, make

MEASURES = ("segment", "classify", "encode")


@dataclass(frozen=True)
class Evaluate:
    """The task; see `Measured` in `_task`."""

    name: str
    scored: Scored
    model: nn.Module

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
        metrics, units = self.scored.metrics, self.scored.units()
        numbers = {
            "pooled": interval(pooled, metrics, noise_sd=noise_sd * math.sqrt(len(sites)), units=units),
            "sites": {n: interval(s.sums, metrics, noise_sd=noise_sd, units=units) for n, s in sites.items()},
        }
        return Outcome(numbers={"metrics": {self.name: numbers}})


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Evaluate:
    """Return the task of `stage`."""
    assert model is not None
    return Evaluate(stage.name, cast(Scored, make(plan, plan.find(stage.of), shared)), model)

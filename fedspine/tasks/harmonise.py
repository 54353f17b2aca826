"""`harmonise`: each site's scanner effect on the intensities of every contrast, by ComBat from private sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.harmony.apply import intensities, intensity_names
from fedspine.harmony.combat import SiteSums, pool, site_effect
from fedspine.tasks._task import Outcome, Shared, Site

CENTRE, SPREAD = 0.3, 0.2
"""Public guess of where body intensities lie on the patient's own 0-1 scale, and how far they scatter."""

SQUARE = 0.5
"""Weight of the squared distance within a term."""

MEASURES = ()


@dataclass(frozen=True)
class Harmonise:
    """The task; see `Measured` in `_task`. Features are a contrast's body mean and deviation.

    A patient who lacks a contrast counts as one at the public centre: the number of those who have it would be one more
    noisy release to divide by, while the number of patients is public.
    """

    names: tuple[str, ...]

    @property
    def scale(self) -> float:
        """Divisor that brings the term of a typical patient to norm 1 (a rare larger one is clipped)."""
        return math.sqrt(1.5 * max(len(self.names), 1))

    def zeros(self) -> dict[str, Tensor]:
        """`first` and `second`: (feature,)."""
        return {key: torch.zeros(len(self.names)) for key in ("first", "second")}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's row: distance from the public centre in public spreads, and squared."""
        values, known = intensities(patient)
        z = ((values - CENTRE) / SPREAD).clamp(-3, 3) * known
        parts = {"first": z, "second": SQUARE * z**2}
        return {key: part / self.scale for key, part in parts.items()}

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return the pooled α and σ, and each site's own γ and δ, all on the scale of the features."""
        noise = noise_sd * self.scale
        sums = {name: self._sums(site, noise) for name, site in sites.items()}
        pooled = pool(list(sums.values()))
        own, before, after = {}, {}, {}
        for name, site in sums.items():
            effect = site_effect(site, pooled)
            mean = site.features / site.count
            own[name] = {"gamma": _tensor(effect.gamma), "delta": _tensor(effect.delta)}
            before[name] = ((mean - pooled.alpha) / pooled.sigma).tolist()
            after[name] = (((mean - pooled.alpha) / pooled.sigma - effect.gamma) / np.sqrt(effect.delta)).tolist()
        return Outcome(
            common={"alpha": _tensor(CENTRE + SPREAD * pooled.alpha), "sigma": _tensor(SPREAD * pooled.sigma)},
            own=own,
            numbers={"harmonisation": {"features": list(self.names), "before": before, "after": after}},
        )

    def _sums(self, site: Site, noise: float) -> SiteSums:
        sums = {key: value.double().numpy() * self.scale for key, value in site.sums.items()}
        count = np.full(len(self.names), float(max(site.patients, 1)))
        none = np.zeros(0)
        empty = np.zeros((0, len(self.names)))
        squares = np.maximum(sums["second"] / SQUARE, 1e-3)
        return SiteSums(count, none, np.zeros((0, 0)), sums["first"], empty, squares, noise, noise / SQUARE)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Harmonise:
    """Return the task of `stage`."""
    return Harmonise(intensity_names(plan.data.contrasts))

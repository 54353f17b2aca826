"""The second round of `harmonise`: the space that harmonised features lie in, the same at every site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.cohort.tensors import PatientTensors
from fedspine.harmony.space import Space as Found
from fedspine.harmony.space import SpaceSums, batch_shift, fit_space, space_sums, space_term
from fedspine.tasks._scanners import of_scanner
from fedspine.tasks._task import Outcome, Site


@dataclass(frozen=True)
class Space:
    """The measurement; see `Measured` in `_task`.

    Args:
        names: of the features.
        alpha, sigma: (feature,), the scale that all scanners share.
        axes: most dimensions.
        exact: whether terms are unbounded, for a plan without noise.
    """

    names: tuple[str, ...]
    alpha: Tensor
    sigma: Tensor
    axes: int
    exact: bool

    def zeros(self) -> dict[str, Tensor]:
        """Return `first` (scanner, feature) and `outer` (scanner, G·(G + 1)/2), float64."""
        size = len(self.names)
        shapes = {"first": size, "outer": size * (size + 1) // 2}
        return {part: torch.zeros(MOST_SCANNERS, length, dtype=torch.float64) for part, length in shapes.items()}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's `space_term` in the row of the patient's scanner: of norm at most 1 unless exact."""
        if patient.batch < 0 or patient.harmonised is None:
            return None
        values, known = (one[: len(self.names)].double() for one in patient.harmonised)
        own = space_term(((values - self.alpha) / self.sigma).numpy(), known.numpy(), bounded=not self.exact)
        return of_scanner(self.zeros(), patient.batch, own)

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return `centre` (feature,), `axes` (axis, feature), `axis_variance` (axis,), in pooled deviations."""
        batches = {
            (name, number): space_sums(
                {part: value[number].double().numpy() for part, value in site.sums.items()},
                site.scanners[number],
                None if self.exact else noise_sd,
            )
            for name, site in sites.items()
            for number in range(MOST_SCANNERS)
            if site.scanners[number] > 0
        }
        if not batches:
            return Outcome()
        space = fit_space(list(batches.values()), self.axes)
        found = {"centre": space.centre, "axes": space.axes, "axis_variance": space.variance}
        share = float(space.variance.sum()) / len(self.names)
        told = {"axes": len(space.axes), "share": None if math.isnan(share) else share}
        return Outcome(
            common={key: torch.from_numpy(np.asarray(value, np.float64)) for key, value in found.items()},
            own={name: self._own(name, batches, space) for name in sites},
            numbers={"space": {**told, "features": list(self.names), "loadings": space.axes.tolist()}},
        )

    def _own(self, name: str, batches: Mapping[tuple[str, int], SpaceSums], space: Found) -> dict[str, Tensor]:
        """Return where a site's scanners lie along the axes and how wide, (scanner, axis) each."""
        size = len(space.axes)
        rows = [
            batch_shift(batches[name, number], space) if (name, number) in batches else (np.zeros(size), np.ones(size))
            for number in range(MOST_SCANNERS)
        ]
        shifts, widths = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return {"shift": shifts, "width": widths}

"""The pseudo-genomic score: molecular activity as the markers tell it, less what assays get wrong, with an interval.

The score is the mean of the plan's markers, each standardised, as an assay without error would measure them. Of a
phantom that is known, and genomes of phantoms cost next to nothing: a small network learns from thousands of them what
all omics columns together say of it, whichever are missing, and how sure that is (a normal distribution's mean and
deviation). It has seen no patient and is arrays. Where a marker is none that phantoms have, the score is the mean of
those that a patient has, and its interval tells what the missing ones may change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.tensors import OMICS_BOUND
from fedspine.config import Plan
from fedspine.phantom.genome import MUTATIONS, OMICS_COLUMNS
from fedspine.phantom.public import public_genomes
from fedspine.privacy.patient_sum import public_generator

GENOMES, STEPS, BATCH = 6000, 1500, 256
CHECKED = 1000
"""Of the genomes, those on which the width of intervals is set, none of which the network was fitted to."""
HIDDEN = 32
MISSING = 0.15
"""Share of columns hidden from a genome in training; half of all genomes are complete."""

PREFIX = "surrogate."
LEAST = math.log(0.05)
"""Of the logarithm of the deviation, so that no likelihood grows without bound."""

NORMAL_90 = 1.645
"""A normal variable lies within so many standard deviations of its mean 90 % of the time."""


class Surrogate(nn.Module):
    """Omics and which are known, (row, 2·column), to the score's mean and logarithm of its deviation, (row, 2)."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * columns, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 2)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Return mean and logarithm of the deviation."""
        result: Tensor = self.layers(rows)
        return torch.stack([result[:, 0], result[:, 1].clamp(min=LEAST)], dim=1)


def surrogate(plan: Plan) -> dict[str, Tensor]:
    """Return the network's arrays, `surrogate.*`, and the scale of the omics; empty where a marker is foreign.

    Args:
        plan: omics columns, markers and seed.
    """
    data = plan.data
    if not data.markers or not set(data.markers) <= set(OMICS_COLUMNS[len(MUTATIONS) :]):
        return {}
    rows, known, truth = _genomes(plan)
    mean, deviation = rows.mean(0), rows.std(0).clamp(min=1e-3)
    known_columns = known.bool()
    rows = (rows - mean) / deviation * known
    draws = public_generator(plan.seed, "surrogate")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        model = Surrogate(len(data.omics))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS + 1, cycle_momentum=False)
    for _ in range(STEPS):
        chosen = torch.randint(CHECKED, len(rows), (BATCH,), generator=draws)
        hidden = torch.rand(BATCH, rows.shape[1], generator=draws) < MISSING * (
            torch.rand(BATCH, 1, generator=draws) < 0.5
        )
        shown = (~hidden & known_columns).float()
        found = model(torch.cat([rows[chosen] * shown, shown], dim=1))
        loss = F.gaussian_nll_loss(found[:, 0], truth[chosen], (2 * found[:, 1]).exp())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        shown = known_columns.float().expand(CHECKED, -1)
        found = model(torch.cat([rows[:CHECKED] * shown, shown], dim=1))
        error = (found[:, 0] - truth[:CHECKED]).abs() / found[:, 1].exp()
    arrays = {f"{PREFIX}{key}": value.detach().clone() for key, value in model.state_dict().items()}
    width = error.quantile(0.9) / NORMAL_90
    return {**arrays, f"{PREFIX}mean": mean, f"{PREFIX}deviation": deviation, f"{PREFIX}width": width}


def _genomes(plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return public omics (phantom, column) in the plan's columns, which of them it has (column,), and the truth."""
    measured, expected = public_genomes(GENOMES, 1000 * plan.seed + 4)
    columns = [OMICS_COLUMNS.index(name) if name in OMICS_COLUMNS else -1 for name in plan.data.omics]
    known = torch.tensor([float(column >= 0) for column in columns])
    rows = torch.from_numpy(np.arcsinh(measured[:, columns])).float().clamp(-OMICS_BOUND, OMICS_BOUND) * known
    markers = [OMICS_COLUMNS.index(name) - len(MUTATIONS) for name in plan.data.markers]
    exact = torch.from_numpy(np.arcsinh(expected[:, markers])).float()
    return rows, known, ((exact - exact.mean(0)) / exact.std(0)).mean(1)


@dataclass(frozen=True, eq=False)
class Reading:
    """How a score is read off omics.

    Args:
        markers: which columns are markers.
        model: of `surrogate`; `None` where a marker is foreign.
        mean, deviation: (column,) by which omics are standardised.
        width: factor on the model's deviation, so that 90 % intervals hold 90 % of phantoms.
    """

    markers: tuple[int, ...]
    model: Surrogate | None
    mean: Tensor
    deviation: Tensor
    width: float = 1.0

    def of(self, omics: Tensor, known: Tensor) -> Tensor:
        """Return scores and their deviations, (row, 2), in standard deviations of a marker; NaN without a marker.

        Args:
            omics: (row, column), units of `PatientTensors.omics`.
            known: (row, column).
        """
        chosen = torch.tensor(self.markers, dtype=torch.long)
        there = known[:, chosen]
        count = there.sum(1)
        values = (omics - self.mean) / self.deviation * known
        if self.model is None:
            missing = ((1 - count / max(len(chosen), 1)) / count).sqrt()
            found = torch.stack([values[:, chosen].sum(1) / count, missing], dim=1)
        else:
            with torch.no_grad():
                told = self.model(torch.cat([values, known], dim=1))
            found = torch.stack([told[:, 0], self.width * told[:, 1].exp()], dim=1)
        return torch.where(count[:, None] > 0, found, torch.nan)


def reading(shared: Mapping[str, Tensor], markers: tuple[int, ...], mean: Tensor, deviation: Tensor) -> Reading:
    """Return how scores are read with the public values `shared`.

    Args:
        shared: `surrogate.*`, or nothing of the kind.
        markers: which omics columns are markers.
        mean, deviation: (column,) of the omics on the scale that all sites share, used where there is no surrogate.
    """
    if f"{PREFIX}mean" not in shared:
        return Reading(markers, None, mean, deviation)
    with torch.random.fork_rng(devices=[]):
        model = Surrogate(len(mean))
    model.load_state_dict({key: shared[f"{PREFIX}{key}"] for key in model.state_dict()})
    own = (shared[f"{PREFIX}{key}"] for key in ("mean", "deviation", "width"))
    first, second, width = own
    return Reading(markers, model.eval(), first, second, float(width))

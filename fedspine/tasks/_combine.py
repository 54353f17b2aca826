"""What the server makes of the sites' weights: their mean, a step of its own, a running average. No patient is near.

Everything here is a function of released weights, so it costs no privacy (post-processing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedspine.config import Stage

Weights = Mapping[str, Tensor]

BETAS, ADAPTIVITY = (0.9, 0.99), 1e-3
"""β₁, β₂ and τ of FedAdam, as in the paper's experiments (Reddi 2021, section 5)."""


def mean_weights(weights: Sequence[Weights], patients: Sequence[float]) -> dict[str, Tensor]:
    """Return the mean of the sites' weights, by their (public) numbers of patients (FedAvg, McMahan 2017).

    Args:
        weights: one mapping a site, all of the same names, shapes and kinds.
        patients: how many each site enrolled.
    """
    shares = torch.tensor([max(float(count), 1e-9) for count in patients], dtype=torch.float64)
    shares /= shares.sum()
    return {
        key: sum(
            (share * site[key].double() for share, site in zip(shares, weights, strict=True)),
            torch.zeros(first.shape, dtype=torch.float64),
        ).to(first.dtype)
        for key, first in weights[0].items()
    }


def next_weights(stage: Stage, old: Weights, mean: Weights, memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights after the server's rule; `memory` keeps its moments from round to round and is changed.

    With `server = "adam"` the step from `old` to `mean` is taken as a gradient of FedAdam (Reddi 2021, algorithm 2):
    under noise, a coordinate that only shakes moves little, and one that goes one way moves on.
    """
    if stage.server == "average":
        return dict(mean)
    result = {}
    for key, value in mean.items():
        if not value.dtype.is_floating_point:
            result[key] = value
            continue
        step = value - old[key]
        first = memory.get(f"first.{key}", torch.zeros_like(step)) * BETAS[0] + step * (1 - BETAS[0])
        second = memory.get(f"second.{key}", torch.zeros_like(step)) * BETAS[1] + step**2 * (1 - BETAS[1])
        memory[f"first.{key}"], memory[f"second.{key}"] = first, second
        result[key] = old[key] + stage.server_rate * first / (second.sqrt() + ADAPTIVITY)
    return result


def note_average(stage: Stage, weights: Weights, memory: dict[str, Tensor]) -> None:
    """Move the running average in `memory` towards `weights`; it begins at the first ones."""
    if not stage.average:
        return
    for key, value in weights.items():
        before = memory.get(f"average.{key}", value)
        memory[f"average.{key}"] = before.lerp(value, 1 - stage.average) if value.dtype.is_floating_point else value


def kept_weights(stage: Stage, weights: Weights, memory: Weights) -> dict[str, Tensor]:
    """Return the weights that a stage ends with: the running average where it has one, else the last."""
    return {key: memory[f"average.{key}"] if stage.average else value for key, value in weights.items()}

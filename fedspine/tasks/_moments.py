"""An optimiser's moments between rounds, as plain tensors in the server's memory of a stage."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def remember(optimiser: torch.optim.Adam, model: nn.Module, memory: dict[str, Tensor], whose: str) -> None:
    """Keep the optimiser's moments in `memory`, under the name `whose`."""
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            memory[f"{whose}.{key}.{name}"] = value.detach().to("cpu", copy=True)


def recall(optimiser: torch.optim.Adam, model: nn.Module, memory: Mapping[str, Tensor], whose: str) -> None:
    """Give the optimiser the moments that `remember` kept."""
    for name, parameter in model.named_parameters():
        known = {key: memory.get(f"{whose}.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if known["step"] is not None:
            moments = {key: value.to(parameter.device, copy=True) for key, value in known.items() if value is not None}
            optimiser.state[parameter] = {**moments, "step": moments["step"].cpu()}

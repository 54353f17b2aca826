"""Which weights of a network are trained on patients: few parameters suffer less noise."""

from __future__ import annotations

from torch import nn

from fedspine.config import PARTS
from fedspine.errors import ConfigError


def chosen_parameters(model: nn.Module, part: str) -> list[nn.Parameter]:
    """Return the weights of `part`: all, the last layer, or it and the affine weights of normalisation layers.

    Under differential privacy noise grows with the square root of the number of trained weights, while the clipped
    signal does not; a network that phantoms have pre-trained needs only its scales and its head moved. A network whose
    head is more than its last layer names the parts in `heads`.
    """
    if part not in PARTS:
        raise ConfigError("trained must be known", f"'{part}'", f"use one of: {', '.join(PARTS)}")
    if part == "all":
        return list(model.parameters())
    layers = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    heads = getattr(model, "heads", ())
    last = [p for name in heads for p in model.get_submodule(name).parameters()] or list(layers[-1].parameters())
    norms = [m for m in layers if part != "head" and isinstance(m, nn.GroupNorm | nn.LayerNorm)]
    return list(dict.fromkeys([*(p for m in norms for p in m.parameters(recurse=False)), *last]))

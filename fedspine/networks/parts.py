"""Which weights of a network are trained on patients: few parameters suffer less noise."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fedspine.config import PARTS
from fedspine.errors import ConfigError
from fedspine.networks.adapters import Adapter, with_adapters


def prepared(network: nn.Module, part: str) -> nn.Module:
    """Return the untrained `network` with what training `part` of it needs: adapters, or nothing."""
    return with_adapters(network) if part == "adapters" else network


def chosen_parameters(model: nn.Module, part: str) -> list[nn.Parameter]:
    """Return the weights of `part`, each once.

    "head" is the last layer, or what the network names in `head_parts`; "norms and head" adds the scales and offsets of
    normalisation layers (Frankle 2021, ICLR; FiLM-like); "adapters" adds to these narrow paths beside convolutions
    (`networks.adapters`); "all" is all.

    Under differential privacy noise grows with the square root of the number of trained weights, while the clipped
    signal does not; a network that phantoms have pre-trained needs only its scales and its head moved.

    Raises:
        ConfigError: if the part is unknown, or the network was built without adapters (`prepared`).
    """
    if part not in PARTS:
        raise ConfigError("trained must be known", f"'{part}'", f"use one of: {', '.join(PARTS)}")
    if part == "all":
        return list(model.parameters())
    adapters = [m for m in model.modules() if isinstance(m, Adapter)]
    if part == "adapters" and not adapters:
        raise ConfigError("a task that trains adapters must have them", "none", "choose another part in `trained`")
    chosen = [m.parameters() for m in adapters] if part == "adapters" else []
    if part != "head":
        chosen += [m.parameters() for m in model.modules() if isinstance(m, nn.GroupNorm | nn.LayerNorm)]
    return list(dict.fromkeys(p for some in [*chosen, *_heads(model, adapters)] for p in some))


def _heads(model: nn.Module, adapters: list[Adapter]) -> list[Iterator[nn.Parameter]]:
    names = getattr(model, "head_parts", ())
    if names:
        return [model.get_submodule(name).parameters() for name in names]
    inside = {id(m) for adapter in adapters for m in adapter.modules()}
    own = [m for m in model.modules() if id(m) not in inside and next(m.parameters(recurse=False), None) is not None]
    return [own[-1].parameters(recurse=False)]

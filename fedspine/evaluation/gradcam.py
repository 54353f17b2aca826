"""Grad-CAM as a number: which share of what a network attends to lies inside the lesion.

A heat map that looks convincing proves little: some barely change when the network's weights are made random (Adebayo
2018, NeurIPS). So the share stands beside two others: that of the same network with random weights, and the share of
the image that is lesion, which is what attention without any aim would get.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.bootstrap import Estimate, mean_interval

Target = Callable[[nn.Module, PatientTensors], Tensor]
"""The scalar that a network is asked to explain for one patient, such as the logit of the patient's class."""

Convolution = (nn.Conv2d, nn.Conv3d)

_SMALLEST = 4


@dataclass(frozen=True)
class Localisation:
    """Shares of a heat map's energy that lie inside the lesion, means over patients.

    Args:
        inside: of the trained network.
        randomised: of the same network with fresh weights.
        gain: trained less randomised, patient by patient.
        by_chance: share of the image that is lesion.
        patients: who have a lesion and a heat map that is not empty.
        layer: name of the convolution.
    """

    inside: Estimate
    randomised: Estimate
    gain: Estimate
    by_chance: float
    patients: int
    layer: str


def localisation(
    model: nn.Module, target: Target, patients: Sequence[PatientTensors], *, deepest: bool = False, seed: int = 0
) -> Localisation:
    """Return how much of the heat map lies inside the lesion.

    Args:
        model: in evaluation mode; its weights stay as they are.
        target: what to explain.
        patients: those without a lesion are passed over.
        deepest: look at the coarsest maps, as for a U-Net, whose last convolution sees every pixel anyway; the last
            convolution that still sees places, as for a classifier, if not.
        seed: of the random weights.
    """
    shown = [p for p in patients if p.mask is not None and p.has_image and bool(p.mask[:, :1].any())]
    fresh = randomised(model, seed)
    layer = chosen_layer(model, partial(target, model, shown[0]), deepest=deepest) if shown else ""
    rows = []
    for patient in shown:
        assert patient.mask is not None
        shares = [share_inside(net, layer, partial(target, net, patient), patient.mask) for net in (model, fresh)]
        rows.append([*shares, float(patient.mask[:, :1].mean())])
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    table = table[np.isfinite(table).all(axis=1)]
    return Localisation(
        inside=mean_interval(table[:, 0]),
        randomised=mean_interval(table[:, 1]),
        gain=mean_interval(table[:, 0] - table[:, 1]),
        by_chance=float(table[:, 2].mean()) if len(table) else float("nan"),
        patients=len(table),
        layer=layer,
    )


def share_inside(model: nn.Module, layer: str, target: Callable[[], Tensor], mask: Tensor) -> float:
    """Return the share of the heat map that lies inside the mask; NaN where the map is empty.

    Args:
        model: the network.
        layer: name of a convolution of it.
        target: runs the network on one patient and returns the scalar to explain.
        mask: (slice, structure, row, column); the first structure is the lesion.
    """
    heat = heat_map(model, layer, target, tuple(mask[:, 0].shape))
    total = float(heat.sum())
    return float((heat * mask[:, 0]).sum()) / total if total > 0 else float("nan")


def heat_map(model: nn.Module, layer: str, target: Callable[[], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the Grad-CAM of one patient (Selvaraju 2017): (slice, row, column), 0 or more, as `shape` says.

    The layer's maps, each weighted by the mean of its gradient, added, and what is negative cut. All slices of a
    patient count together, since one scalar is explained.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()  # the layer after it may work in place

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            explained = target()
            model.zero_grad(set_to_none=True)
            explained.backward()  # type: ignore[no-untyped-call]
    finally:
        handle.remove()
        model.zero_grad(set_to_none=True)
    maps = kept[0]
    if maps.grad is None:
        return torch.zeros(shape)
    places = tuple(range(2, maps.ndim))
    weights = maps.grad.mean(dim=places, keepdim=True)
    heat = F.relu((weights * maps.detach()).sum(1))  # (slice, row, column), or (1, slice, row, column) of volumes
    if heat.ndim == 4:
        return F.interpolate(heat.unsqueeze(0), shape, mode="trilinear", align_corners=False)[0, 0]
    return F.interpolate(heat.unsqueeze(1), shape[1:], mode="bilinear", align_corners=False)[:, 0]


def chosen_layer(model: nn.Module, target: Callable[[], Tensor], *, deepest: bool) -> str:
    """Return the name of the convolution to look at; see `localisation`."""
    seen: list[tuple[str, int]] = []
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, Convolution) and module.out_channels > 1:

            def note(_: nn.Module, __: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                seen.append((name, int(output.shape[-1])))

            handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        target()
    for handle in handles:
        handle.remove()
    fine = [(name, side) for name, side in seen if side >= _SMALLEST] or seen
    if not deepest:
        return fine[-1][0]
    coarsest = min(side for _, side in fine)
    return [name for name, side in fine if side == coarsest][-1]


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy with the fresh weights that each of its layers would begin with."""
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh.eval()

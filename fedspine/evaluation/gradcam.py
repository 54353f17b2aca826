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
    model: nn.Module, target: Target, patients: Sequence[PatientTensors], *, every: bool = False, seed: int = 0
) -> Localisation:
    """Return how much of the heat map lies inside the lesion.

    A classifier is looked at in its last convolution that sees places (Grad-CAM). In a U-Net the choice of the layer
    decides the number: in one trained U-Net single layers gave shares from 0.01 to 0.66. There, take `every`: the mean
    over all convolutions, maps weighted place by place (HiResCAM, Draelos 2020), for what a pixel's output hangs on is
    local, and the mean gradient of a whole map washes it out.

    Args:
        model: in evaluation mode; its weights stay as they are.
        target: what to explain.
        patients: those without a lesion are passed over.
        every: see above.
        seed: of the random weights.
    """
    shown = [p for p in patients if p.mask is not None and p.has_image and bool(p.mask[:, :1].any())]
    fresh = randomised(model, seed)
    seen = convolutions(model, partial(target, model, shown[0])) if shown else []
    layers = seen if every else seen[-1:]
    rows = []
    for patient in shown:
        assert patient.mask is not None
        shares = [
            shares_inside(net, layers, partial(target, net, patient), patient.mask, at_places=every)
            for net in (model, fresh)
        ]
        rows.append([*shares, float(patient.mask[:, :1].mean())])
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    table = table[np.isfinite(table).all(axis=1)]
    return Localisation(
        inside=mean_interval(table[:, 0]),
        randomised=mean_interval(table[:, 1]),
        gain=mean_interval(table[:, 0] - table[:, 1]),
        by_chance=float(table[:, 2].mean()) if len(table) else float("nan"),
        patients=len(table),
        layer="every convolution" if every else "".join(layers),
    )


def shares_inside(
    model: nn.Module, layers: Sequence[str], target: Callable[[], Tensor], mask: Tensor, *, at_places: bool = False
) -> float:
    """Return the share of the heat map that lies inside the mask, the mean over layers; NaN where all are empty.

    Args:
        model: the network.
        layers: names of convolutions of it.
        target: runs the network on one patient and returns the scalar to explain.
        mask: (slice, structure, row, column); the first structure is the lesion.
        at_places: see `heat_maps`.
    """
    heats = heat_maps(model, layers, target, tuple(mask[:, 0].shape), at_places=at_places)
    shares = [float((heat * mask[:, 0]).sum() / heat.sum()) for heat in heats if float(heat.sum()) > 0]
    return sum(shares) / len(shares) if shares else float("nan")


def heat_maps(
    model: nn.Module,
    layers: Sequence[str],
    target: Callable[[], Tensor],
    shape: tuple[int, ...],
    *,
    at_places: bool = False,
) -> list[Tensor]:
    """Return the Grad-CAM of one patient at each layer (Selvaraju 2017): (slice, row, column), as `shape` says, >= 0.

    The layer's maps, each weighted by the mean of its gradient (or by the gradient at each place, `at_places`), added,
    and what is negative cut. All slices of a patient count together, since one scalar is explained.
    """
    kept: dict[str, Tensor] = {}

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor, name: str) -> Tensor:
        output.retain_grad()
        kept[name] = output
        return output.clone()  # the layer after it may work in place

    handles = [model.get_submodule(name).register_forward_hook(partial(keep, name=name)) for name in layers]
    try:
        with torch.enable_grad():
            explained = target()
            model.zero_grad(set_to_none=True)
            explained.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
    return [_heat(kept[name], shape, at_places) for name in layers]


def _heat(maps: Tensor, shape: tuple[int, ...], at_places: bool) -> Tensor:
    if maps.grad is None:
        return torch.zeros(shape)
    weights = maps.grad if at_places else maps.grad.mean(dim=tuple(range(2, maps.ndim)), keepdim=True)
    heat = F.relu((weights * maps.detach()).sum(1))  # (slice, row, column), or (1, slice, row, column) of volumes
    if heat.ndim == 4:
        return F.interpolate(heat.unsqueeze(0), shape, mode="trilinear", align_corners=False)[0, 0]
    return F.interpolate(heat.unsqueeze(1), shape[1:], mode="bilinear", align_corners=False)[:, 0]


def convolutions(model: nn.Module, target: Callable[[], Tensor]) -> list[str]:
    """Return the names of the convolutions of several maps that still see places, in the order in which they work."""
    seen: list[tuple[str, int]] = []

    def note(_: nn.Module, __: tuple[Tensor, ...], output: Tensor, name: str) -> None:
        seen.append((name, int(output.shape[-1])))

    handles = [
        module.register_forward_hook(partial(note, name=name))
        for name, module in model.named_modules()
        if isinstance(module, Convolution) and module.out_channels > 1
    ]
    with torch.no_grad():
        target()
    for handle in handles:
        handle.remove()
    return [name for name, side in seen if side >= _SMALLEST] or [name for name, _ in seen]


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

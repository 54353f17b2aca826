"""Whether made images teach: a small U-Net is trained on one kind of slice and tested on another.

The network, the budget and the slices are the same whatever it is trained on, so that only the images differ. It is a
yardstick and no product: each slice is known to hold a lesion, and the budget is small.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.basic_unet import BasicUNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.evaluation.slices import Slices, joined

STEPS, BATCH, RATE, SIDE = 240, 12, 4e-3, 64
"""Optimiser steps, slices a step, peak learning rate, pixels a side."""

_WIDTHS = (8, 8, 16, 32, 64, 8)
_COARSEST = 16


def trained_on(*pools: Slices, steps: int = STEPS, seed: int = 0) -> nn.Module:
    """Return a U-Net trained for `steps` on slices drawn at random, as its only augmentation mirrored by columns.

    Args:
        pools: of slices, each as heavy as any other, so that many made images do not drown few real ones; within a
            pool a patient is as heavy as any other, however many slices there are.
        steps: of the optimiser.
        seed: of weights and draws.
    """
    small = _fitting(reduce(joined, pools))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BasicUNet(2, 2 * small.images.shape[1], 1, features=_WIDTHS, norm=("group", {"num_groups": 4}))
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, cycle_momentum=False)
    draws = torch.Generator().manual_seed(seed)
    loss_of = DiceCELoss(sigmoid=True, batch=True)
    inputs, truths = _inputs(small), small.masks.unsqueeze(1)
    heavy = torch.cat([_weights(pool) for pool in pools])
    for _ in range(steps):
        chosen = torch.multinomial(heavy, BATCH, replacement=True, generator=draws)
        batch, truth = inputs[chosen], truths[chosen]
        if bool(torch.rand((), generator=draws) < 0.5):
            batch, truth = batch.flip(-1), truth.flip(-1)
        optimiser.zero_grad(set_to_none=True)
        loss_of(network(batch), truth).backward()
        optimiser.step()
        schedule.step()
    result: nn.Module = network.eval()
    return result


def dice_by_patient(network: nn.Module, slices: Slices) -> NDArray[np.float64]:
    """Return each patient's Dice over all slices given: (patient,)."""
    small = _fitting(slices)
    with torch.no_grad():
        found = torch.cat([network(part)[:, 0] > 0 for part in torch.split(_inputs(small), 32)]).float()
    scores = []
    for patient in torch.unique(small.whose):
        mine = small.whose == patient
        overlap = (found[mine] * small.masks[mine]).sum()
        scores.append(float(2 * overlap / (found[mine].sum() + small.masks[mine].sum()).clamp(min=1)))
    return np.array(scores)


def _weights(pool: Slices) -> Tensor:
    """Return what chance each slice has, together 1."""
    heavy = 1 / pool.whose.bincount()[pool.whose].double()
    return heavy / heavy.sum()


def _fitting(slices: Slices) -> Slices:
    """Return the slices at most `SIDE` pixels a side, padded to what the U-Net can halve."""
    small = slices.shrunk(SIDE)
    missing = -small.images.shape[-1] % _COARSEST
    if not missing:
        return small
    images, masks = (F.pad(x, (0, missing, 0, missing)) for x in (small.images, small.masks))
    return Slices(images, small.present, masks, small.whose)


def _inputs(slices: Slices) -> Tensor:
    """Return the images, then a plane per contrast that says whether it is there."""
    flags = slices.present[:, :, None, None].expand_as(slices.images)
    return torch.cat([slices.images.clamp(0, 1.5) * flags, flags], dim=1)

"""What a patient's levels ask of the maps, and how near an answer comes; everything from one patient alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SPREAD = 0.02
"""Standard deviation of the heat around a body's middle, as a share of the image's side."""

OF_A_LESION = 0.1
"""A level holds a lesion when it is the nearest one to this share of the lesion's area or more."""

FAR = 1e6


def hills(places: Tensor, rows: int, columns: int) -> Tensor:
    """Return a Gaussian of height 1 around each place (level, 2): (level, row, column)."""
    deviation = max(SPREAD * rows, 1.0)
    down = (torch.arange(rows) - places[:, :1]).square()[:, :, None]
    across = (torch.arange(columns) - places[:, 1:]).square()[:, None, :]
    return (-(down + across) / (2 * deviation**2)).exp()


def heat_loss(heat: Tensor, wanted: Tensor) -> Tensor:
    """Return the quality focal loss (Li 2020) of a heat map, logits (row, column), per body.

    Args:
        heat: logits.
        wanted: hills (level, row, column), one at least.
    """
    truth = wanted.amax(0)
    off = (truth - heat.sigmoid()).square()
    return (off * F.binary_cross_entropy_with_logits(heat, truth, reduction="none")).sum() / len(wanted)


def name_loss(names: Tensor, wanted: Tensor, levels: Tensor) -> Tensor:
    """Return the cross-entropy of the names (level, row, column) on the hills of `levels`, each pixel by its height."""
    each = -names.log_softmax(0)[levels]
    return (each * wanted).sum() / wanted.sum()


def slice_loss(weights: Tensor, wanted: Tensor, slices: Tensor) -> Tensor:
    """Return how far the slices that count lie from those of the levels, as a share of the stack.

    Args:
        weights: (slice, row, column), 1 in all.
        wanted: hills (level, row, column).
        slices: (level,), along the slices.
    """
    middle = torch.einsum("s,srk->rk", torch.arange(len(weights), dtype=torch.float32), weights)
    return ((middle - slices[:, None, None]).abs() * wanted).sum() / wanted.sum() / len(weights)


def lesion_levels(mask: Tensor, places: Tensor) -> Tensor:
    """Return (level,) 1 where the lesion in a mask (slice, 1, row, column) lies nearest to that level, else 0."""
    area = mask[:, 0].sum(0)
    rows, columns = area.nonzero(as_tuple=True)
    if not len(rows) or not len(places):
        return torch.zeros(len(places))
    distance = torch.cdist(torch.stack([rows, columns], dim=1).float(), places)
    nearest = F.one_hot(distance.argmin(1), len(places)).float()
    share = (nearest * area[rows, columns][:, None]).sum(0) / area.sum()
    return (share >= OF_A_LESION).float()


def balanced(logits: Tensor, truth: Tensor) -> Tensor:
    """Return cross-entropy in which the levels with a lesion count as much as those without, of this patient alone."""
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    sides = [each[truth == value].mean() for value in (0.0, 1.0) if bool((truth == value).any())]
    return torch.stack(sides).mean()


def nearest(places: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far from each place (place, 2) the nearest of `others` (other, 2) lies, and which it is."""
    if not len(others):
        return torch.full((len(places),), FAR), torch.zeros(len(places), dtype=torch.long)
    distance, which = torch.cdist(places, others).min(1)
    return distance, which

"""How far a lesion stands out from its patient's own normal tissue, over contrasts, each by its certainty.

One patient's images and mask alone enter. Tissue is compared at the same depth: in the columns of a sagittal image that
the lesion lies in, where a coil's sensitivity is alike, and in the lesion's slices.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MARGIN = 2
"""Pixels around the mask that count as neither: oedema, blur, and a mask that is a little too small."""

HALF = 2.0
"""Robust deviations at which a contrast's share of the score is a half."""

_FEWEST = 8
"""Pixels of normal tissue that a depth needs."""


def saliency(images: Tensor, present: Tensor, mask: Tensor, certainty: Tensor) -> Tensor:
    """Return the score of one patient, a scalar in [0, 1): 0 without a lesion or without normal tissue beside it.

    A contrast whose lesion lies z robust deviations off counts z / (z + `HALF`); the score is the root of their mean
    square, weighted by certainty. It does not change when a contrast is scaled or shifted.

    Args:
        images: (slice, contrast, row, column), aligned; padding is 0 in all contrasts.
        present: (contrast,), 1 where the contrast was acquired.
        mask: (slice, 1, row, column), the hospital's own or a segmenter's.
        certainty: (contrast,) in [0, 1], such as `certainty.reliability` of the lesion's means.
    """
    weight = certainty.clamp(0.0, 1.0) * (present > 0)
    if not float(weight.sum()) > 0:
        return torch.zeros(())
    z = distances(images, present, mask)
    share = z / (z + HALF)
    return (weight * share.square()).sum().div(weight.sum()).sqrt()


def distances(images: Tensor, present: Tensor, mask: Tensor) -> Tensor:
    """Return how far the lesion lies from normal tissue at its depth, in robust deviations: (contrast,), not negative.

    For every lesion pixel: its value less the median of normal tissue in nearby columns, over 1.4826 times the median
    absolute deviation there; then the magnitude of the median over pixels.

    Args:
        images, present, mask: see `saliency`.
    """
    images = torch.nan_to_num(images)
    inside = mask[:, 0] > 0.5
    z = torch.zeros(images.shape[1])
    slices = inside.flatten(1).any(1)
    if not bool(slices.any()):
        return z
    grown = F.max_pool2d(mask[slices].float(), 2 * MARGIN + 1, 1, MARGIN)[:, 0] > 0.5
    normal = ~grown & (images[slices] != 0).any(1)  # (slice, row, column)
    inside, images = inside[slices], images[slices]
    width = images.shape[3]
    offsets: list[Tensor] = []
    for column in torch.nonzero(inside.any(0).any(0)).flatten().tolist():
        beside = slice(max(0, column - MARGIN), min(width, column + MARGIN + 1))
        tissue = images[..., beside].transpose(0, 1)[:, normal[..., beside]]  # (contrast, pixel)
        if tissue.shape[1] < _FEWEST:
            continue
        middle = tissue.quantile(0.5, dim=1)
        spread = 1.4826 * (tissue - middle[:, None]).abs().quantile(0.5, dim=1)
        values = images[..., column].transpose(0, 1)[:, inside[..., column]]
        scaled = (values - middle[:, None]) / spread.clamp(min=1e-12)[:, None]
        offsets.append(torch.where(spread[:, None] > 0, scaled, torch.zeros_like(scaled)))
    if offsets:
        z = torch.cat(offsets, dim=1).quantile(0.5, dim=1).abs().clamp(max=100.0)
    return z * (present > 0)

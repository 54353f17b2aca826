"""How much images of one set differ among themselves: the way to see a generator that has collapsed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics.regression import compute_ms_ssim
from torch import Tensor
from torch.nn import functional as F

from fedspine.evaluation.bootstrap import Estimate, mean_interval

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, finest first (Wang 2003); of the first ones where the image is small, made to sum to 1."""

PARTNERS = 4
"""Other images that each image is compared with."""

_KERNEL, _SMALLEST = 7, 32
_BRIGHTEST = 1.0


def likeness(images: Tensor, whose: Sequence[int] | None = None, *, seed: int = 0) -> Estimate:
    """Return the mean structural similarity over scales (MS-SSIM) of pairs of different patients, with its interval.

    1 for a set of equal images. Each image is compared with `PARTNERS` others drawn at random, and the interval is over
    images. Small images get as many scales as fit: MONAI's default of five needs over 160 pixels a side.

    Args:
        images: (image, contrast, row, column); what is missing in one image of a pair is missing in the other too, so
            give one contrast or only complete images.
        whose: of each image, its patient; pairs of one patient are left out. Every image is a patient if left out.
        seed: of the pairs.
    """
    owners = np.arange(len(images)) if whose is None else np.array(whose)
    if len(np.unique(owners)) < 2:
        return Estimate(math.nan, math.nan, math.nan)
    random = np.random.default_rng(seed)
    shown = _large_enough(images.clamp(0, _BRIGHTEST))
    pairs = [(i, int(j)) for i in range(len(images)) for j in _partners(owners, i, random)]
    first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
    values = torch.cat(
        [_ms_ssim(shown[a], shown[b]) for a, b in zip(torch.split(first, 64), torch.split(second, 64), strict=True)]
    )
    found = values.double().numpy()
    per_owner = [found[owners[first.numpy()] == owner].mean() for owner in np.unique(owners)]
    return mean_interval(np.array(per_owner), seed=seed)


def _partners(owners: np.ndarray, index: int, random: np.random.Generator) -> np.ndarray:
    others = np.flatnonzero(owners != owners[index])
    return random.choice(others, min(PARTNERS, len(others)), replace=False)


def _large_enough(images: Tensor) -> Tensor:
    side = min(images.shape[-2:])
    factor = math.ceil(_SMALLEST / side)
    return images if factor == 1 else F.interpolate(images, scale_factor=factor, mode="nearest")


def _ms_ssim(one: Tensor, other: Tensor) -> Tensor:
    """Return (pair,): the similarity of each pair."""
    scales = max(n for n in range(1, 6) if n == 1 or min(one.shape[-2:]) // 2 ** (n - 1) > _KERNEL + 1)
    weights = tuple(w / sum(WEIGHTS[:scales]) for w in WEIGHTS[:scales])
    result: Tensor = compute_ms_ssim(
        one, other, spatial_dims=2, data_range=_BRIGHTEST, kernel_size=(_KERNEL, _KERNEL), weights=weights
    )
    return result.flatten()

"""Differentiable augmentation of what a critic sees, real and made alike (DiffAugment, Zhao 2020).

A critic of few patients learns them by heart. Shown every image shaded, shifted and partly hidden, it cannot; and since
gradients pass through, the generator still learns to make images that are none of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KINDS = ("colour", "translation", "cutout")
SHADE = 0.15
"""Largest change of brightness, and of contrast as a factor: MR intensities are relative, but no more than that."""

SHIFT = 1 / 8
"""Largest shift, as a share of the side."""

HIDDEN = 3 / 8
"""Side of the hidden square, as a share of the image's: smaller than in the paper, for a lesion is small too."""


def augmented(
    images: Tensor, contrasts: int, kinds: tuple[str, ...], draws: torch.Generator, chance: float = 1.0
) -> Tensor:
    """Return the images augmented, each with draws of its own; the slices of a volume alike.

    Args:
        images: (image, channel, [slice,] row, column): the contrasts, then whatever must move along, such as the mask.
        contrasts: how many channels are contrasts; only these are shaded.
        kinds: some of `KINDS`.
        draws: of the augmentation.
        chance: probability with which each kind is done to an image (Karras 2020).
    """
    if "colour" in kinds:
        shaded = torch.cat([_shaded(images[:, :contrasts], draws), images[:, contrasts:]], dim=1)
        images = _sometimes(shaded, images, chance, draws)
    if "translation" in kinds:
        images = _sometimes(_shifted(images, draws), images, chance, draws)
    if "cutout" in kinds:
        images = _sometimes(images * _window(images, draws), images, chance, draws)
    return images


def _sometimes(changed: Tensor, images: Tensor, chance: float, draws: torch.Generator) -> Tensor:
    """Return each image changed with probability `chance`, drawn for each alone."""
    if chance >= 1:
        return changed
    chosen = torch.rand(len(images), *(1,) * (images.ndim - 1), generator=draws) < chance
    return torch.where(chosen, changed, images)


def _shaded(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return the images with another brightness and contrast, drawn per image and channel."""
    each = (*images.shape[:2], *(1,) * (images.ndim - 2))
    brighter, steeper = (SHADE * (2 * torch.rand(each, generator=draws) - 1) for _ in range(2))
    middle = images.mean(dim=tuple(range(2, images.ndim)), keepdim=True)
    return middle + (images - middle) * (1 + steeper) + brighter * images  # air stays air


def _shifted(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return the images shifted in-plane by whole pixels; what comes in is zero."""
    size = images.shape[-1]
    most = max(1, int(size * SHIFT))
    padded = F.pad(images, (most, most, most, most))
    offsets = torch.randint(2 * most + 1, (len(images), 2), generator=draws).tolist()
    return torch.stack([one[..., r : r + size, c : c + size] for one, (r, c) in zip(padded, offsets, strict=True)])


def _window(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return 0 inside one square of each image and 1 elsewhere: (image, 1, [1,] row, column)."""
    size = images.shape[-1]
    half = HIDDEN / 2 * size
    centres = torch.rand(len(images), 2, 1, generator=draws) * size
    inside = (torch.arange(size) + 0.5 - centres).abs() < half  # (image, axis, position)
    hidden = inside[:, 0, :, None] & inside[:, 1, None, :]
    return (~hidden).to(images.dtype).view(len(images), *(1,) * (images.ndim - 3), size, size)

"""A generator that is told where the lesion is, of which class, and which contrasts to make (SPADE, Park 2019).

A mask put in once, at the start, is washed away by normalisation; so it scales and shifts every layer, place by place.
MONAI's SPADE block is not used: it normalises scale and shift too, over places, and a mask of few pixels or of none at
all would then say something else than it means.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.networks.dcgan import convolution, enlarged, one_hot

HIDDEN = 16
"""Channels between a mask and the scales it gives: masks are simple."""


class Spade(nn.Module):
    """Normalises, then scales and shifts each place by what the maps say there."""

    def __init__(self, dimensions: int, maps: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels, affine=False)
        self.shared = convolution(dimensions, maps, HIDDEN, 3)
        self.scale = convolution(dimensions, HIDDEN, channels, 3)
        self.shift = convolution(dimensions, HIDDEN, channels, 3)

    def forward(self, values: Tensor, maps: Tensor) -> Tensor:
        """Turn (image, channel, [slice,] row, column) and maps of the same rows and columns into the same shape."""
        hidden = F.leaky_relu(self.shared(maps), 0.2)
        result: Tensor = self.norm(values) * (1 + self.scale(hidden)) + self.shift(hidden)
        return result


class MaskedBlock(nn.Module):
    """Doubles rows and columns; the mask says what is where, noise and condition what it looks like."""

    def __init__(self, dimensions: int, given: int, maps: int, before: int, after: int) -> None:
        super().__init__()
        self.convolution = convolution(dimensions, before, after, 3)
        self.spade = Spade(dimensions, maps, after)
        self.style = nn.Linear(given, 2 * after)
        nn.init.zeros_(self.style.bias)

    def forward(self, values: Tensor, maps: Tensor, given: Tensor) -> Tensor:
        """Turn (image, before, [slice,] row, column) into (image, after, [slice,] 2 row, 2 column)."""
        scale, shift = self.style(given).view(len(given), -1, *(1,) * (values.ndim - 2)).chunk(2, dim=1)
        larger = self.convolution(enlarged(values))
        return F.leaky_relu(self.spade(larger, pooled(maps, larger.shape[-1])) * (1 + scale) + shift, 0.2)


class MaskedGenerator(nn.Module):
    """Makes images for a given lesion mask.

    Args:
        latent: length of the noise vector.
        contrasts: output channels.
        classes: of the plan.
        size: pixels a side, a power of two from 16.
        width: channels of the last hidden layer; each layer before it has twice as many, up to eight times.
        slices: of a made volume; 0 makes single slices, 2-D.
    """

    def __init__(self, latent: int, contrasts: int, classes: int, size: int, width: int, slices: int = 0) -> None:
        super().__init__()
        self.classes = classes
        dimensions, maps, given = 3 if slices else 2, 1 + classes, latent + classes + contrasts
        steps = size.bit_length() - 3
        widths = [width * min(2**step, 8) for step in range(steps - 1, -1, -1)]
        self.start = (widths[0], *((slices,) if slices else ()), 4, 4)
        self.dense = nn.Linear(given, torch.Size(self.start).numel())
        pairs = pairwise([*widths, widths[-1]])
        self.blocks = nn.ModuleList(MaskedBlock(dimensions, given, maps, b, a) for b, a in pairs)
        self.images = nn.ModuleList(convolution(dimensions, a, contrasts, 1) for a in [*widths[1:], widths[-1]])

    def forward(self, noise: Tensor, masks: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        """Make images.

        Args:
            noise: (image, latent).
            masks: (image, 1, [slice,] row, column) in {0, 1}.
            labels: (image,) index of the class, -1 where it is to be any.
            present: (image, contrast), 1 where the contrast is wanted.

        Returns:
            (image, contrast, [slice,] row, column) in [0, 1].
        """
        which = one_hot(labels, self.classes)
        given = torch.cat([noise, which, present], dim=1)
        of_class = masks * which.view(*which.shape, *(1,) * (masks.ndim - 2))
        maps = torch.cat([masks, of_class], dim=1)  # the lesion, and the lesion of each class
        values = F.leaky_relu(self.dense(given).view(len(noise), *self.start), 0.2)
        total: Tensor | None = None
        for block, images in zip(self.blocks, self.images, strict=True):
            values = block(values, maps, given)
            total = images(values) if total is None else enlarged(total, "linear") + images(values)
        assert total is not None
        return total.sigmoid()


def pooled(maps: Tensor, size: int) -> Tensor:
    """Return maps on fewer rows and columns by their maximum, so that a small lesion does not vanish."""
    if maps.shape[-1] == size:
        return maps
    if maps.ndim == 4:
        return F.adaptive_max_pool2d(maps, size)
    return F.adaptive_max_pool3d(maps, (maps.shape[2], size, size))

"""A generator and a critic after DCGAN (Radford 2016), for slices and for volumes.

Group normalisation takes the place of batch normalisation, and upsampling followed by a convolution that of strided
transposed convolutions, whose overlaps draw a checkerboard (Odena 2016). The noise also scales and shifts every layer
of the generator (self-modulation, Chen 2019), and every resolution adds to the image (the skip generator of Karras
2020): both let few steps reach sharp images.

With `dimensions` 3 a sample is a volume (channel, slice, row, column). Slices stay as many as they are from the first
layer to the last: spine MRI has thick slices, so only rows and columns are made finer.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASK_BIAS = -2.0
"""Lesions are small: masks begin nearly empty."""


def convolution(dimensions: int, before: int, after: int, side: int, stride: int = 1) -> nn.Conv2d | nn.Conv3d:
    """Return a convolution of `side` pixels in-plane; over volumes it also sees the slices next to its own."""
    padding = (side - 1) // 2
    if dimensions == 2:
        return nn.Conv2d(before, after, side, stride, padding)
    across = 3 if side > 1 else 1
    return nn.Conv3d(before, after, (across, side, side), (1, stride, stride), (across // 2, padding, padding))


def enlarged(values: Tensor, mode: str = "nearest") -> Tensor:
    """Return (image, channel, [slice,] row, column) with twice the rows and columns; `mode` "nearest" or "linear"."""
    flat = values.ndim == 4
    if mode == "linear":
        mode = "bilinear" if flat else "trilinear"
    return F.interpolate(values, scale_factor=(2.0, 2.0) if flat else (1.0, 2.0, 2.0), mode=mode)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return (image, class): 1 at the label of each image (image,), nowhere where it is -1."""
    return (labels[:, None] == torch.arange(classes)).float()


class Block(nn.Module):
    """Doubles rows and columns, and lets the noise scale and shift what is normalised."""

    def __init__(self, dimensions: int, latent: int, before: int, after: int) -> None:
        super().__init__()
        self.convolution = convolution(dimensions, before, after, 3)
        self.norm = nn.GroupNorm(4, after)
        self.style = nn.Linear(latent, 2 * after)
        nn.init.zeros_(self.style.bias)

    def forward(self, values: Tensor, noise: Tensor) -> Tensor:
        """Turn (image, before, [slice,] row, column) into (image, after, [slice,] 2 row, 2 column)."""
        normed: Tensor = self.norm(self.convolution(enlarged(values)))
        scale, shift = self.style(noise).view(len(noise), -1, *(1,) * (values.ndim - 2)).chunk(2, dim=1)
        return F.leaky_relu(normed * (1 + scale) + shift, 0.2)


class Generator(nn.Module):
    """Makes images and a lesion mask from noise.

    Args:
        latent: length of the noise vector.
        channels: output channels: the contrasts, then the mask.
        size: pixels a side, a power of two from 16.
        width: channels of the last hidden layer; each layer before it has twice as many, up to eight times.
        slices: of a made volume; 0 makes single slices, 2-D.
    """

    def __init__(self, latent: int, channels: int, size: int, width: int, slices: int = 0) -> None:
        super().__init__()
        self.latent = latent
        dimensions = 3 if slices else 2
        steps = size.bit_length() - 3  # from 4 pixels to `size`
        widths = [width * min(2**step, 8) for step in range(steps - 1, -1, -1)]
        self.start = (widths[0], *((slices,) if slices else ()), 4, 4)
        self.dense = nn.Linear(latent, torch.Size(self.start).numel())
        self.blocks = nn.ModuleList(Block(dimensions, latent, b, a) for b, a in pairwise([*widths, widths[-1]]))
        self.images = nn.ModuleList(convolution(dimensions, a, channels, 1) for a in [*widths[1:], widths[-1]])
        with torch.no_grad():
            for layer in self.images:
                layer.bias.zero_()  # type: ignore[operator]
            self.images[-1].bias[-1] = MASK_BIAS  # type: ignore[operator]

    def forward(self, noise: Tensor) -> Tensor:
        """Turn noise (image, latent) into (image, channel, [slice,] row, column) in [0, 1]."""
        values = F.leaky_relu(self.dense(noise).view(len(noise), *self.start), 0.2)
        total: Tensor | None = None
        for block, images in zip(self.blocks, self.images, strict=True):
            values = block(values, noise)
            total = images(values) if total is None else enlarged(total, "linear") + images(values)
        assert total is not None
        return total.sigmoid()


class Critic(nn.Module):
    """Tells real from made: one logit an image.

    Args:
        channels: input channels: contrasts, mask, presence of each contrast.
        size: pixels a side.
        width: channels of the first layer.
        dimensions: 2, or 3 for volumes of any number of slices, whose logits are averaged.
        classes: how many; the score then also asks whether the image is of its class (projection, Miyato 2018).
        features: length of what the last layer reads.
    """

    def __init__(
        self, channels: int, size: int, width: int, dimensions: int = 2, classes: int = 0, features: int = 64
    ) -> None:
        super().__init__()
        steps = size.bit_length() - 3
        widths = [channels, *(width * min(2**step, 4) for step in range(steps))]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            layers.append(convolution(dimensions, before, after, 4, 2))
            if index:
                layers.append(nn.GroupNorm(4, after))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.whole = nn.Linear(widths[-1] * 16, features)
        self.classes = nn.Linear(classes, features, bias=False) if classes else None
        self.head = nn.Linear(features, 1)

    def features(self, images: Tensor) -> Tensor:
        """Return what the last layer reads: (image, feature); of a volume, the mean over its slices."""
        found: Tensor = self.layers(images)
        if found.ndim == 4:
            return F.leaky_relu(self.whole(found.flatten(1)), 0.2)
        by_slice = found.transpose(1, 2).flatten(2)  # (image, slice, channel x 4 x 4)
        return F.leaky_relu(self.whole(by_slice), 0.2).mean(1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Score images (image, channel, [slice,] row, column): (image,) logits, positive for real.

        `labels` (image,) are indices of classes; -1, a class that is not known, leaves the class out of the score.
        """
        found = self.features(images)
        result: Tensor = self.head(found).flatten()
        if self.classes is not None:
            which = one_hot(labels, self.classes.in_features)
            result = result + (self.classes(which) * found).sum(1)
        return result


class Gan(nn.Module):
    """Generator, critic, and the generator's running average (EMA), which is the one that is used."""

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.average = copy.deepcopy(generator).requires_grad_(False)

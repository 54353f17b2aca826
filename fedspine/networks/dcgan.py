"""A generator and a critic after DCGAN (Radford 2016).

Group normalisation takes the place of batch normalisation, and upsampling followed by a convolution that of strided
transposed convolutions, whose overlaps draw a checkerboard (Odena 2016).
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Makes images and a lesion mask from noise.

    Args:
        latent: length of the noise vector.
        channels: output channels: the contrasts, then the mask.
        size: pixels a side, a power of two from 16.
        width: channels of the last hidden layer; each layer before it has twice as many, up to eight times.
    """

    def __init__(self, latent: int, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.latent = latent
        steps = size.bit_length() - 3  # from 4 pixels to `size`
        widths = [width * min(2**step, 8) for step in range(steps - 1, -1, -1)]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent, widths[0], 4, 1, 0),
            nn.GroupNorm(4, widths[0]),
            nn.ReLU(),
        ]
        for before, after in pairwise([*widths, widths[-1]]):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(before, after, 3, 1, 1),
                nn.GroupNorm(4, after),
                nn.ReLU(),
            ]
        last = nn.Conv2d(widths[-1], channels, 3, 1, 1)
        with torch.no_grad():
            assert last.bias is not None
            last.bias[-1] = -2.0  # lesions are small: masks begin nearly empty
        self.layers = nn.Sequential(*layers, last, nn.Sigmoid())

    def forward(self, noise: Tensor) -> Tensor:
        """Turn noise (image, latent) into (image, channel, row, column) in [0, 1]."""
        result: Tensor = self.layers(noise[:, :, None, None])
        return result


class Critic(nn.Module):
    """Tells real from made: one logit an image.

    Args:
        channels: input channels: contrasts, mask, presence of each contrast.
        size: pixels a side.
        width: channels of the first layer.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        steps = size.bit_length() - 3
        widths = [channels, *(width * min(2**step, 4) for step in range(steps))]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            layers.append(nn.Conv2d(before, after, 4, 2, 1))
            if index:
                layers.append(nn.GroupNorm(4, after))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4))

    def forward(self, images: Tensor) -> Tensor:
        """Score images (image, channel, row, column): (image,) logits, positive for real."""
        result: Tensor = self.layers(images).flatten()
        return result


class Gan(nn.Module):
    """Generator, critic, and the generator's running average (EMA), which is the one that is used."""

    def __init__(self, latent: int, contrasts: int, size: int, width: int) -> None:
        super().__init__()
        self.generator = Generator(latent, contrasts + 1, size, width)
        self.critic = Critic(2 * contrasts + 1, size, width)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)

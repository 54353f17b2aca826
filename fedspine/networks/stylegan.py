"""A generator and a critic after StyleGAN 2 (Karras 2019, 2020a), small, and without any memory of images.

Written from the papers. What they keep as running statistics is computed at use or left out: the mean style of the
truncation, the path length penalty. Minibatch deviation is left out too: it lets the critic compare images with each
other, and so patients. Resampling is bilinear, where the papers use a longer filter.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.networks.dcgan import MASK_BIAS, enlarged

LAYERS = 4
"""Of the mapping; the papers' eight for millions of images, four do for hundreds (Karras 2020b has two)."""

SLOWER = 0.01
"""Learning rate of the mapping relative to the rest."""

QUIETER = 0.1
"""Learning rate of the noise's loudness relative to the rest: in few steps it would drown what styles draw."""

GAIN = math.sqrt(2)
"""What a leaky rectifier takes from the spread of its input, given back."""


def rectified(values: Tensor) -> Tensor:
    """Return the leaky rectifier's output with the spread of its input."""
    return F.leaky_relu(values, 0.2) * GAIN


class Dense(nn.Module):
    """A linear layer at an equalised learning rate: weights are kept at deviation 1 and scaled at use (Karras 2018)."""

    def __init__(self, before: int, after: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / rate)
        self.bias = nn.Parameter(torch.full((after,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(before), rate

    def forward(self, values: Tensor) -> Tensor:
        """Turn (image, before) into (image, after)."""
        return F.linear(values, self.weight * self.scale, self.bias * self.rate)


class Convolution(nn.Module):
    """A convolution at an equalised learning rate that keeps rows and columns."""

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, side, side))
        self.bias = nn.Parameter(torch.zeros(after))
        self.scale, self.padding = 1 / math.sqrt(before * side**2), side // 2

    def forward(self, values: Tensor) -> Tensor:
        """Turn (image, before, row, column) into (image, after, row, column)."""
        return F.conv2d(values, self.weight * self.scale, self.bias, padding=self.padding)


class Modulated(nn.Module):
    """A convolution whose weights the style scales, and which is then brought back to the spread of its input.

    Scaling the input by the style and the output by what is left is the same as scaling weights for each image.
    """

    def __init__(self, latent: int, before: int, after: int, side: int, *, demodulated: bool = True) -> None:
        super().__init__()
        self.convolution = Convolution(before, after, side)
        self.style = Dense(latent, before, bias=1.0)
        self.demodulated = demodulated

    def forward(self, values: Tensor, style: Tensor) -> Tensor:
        """Turn (image, before, row, column) and (image, latent) into (image, after, row, column)."""
        layer, scales = self.convolution, self.style(style)
        weight = layer.weight * layer.scale
        made = F.conv2d(values * scales[:, :, None, None], weight, padding=layer.padding)
        if self.demodulated:
            power = scales.square() @ weight.square().sum((2, 3)).T  # (image, after)
            made = made * (power + 1e-8).rsqrt()[:, :, None, None]
        return made + layer.bias[:, None, None]


class Layer(nn.Module):
    """A modulated convolution, then noise as loud as the layer has learned, then the rectifier."""

    def __init__(self, latent: int, before: int, after: int) -> None:
        super().__init__()
        self.modulated = Modulated(latent, before, after, 3)
        self.loudness = nn.Parameter(torch.zeros(()))

    def forward(self, values: Tensor, style: Tensor, draws: torch.Generator) -> Tensor:
        """Turn (image, before, row, column) and (image, latent) into (image, after, row, column)."""
        made = self.modulated(values, style)
        noise = torch.randn(len(made), 1, *made.shape[2:], generator=draws)
        return rectified(made + QUIETER * self.loudness * noise)


class StyleGenerator(nn.Module):
    """Makes images and a lesion mask from styles; every resolution adds to the image.

    Args:
        latent: length of noise and style.
        channels: output channels: the contrasts, then the mask.
        size: pixels a side, a power of two from 16.
        width: channels of the last resolution; each before it has twice as many, up to four times.
    """

    def __init__(self, latent: int, channels: int, size: int, width: int) -> None:
        super().__init__()
        steps = size.bit_length() - 2  # resolutions from 4 to `size`
        widths = [width * min(2**step, 4) for step in range(steps - 1, -1, -1)]
        self.layers_of_mapping = nn.ModuleList(Dense(latent, latent, rate=SLOWER) for _ in range(LAYERS))
        self.constant = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.layers = nn.ModuleList([Layer(latent, widths[0], widths[0])])
        for before, after in pairwise(widths):
            self.layers += [Layer(latent, before, after), Layer(latent, after, after)]
        self.images = nn.ModuleList(Modulated(latent, wide, channels, 1, demodulated=False) for wide in widths)
        with torch.no_grad():
            last = self.images[-1]
            assert isinstance(last, Modulated)
            last.convolution.bias[-1] = MASK_BIAS

    @property
    def depth(self) -> int:
        """Layers that take a style."""
        return len(self.layers)

    def mapping(self, noise: Tensor) -> Tensor:
        """Turn noise (image, latent) into styles (image, latent)."""
        values = noise * (noise.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers_of_mapping:
            values = rectified(layer(values))
        return values

    def forward(self, styles: Tensor, draws: torch.Generator) -> Tensor:
        """Turn styles (image, layer, latent) into (image, channel, row, column) in [0, 1]; `draws` is of the noise."""
        values = self.layers[0](self.constant.expand(len(styles), -1, -1, -1), styles[:, 0], draws)
        total: Tensor = self.images[0](values, styles[:, 1])
        for step, image in enumerate(list(self.images)[1:]):
            first = 1 + 2 * step
            values = self.layers[first](enlarged(values, "linear"), styles[:, first], draws)
            values = self.layers[first + 1](values, styles[:, first + 1], draws)
            total = enlarged(total, "linear") + image(values, styles[:, min(first + 2, self.depth - 1)])
        return total.sigmoid()


class Residual(nn.Module):
    """Halves rows and columns, beside a short cut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(before, before, 3), Convolution(before, after, 3)
        self.short = Convolution(before, after, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Turn (image, before, row, column) into (image, after, row / 2, column / 2)."""
        long = rectified(self.second(rectified(self.first(values))))
        return F.avg_pool2d(long + self.short(values), 2) / math.sqrt(2)


class Pressure(nn.Module):
    """How much the critic's input is augmented: one more weight, which patients' gradients move (see `tasks.stylegan`).

    Adaptive augmentation (Karras 2020b) raises the chance of augmentation while the mean sign of the critic's scores on
    real images is above `TARGET`, and lowers it otherwise.
    """

    TARGET, MOST, PER_UNIT, WEIGHT = 0.6, 0.8, 5.0, 0.5

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def chance(self) -> float:
        """Return the probability with which each augmentation is done."""
        return min(max(float(self.value.detach()) * self.PER_UNIT, 0.0), self.MOST)

    def pull(self, scores: Tensor) -> Tensor:
        """Return zero, whose slope lets descent raise the value if the mean sign of `scores` (image,) is above target.

        The slope is at most `WEIGHT` · (1 + `TARGET`) in magnitude, a function of these scores alone.
        """
        over = scores.detach().sign().mean() - self.TARGET
        return -self.WEIGHT * over * (self.value - self.value.detach())

    def hold(self) -> None:
        """Keep the value where the chance follows it."""
        with torch.no_grad():
            self.value.clamp_(0.0, self.MOST / self.PER_UNIT)


class StyleCritic(nn.Module):
    """Tells real from made: one logit an image.

    Args:
        channels: input channels: contrasts, mask, presence of each contrast.
        size: pixels a side.
        width: channels of the first layer; each after it has twice as many, up to four times.
        features: length of what the last layer reads.
    """

    def __init__(self, channels: int, size: int, width: int, features: int = 64) -> None:
        super().__init__()
        steps = size.bit_length() - 3
        widths = [width * min(2**step, 4) for step in range(steps + 1)]
        self.pressure = Pressure()
        self.start = Convolution(channels, width, 1)
        self.blocks = nn.ModuleList(Residual(before, after) for before, after in pairwise(widths))
        self.last = Convolution(widths[-1], widths[-1], 3)
        self.whole = Dense(widths[-1] * 16, features)
        self.head = Dense(features, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Score images (image, channel, row, column): (image,) logits, positive for real; classes are not asked."""
        values = rectified(self.start(images))
        for block in self.blocks:
            values = block(values)
        found = rectified(self.whole(rectified(self.last(values)).flatten(1)))
        result: Tensor = self.head(found).flatten()
        return result

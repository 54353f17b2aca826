"""The segmentation network: a U-Net of MONAI's blocks with group normalisation, for slices and for volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.errors import ConfigError

NORM = ("group", {"num_groups": 4})
"""Batch statistics would mix slices in a way that depends on how many there are."""


@dataclass(frozen=True)
class Shape:
    """What a U-Net looks like.

    Args:
        channels: of the input.
        outputs: of logits.
        features: widths from the top down, each divisible by 4; one level each, half as fine in-plane as the one above.
        volumes: whether convolutions run through slices too. Slices are thick and few: they are never pooled, and the
            top level, where a pixel is much finer than a slice is thick, stays in-plane (nnU-Net, Isensee 2021).
        unshuffle: side of the squares of pixels that become channels first, and logits last (sub-pixel convolution,
            Shi 2016): at 2 every level is half as fine and a step costs about a quarter.
        deep: how many coarser levels have logits of their own in training (deep supervision, Lee 2015).
        contrasts: length of the presence vector that modulates every level of the way down (FiLM, Perez 2018); 0 for
            none.
    """

    channels: int
    outputs: int
    features: tuple[int, ...]
    volumes: bool = False
    unshuffle: int = 1
    deep: int = 0
    contrasts: int = 0

    def check(self, size: int) -> None:
        """Raise ConfigError if no such network works on images of `size` pixels a side."""
        coarsest, rest = divmod(size, self.unshuffle * 2 ** (len(self.features) - 1))
        fits = len(self.features) > 1 and all(width > 0 and width % 4 == 0 for width in self.features)
        if not fits:
            widths = ", ".join(str(width) for width in self.features)
            raise ConfigError("features must be two widths or more, each divisible by 4", widths, "mend them")
        if rest or coarsest < 2:
            rule = "size must be divisible by unshuffle and by 2 a level, down to 2 pixels or more"
            raise ConfigError(rule, f"{size}", "name fewer features, or a larger size")
        if not 0 <= self.deep < len(self.features) - 1:
            raise ConfigError(
                "deep_supervision must be less than the levels above the last", f"{self.deep}", "lower it"
            )


class Unet(nn.Module):
    """The network; its last layer is the head that gives the logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        dims, flat = (3, (1, 3, 3)) if shape.volumes else (2, 3)
        step: Sequence[int] | int = (1, 2, 2) if shape.volumes else 2
        widths, square = shape.features, shape.unshuffle**2
        above = (shape.channels * square, *widths[:-1])
        self.down = nn.ModuleList(
            UnetBasicBlock(dims, a, w, kernel_size=3 if i else flat, stride=step if i else 1, norm_name=NORM)
            for i, (a, w) in enumerate(zip(above, widths, strict=True))
        )
        self.up = nn.ModuleList(
            UnetUpBlock(dims, below, w, 3 if i else flat, 1, upsample_kernel_size=step, norm_name=NORM)
            for i, (w, below) in enumerate(pairwise(widths))
        )
        self.modulation = nn.Linear(shape.contrasts, 2 * sum(widths)) if shape.contrasts else None
        self.outputs = nn.ModuleList(UnetOutBlock(dims, w, shape.outputs * square) for w in widths[shape.deep :: -1])
        if self.modulation is not None:  # at first every contrast is treated alike
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, images: Tensor, present: Tensor) -> list[Tensor]:
        """Return logits in the input's size: those of the finest level, then in training those of coarser ones.

        Args:
            images: (slice, channel, row, column), or (1, channel, slice, row, column) for volumes.
            present: (contrast,) 1 where acquired.

        Returns:
            each like `images`, with `outputs` channels.
        """
        skips = self.descended(images, present)
        rising = [skips.pop()]
        for block in reversed(self.up):
            rising.append(block(rising[-1], skips.pop()))
        finest = len(self.outputs) - 1
        used = range(finest, -1 if self.training else finest - 1, -1)
        logits = [self.outputs[i](rising[-1 - (finest - i)]) for i in used]
        return [_enlarged(_shuffled(one, self.shape.unshuffle), images.shape[2:]) for one in logits]

    def descended(self, images: Tensor, present: Tensor) -> list[Tensor]:
        """Return the maps of the way down, the coarsest last; arguments and axes as of `forward`."""
        values = _unshuffled(images, self.shape.unshuffle)
        maps: list[Tensor] = []
        for block, change in zip(self.down, self._changes(present), strict=True):
            values = block(values)
            if change is not None:
                scale, shift = (part.reshape(1, -1, *[1] * (values.ndim - 2)) for part in change.chunk(2))
                values = values * (1 + scale) + shift
            maps.append(values)
        return maps

    def _changes(self, present: Tensor) -> Sequence[Tensor | None]:
        """Return scale and shift of each level of the way down."""
        if self.modulation is None:
            return [None] * len(self.down)
        return self.modulation(present).split([2 * width for width in self.shape.features])  # type: ignore[no-any-return]


def _unshuffled(images: Tensor, side: int) -> Tensor:
    if images.ndim == 4 or side == 1:
        return F.pixel_unshuffle(images, side) if side > 1 else images
    return F.pixel_unshuffle(images.transpose(1, 2), side).transpose(1, 2)


def _shuffled(logits: Tensor, side: int) -> Tensor:
    if logits.ndim == 4 or side == 1:
        return F.pixel_shuffle(logits, side) if side > 1 else logits
    return F.pixel_shuffle(logits.transpose(1, 2), side).transpose(1, 2)


def _enlarged(logits: Tensor, size: torch.Size) -> Tensor:
    return logits if logits.shape[2:] == size else F.interpolate(logits, size)

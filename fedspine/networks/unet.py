"""The segmentation network: MONAI's U-Net with group normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.basic_unet import BasicUNet
from torch import nn


def unet(channels: int, features: Sequence[int]) -> nn.Module:
    """Return a 2-D U-Net (Ronneberger 2015, MONAI's `BasicUNet`) with one output channel of logits.

    Group normalisation, since batch statistics would mix slices in a way that depends on how many there are.

    Args:
        channels: input channels; input is (slice, channel, row, column), sides divisible by 16.
        features: six widths, from the top down and the last one of the output, each divisible by 4.
    """
    network: nn.Module = BasicUNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=1,
        features=tuple(features),
        norm=("group", {"num_groups": 4}),
    )
    return network

"""The classification network: MONAI's ResNet with group normalisation, small enough for few patients."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.resnet import ResNet
from torch import nn

GROUPS = 4


def resnet(channels: int, classes: int, widths: Sequence[int]) -> nn.Module:
    """Return a 2-D residual network (He 2016, MONAI's `ResNet`), one basic block per width.

    Args:
        channels: input channels; input is (slice, channel, row, column).
        classes: output logits.
        widths: channels of the four stages, each divisible by 4.
    """
    network: nn.Module = ResNet(
        block="basic",
        layers=[1] * len(widths),
        block_inplanes=list(widths),
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_size=5,
        conv1_t_stride=2,
        num_classes=classes,
    )
    return without_batch_norm(network)


def without_batch_norm(network: nn.Module) -> nn.Module:
    """Return `network`, still untrained, with every batch normalisation replaced by a fresh group normalisation.

    MONAI 1.6 passes `norm` to the ResNet's first layer only and leaves batch normalisation in its blocks. Batch
    statistics would couple slices, and running averages are sums over patients that nobody clipped or noised.
    """
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(network, name, nn.GroupNorm(GROUPS, module.num_features))
        else:
            without_batch_norm(module)
    return network

"""Encoders of the classification network: MONAI's ResNet and DenseNet, their maps at several scales, in 2-D and 3-D."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

from fedspine.errors import ConfigError

GROUPS = 4
ENCODERS = ("resnet", "densenet")


class Encoder(nn.Module):
    """Stages one after the other, each of which halves the sides of the map.

    Args:
        stages: of modules.
        channels: of the maps after each of them.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps (image, channel, ...) at 1/2, 1/4, 1/8 and 1/16 of the sides of `images`."""
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


def encoder(kind: str, channels: int, widths: Sequence[int], dimensions: int) -> Encoder:
    """Return an untrained encoder.

    Args:
        kind: one of `ENCODERS`.
        channels: input channels.
        widths: of the four stages: channels of the ResNet's, new channels (growth times layers) of the DenseNet's;
            multiples of 4.
        dimensions: 2 for slices one by one, 3 for volumes. Volumes shrink in-plane only: slices are thick and few.
    """
    rule = "widths must be four multiples of 4"
    if len(widths) != 4 or any(width < GROUPS or width % GROUPS for width in widths):
        raise ConfigError(rule, f"{len(widths)} widths", "such as [8, 16, 32, 32]")
    if kind == "resnet":
        return in_plane(_resnet(channels, widths, dimensions))
    if kind == "densenet":
        return in_plane(_densenet(channels, widths, dimensions))
    raise ConfigError("network must be known", f"'{kind}'", f"use one of: {', '.join(ENCODERS)}")


def _resnet(channels: int, widths: Sequence[int], dimensions: int) -> Encoder:
    """Return a residual network (He 2016, MONAI's `ResNet`), one basic block a stage, without its first pooling."""
    network = ResNet(
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=list(widths),
        spatial_dims=dimensions,
        n_input_channels=channels,
        conv1_t_size=5,
        conv1_t_stride=2,
        no_max_pool=True,
        feed_forward=False,
    )
    part = without_batch_norm(network).get_submodule
    first = nn.Sequential(part("conv1"), part("bn1"), part("act"), part("layer1"))
    return Encoder([first, part("layer2"), part("layer3"), part("layer4")], widths)


def _densenet(channels: int, widths: Sequence[int], dimensions: int) -> Encoder:
    """Return a densely connected network (Huang 2017, MONAI's `DenseNet`); each layer adds a fourth of its width.

    Its transitions average neighbours away, so a map is taken before each of them.
    """
    network = DenseNet(
        spatial_dims=dimensions,
        in_channels=channels,
        out_channels=1,
        init_features=2 * GROUPS,
        growth_rate=GROUPS,
        block_config=[width // GROUPS for width in widths],
        bn_size=2,
    )
    part = without_batch_norm(network.features).get_submodule
    stages, found, inputs = [], [], 2 * GROUPS
    for number, width in enumerate(widths, start=1):
        before = [part("conv0"), part("norm0"), part("relu0")] if number == 1 else [part(f"transition{number - 1}")]
        stages.append(nn.Sequential(*before, part(f"denseblock{number}")))
        found.append(inputs + width)
        inputs = (inputs + width) // 2
    return Encoder(stages, found)


def in_plane(network: Encoder) -> Encoder:
    """Return `network` with whatever halves the number of slices of a volume halving rows and columns alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.stride == (2, 2, 2):
            module.stride = (1, 2, 2)
        elif isinstance(module, nn.AvgPool3d):
            module.kernel_size = module.stride = (1, 2, 2)
    return network


def without_batch_norm(network: nn.Module) -> nn.Module:
    """Return `network`, still untrained, with every batch normalisation replaced by a fresh group normalisation.

    MONAI 1.6 passes `norm` to the ResNet's first layer only and leaves batch normalisation in its blocks. Batch
    statistics would couple slices, and running averages are sums over patients that nobody clipped or noised.
    """
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(network, name, nn.GroupNorm(math.gcd(GROUPS, module.num_features), module.num_features))
        else:
            without_batch_norm(module)
    return network

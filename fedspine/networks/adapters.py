"""Adapters: a narrow path beside each convolution, so that few weights can change what a pre-trained network sees.

Parallel residual adapters (Rebuffi 2018, CVPR) of low rank (Hu 2022, LoRA, ICLR): beside a convolution of any kernel, a
1 x 1 one down to a few channels and another one up, which begins at zero. A network with adapters is at first the same
function as without, and its other weights keep their names, so that checkpoints fit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

RANK = 2
"""Channels of the narrow path."""

Convolution = nn.Conv2d | nn.Conv3d


class Adapter(nn.Module):
    """The path beside one convolution: down to `RANK` channels at its stride, and up."""

    def __init__(self, beside: Convolution) -> None:
        super().__init__()
        kind: type[Any] = nn.Conv2d if isinstance(beside, nn.Conv2d) else nn.Conv3d
        self.down = kind(beside.in_channels, RANK, 1, stride=beside.stride, bias=False)
        self.up = kind(RANK, beside.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return what is added to the convolution's output."""
        result: Tensor = self.up(self.down(images))
        return result


def with_adapters(network: nn.Module) -> nn.Module:
    """Return `network`, changed in place, with an adapter beside every convolution for which the path is narrow.

    Left out are those whose outputs are no wider than the path (heads), and those whose padding does not keep the size.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Conv3d) and _adaptable(module):
            module.add_module("adapter", Adapter(module))
            module.register_forward_hook(_add)
    return network


def _adaptable(convolution: Convolution) -> bool:
    keeps = all(
        isinstance(around, int) and size == 2 * around + 1
        for size, around in zip(convolution.kernel_size, convolution.padding, strict=False)
    )
    narrow = min(convolution.in_channels, convolution.out_channels) > RANK
    return keeps and narrow and convolution.groups == 1 and set(convolution.dilation) == {1}


def _add(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + torch.as_tensor(convolution.get_submodule("adapter")(inputs[0]))

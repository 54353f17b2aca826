"""Two translators and two critics after CycleGAN (Zhu 2017), from MONAI's parts, with group normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn

GROUPS = ("group", {"num_groups": 4})


class Translator(nn.Module):
    """Turns slices of one contrast into another: a U-Net (Ronneberger 2015) says what to add, at first little.

    Args:
        features: six widths, each divisible by 4; see MONAI.
    """

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        # upsampling without weights: transposed convolutions draw a checkerboard into images (Odena 2016)
        self.body = BasicUNet(2, 1, 1, tuple(features), norm=GROUPS, upsample="nontrainable")
        with torch.no_grad():
            for weight in self.body.final_conv.parameters():
                weight.mul_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Turn (slice, 1, row, column) into the same shape."""
        result: Tensor = images + self.body(images)
        return result


class Critic(nn.Module):
    """Scores patches of slices: PatchGAN (Isola 2017), as a least-squares critic wants it, without a sigmoid.

    Args:
        width: channels of the first layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = PatchDiscriminator(2, width, 1, 1, num_layers_d=2, norm=GROUPS)

    def forward(self, images: Tensor) -> Tensor:
        """Return (slice, 1, patch, patch), about 1 for real and 0 for translated."""
        result: Tensor = self.body(images)[-1]
        return result


class CycleGan(nn.Module):
    """`there` turns source into target, `back` the reverse; a critic of each."""

    def __init__(self, features: Sequence[int], width: int) -> None:
        super().__init__()
        self.there, self.back = Translator(features), Translator(features)
        self.critic_source, self.critic_target = Critic(width), Critic(width)

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the four networks."""
        return self.there, self.back, self.critic_source, self.critic_target

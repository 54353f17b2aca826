"""A generator that begins with a phantom and learns what patients look like otherwise (after SimGAN, Shrivastava 2017).

What is far from trivial in an image (a spine, its vertebrae, a lesion with an exact border) the phantom brings along.
What is left to learn is rendition: the tone of each contrast, and what lies between neighbouring pixels. Untrained, it
returns the phantom as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.networks.dcgan import convolution, one_hot

DARKEST = 1e-4
"""Added before a power is taken: at zero it has no slope."""


class Refiner(nn.Module):
    """Refines phantoms.

    Args:
        latent: length of the noise vector.
        contrasts: channels of an image.
        classes: of the plan.
        width: channels of the hidden layers.
        dimensions: 2 for slices, 3 for volumes.
    """

    def __init__(self, latent: int, contrasts: int, classes: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.classes = classes
        given = latent + classes + contrasts
        self.tone = nn.Linear(given, 2 * contrasts)
        self.first = convolution(dimensions, contrasts + 1, width, 3)
        self.norm = nn.GroupNorm(4, width)
        self.style = nn.Linear(given, 2 * width)
        self.second = convolution(dimensions, width, width, 3)
        self.last = convolution(dimensions, width, contrasts, 3)
        for layer in (self.tone, self.last):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, noise: Tensor, images: Tensor, masks: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        """Refine phantoms.

        Args:
            noise: (image, latent).
            images: (image, contrast, [slice,] row, column) in [0, 1], of phantoms.
            masks: (image, 1, [slice,] row, column) in {0, 1}, of their lesions.
            labels: (image,) index of the class, -1 where it is not known.
            present: (image, contrast), 1 where the contrast is wanted.

        Returns:
            The shape of `images`, in [0, 1].
        """
        given = torch.cat([noise, one_hot(labels, self.classes), present], dim=1)
        across = (1,) * (images.ndim - 2)
        power, gain = self.tone(given).view(len(given), -1, *across).chunk(2, dim=1)
        toned = ((images + DARKEST).pow(power.exp()) - DARKEST) * gain.exp()
        scale, shift = self.style(given).view(len(given), -1, *across).chunk(2, dim=1)
        hidden = self.norm(self.first(torch.cat([images, masks], dim=1))) * (1 + scale) + shift
        detail: Tensor = self.last(F.leaky_relu(self.second(F.leaky_relu(hidden, 0.2)), 0.2))
        result: Tensor = (toned + detail).clamp(0, 1)
        return result


def rendered_otherwise(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return phantoms as a scanner that was set wrongly would show them: another tone, blur, noise.

    Against these a critic learns, before it sees any patient, what rendition is.

    Args:
        images: (image, contrast, [slice,] row, column) in [0, 1].
        draws: of the change of every image and contrast.
    """
    each = (*images.shape[:2], *(1,) * (images.ndim - 2))
    power, gain = (torch.randn(each, generator=draws).mul(spread).exp() for spread in (0.4, 0.2))
    blur, grain = torch.rand(each, generator=draws), 0.1 * torch.rand(each, generator=draws) ** 2
    side = (3, 3) if images.ndim == 4 else (1, 3, 3)
    padding = (1, 1) if images.ndim == 4 else (0, 1, 1)
    pool = F.avg_pool2d if images.ndim == 4 else F.avg_pool3d
    soft = torch.lerp(images, pool(images, side, 1, padding), blur)
    noisy = (soft.pow(power) * gain + grain * torch.randn(images.shape, generator=draws)).abs()
    return noisy.clamp(0, 1)

"""The fixed feature space in which images are compared: 64 numbers an image, learned from phantoms alone.

Fréchet and kernel distances need features. Those of networks trained on photographs must be fetched, and say little of
an MR image; those trained on patients would be a release. These were learned on public phantoms: the contrast, the part
of the spine, whether a tumour is there, in which compartment, how large and where, how far the slice is from the
middle, how blurred and how noisy the image is, and a thumbnail of it; the same slice on two scanners is to give the
same features. So they answer to anatomy, lesions and quality, and little to the scanner.

The weights lie beside this file, and `python -m simulations.feature_space` makes them again. A sheet names `NAME`;
other weights get another name, for numbers in two spaces cannot be compared.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.errors import InputError
from fedspine.shipped_weights import read_weights

NAME = "fedspine-features-1"
WEIGHTS = Path(__file__).parent / f"{NAME}.json"
DIGEST = "c62fa1c11ee73f297ae53a8fc7976a64b71bbee22f0ce7ffc4030647c07379ad"
"""SHA-256 of the weights."""

FEATURES, SIDE = 64, 64
"""Features of an image; pixels a side that an image is resized to."""

BRIGHTEST = 1.5
"""Images lie in [0, `BRIGHTEST`] (see `PatientTensors.images`); what is beyond is cut."""

_WIDTHS = (16, 32, 64, 64)
_GLANCE = 8
_AT_ONCE = 256


class FeatureNetwork(nn.Module):
    """Four strided convolutions with group normalisation, and a linear map of what they see where.

    A glance at the image, `_GLANCE` pixels a side, goes beside them: normalised maps do not know how bright it was.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *_WIDTHS[:-1]), _WIDTHS, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.GELU()]
        self.maps = nn.Sequential(*layers)
        places = (SIDE // 2 ** len(_WIDTHS)) ** 2
        self.features = nn.Linear(_WIDTHS[-1] * places + _GLANCE**2, FEATURES)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def forward(self, images: Tensor) -> Tensor:
        """Return (image, feature) from (image, 1, `SIDE`, `SIDE`), about standardised over phantoms."""
        glance = F.adaptive_avg_pool2d(images, _GLANCE).flatten(1)
        raw: Tensor = self.features(torch.cat([self.maps(images).flatten(1), glance], dim=1))
        return (raw - self.mean) / self.deviation


def embed(images: Tensor) -> Tensor:
    """Return the features of images of one contrast each: (image, 1, row, column) to (image, `FEATURES`).

    Any size; intensities as in `PatientTensors.images`. Each image alone decides its features. Gradients flow to the
    images where they are asked for, never to the weights.

    Raises:
        InputError: if there is not one channel.
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise InputError("images must be (image, 1, row, column)", f"{images.ndim} axes", "give one contrast an image")
    network = _network()
    parts = [network(resized(part)) for part in torch.split(images.float(), _AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, FEATURES)


def resized(images: Tensor) -> Tensor:
    """Return (image, 1, `SIDE`, `SIDE`) within [0, `BRIGHTEST`]; shrinking averages, so that nothing is aliased."""
    if images.shape[-2:] != (SIDE, SIDE):
        images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return images.clamp(0.0, BRIGHTEST)


@lru_cache(maxsize=1)
def _network() -> FeatureNetwork:
    network = FeatureNetwork()
    network.load_state_dict(read_weights(WEIGHTS, DIGEST))
    return network.eval().requires_grad_(False)

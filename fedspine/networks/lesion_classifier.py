"""The classification network: where is the lesion, what is it like there, what is it like around it, so which class.

Multi-scale maps of an encoder, a heat map of the lesion as attention, features averaged under it over all slices at
once (attention pooling as in multiple-instance learning, Ilse 2018, ICML, with a gate of its own at every place), and
a linear head. Where a mask is known the heat map learns from it, so that few patients suffice to know where to look.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.errors import ConfigError
from fedspine.networks.encoders import GROUPS, Encoder

POOLINGS = ("attention", "mean")

RARE = -4.0
"""Logit of attention before training: lesions are small, and whoever begins at a half learns that first (Lin 2017)."""

NOWHERE = 4.0
"""Pixels of attention that are worth nothing: what there is to see fades where there is no lesion at all."""


class Seen(NamedTuple):
    """What the network says of a patient.

    Args:
        logits: (class,).
        heat: (slice, 1, row, column) logits that a place belongs to the lesion, at half of the sides.
    """

    logits: Tensor
    heat: Tensor


class LesionClassifier(nn.Module):
    """One patient in, one row of logits out.

    Args:
        encoder: makes the maps.
        classes: output logits.
        width: channels in which the scales meet, a multiple of 4.
        pooling: "attention", or "mean" over every place of every slice, for comparison.
        dimensions: 2 or 3, as the encoder.
    """

    head_parts = ("attention", "head")
    """What is read off the features: few weights, trained whatever else is (`networks.parts`)."""

    def __init__(self, encoder: Encoder, classes: int, width: int, pooling: str, dimensions: int) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ConfigError("pooling must be known", f"'{pooling}'", f"use one of: {', '.join(POOLINGS)}")
        convolution: type[nn.Conv2d | nn.Conv3d] = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.dimensions, self.pooling = dimensions, pooling
        self.encoder = encoder
        self.laterals = nn.ModuleList(convolution(channels, width, 1) for channels in encoder.channels)
        self.together = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.ReLU())
        self.attention = convolution(width, 1, 1)
        nn.init.constant_(torch.as_tensor(self.attention.bias), RARE)
        self.head = nn.Linear(width if pooling == "mean" else 2 * width + 1, classes)

    def forward(self, images: Tensor) -> Seen:
        """Return what is seen in the images (slice, channel, row, column) of one patient."""
        maps = self.encoder(self._stacked(images))
        features = self.together(self._met(maps))  # (slice, width, ...) or (1, width, slice, ...)
        heat = self.attention(features)
        logits: Tensor = self.head(self.pooled(features.movedim(1, 0).flatten(1), heat.movedim(1, 0).flatten()))
        return Seen(logits, heat if self.dimensions == 2 else heat[0].transpose(0, 1))

    def coarsest(self, images: Tensor) -> Tensor:
        """Return the encoder's coarsest map (slice, width, row, column) of the images of one patient."""
        found: Tensor = self.encoder(self._stacked(images))[-1]
        return found if self.dimensions == 2 else found[0].transpose(0, 1)

    def _stacked(self, images: Tensor) -> Tensor:
        return images if self.dimensions == 2 else images.transpose(0, 1)[None]

    def _met(self, maps: list[Tensor]) -> Tensor:
        """Return the maps' sum at the finest scale, coarse to fine (feature pyramid, Lin 2017, CVPR)."""
        mode = "bilinear" if self.dimensions == 2 else "trilinear"
        levels = [lateral(one) for lateral, one in zip(self.laterals, maps, strict=True)]
        met: Tensor = levels[-1]
        for finer in levels[-2::-1]:
            met = finer + F.interpolate(met, finer.shape[2:], mode=mode, align_corners=False)
        return met

    def pooled(self, features: Tensor, heat: Tensor) -> Tensor:
        """Return the head's input from features (width, place) and heat (place,), places of all slices together."""
        everywhere = features.mean(1)
        if self.pooling == "mean":
            return everywhere
        weight = heat.sigmoid()
        lesion = (features * weight).sum(1) / (weight.sum() + NOWHERE)
        size = weight.sum().log1p()[None]
        return torch.cat([lesion, everywhere, size])

"""SOCCE's two towers: image features and omics into one small sphere, and a score read off the image side."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST, MOST = math.log(0.2), math.log(3.0)
"""Of the logarithm of the score's deviation."""


def _tower(inputs: int, hidden: int, latent: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, latent))


class Towers(nn.Module):
    """Two multilayer perceptrons onto the unit sphere.

    Args:
        image_inputs: image features and their presence flags.
        omics_inputs: omics columns and their presence flags.
        hidden: width of the one hidden layer.
        latent: dimensions of the sphere's space.
    """

    def __init__(self, image_inputs: int, omics_inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.image = _tower(image_inputs, hidden, latent)
        self.omics = _tower(omics_inputs, hidden, latent)
        self.score = nn.Linear(latent, 2)

    def embed_image(self, rows: Tensor) -> Tensor:
        """Return (row, latent) unit vectors of image features (row, feature)."""
        return F.normalize(self.image(rows), dim=-1)

    def embed_omics(self, rows: Tensor) -> Tensor:
        """Return (row, latent) unit vectors of omics rows (row, column)."""
        return F.normalize(self.omics(rows), dim=-1)

    def pseudo_genomic(self, latent: Tensor) -> Tensor:
        """Return the score's mean and deviation, (row, 2), as image embeddings (row, latent) tell it."""
        found: Tensor = self.score(latent)
        return torch.stack([found[:, 0], found[:, 1].clamp(LEAST, MOST).exp()], dim=1)

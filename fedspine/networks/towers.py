"""SOCCE's two towers: image features and omics into one small sphere, and a score read off the image side."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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
        self.score = nn.Linear(latent, 1)

    def embed_image(self, rows: Tensor) -> Tensor:
        """Return (row, latent) unit vectors of image features (row, feature)."""
        return F.normalize(self.image(rows), dim=-1)

    def embed_omics(self, rows: Tensor) -> Tensor:
        """Return (row, latent) unit vectors of omics rows (row, column)."""
        return F.normalize(self.omics(rows), dim=-1)

    def pseudo_genomic(self, latent: Tensor) -> Tensor:
        """Return the pseudo-genomic score (row,) of image embeddings (row, latent)."""
        result: Tensor = self.score(latent).squeeze(-1)
        return result

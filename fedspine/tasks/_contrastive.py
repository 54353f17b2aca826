"""The losses of SOCCE: which unit vectors belong together (InfoNCE, van den Oord 2018), and how well scores fit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fedspine.networks.towers import Towers


def among_anchors(one: Tensor, other: Tensor, anchor_one: Tensor, anchor_other: Tensor, temperature: float) -> Tensor:
    """Return how hard it is to tell a patient's two unit vectors (1, latent) from the anchors', both ways.

    Args:
        one, other: the patient's.
        anchor_one, anchor_other: (anchor, latent), of the kind of `one` and of `other`.
        temperature: of the softmax.
    """
    own, target = (one * other).sum(1, keepdim=True), torch.tensor([0])
    to_other = torch.cat([own, one @ anchor_other.T], dim=1) / temperature
    to_one = torch.cat([own, other @ anchor_one.T], dim=1) / temperature
    return (F.cross_entropy(to_other, target) + F.cross_entropy(to_one, target)) / 2


def paired(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return how hard it is to tell which of public rows (anchor, latent) belong together, both ways."""
    target = torch.arange(len(one))
    likeness = one @ other.T / temperature
    return (F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)) / 2


def misfit(model: Towers, image: Tensor, wanted: Tensor) -> Tensor:
    """Return the negative log-likelihood of scores (row,) under what image embeddings (row, latent) tell of them."""
    found = model.pseudo_genomic(image)
    return F.gaussian_nll_loss(found[:, 0], wanted, found[:, 1].square())

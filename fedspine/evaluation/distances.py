"""How far two sets of images are apart in a feature space: Fréchet and kernel distance, fidelity and coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 5
"""k of the neighbourhoods, as in Naeem 2020; one less than the images where there are few."""


def frechet(one: Tensor, other: Tensor) -> float:
    """Return the squared Fréchet distance between normal distributions fitted to two sets (Heusel 2017).

    Biased upwards with few images, the more so the more features there are: compare only values from equally many
    images, as a floor of real against real is. By symmetric roots, for covariances of few images are singular.

    Args:
        one: (image, feature), at least 2 images.
        other: (image, feature).
    """
    means, covariances = zip(*((x.double().mean(0), torch.cov(x.double().T)) for x in (one, other)), strict=True)
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    apart = (means[0] - means[1]).square().sum()
    return float(apart + covariances[0].trace() + covariances[1].trace() - 2 * shared)


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy under a cubic kernel (KID, Bińkowski 2018).

    0 on average for independent images of one distribution, however few; single values may be below 0. Slices of one
    patient are not independent, so that real patients too lie a little apart.

    Args:
        one: (image, feature), at least 2 images.
        other: (image, feature).
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.diagonal().sum()) / (len(x) * (len(x) - 1))

    x, y = one.double(), other.double()
    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


@dataclass(frozen=True)
class Overlap:
    """How two sets lie over each other; each in [0, 1] but for the density.

    Args:
        precision: share of made images within some real neighbourhood (Kynkäänniemi 2019). One real outlier with a wide
            neighbourhood can make it high.
        recall: share of real images within some made neighbourhood. Made outliers can make it high.
        density: how many real neighbourhoods hold a made image, over k (Naeem 2020); about 1 where the sets are alike.
        coverage: share of real neighbourhoods that hold a made image; about 1 - 2^-k where the sets are alike.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def overlap(real: Tensor, made: Tensor, neighbours: int = NEIGHBOURS) -> Overlap:
    """Return how the made images lie over the real ones.

    Args:
        real: (image, feature).
        made: (image, feature).
        neighbours: k, whose distance is the radius of a neighbourhood.
    """
    k = min(neighbours, len(real) - 1, len(made) - 1)
    if k < 1:
        return Overlap(math.nan, math.nan, math.nan, math.nan)
    real_radius, made_radius = (_radius(x, k) for x in (real, made))
    apart = torch.cdist(real.double(), made.double())
    inside = apart < real_radius[:, None]
    return Overlap(
        precision=float(inside.any(0).double().mean()),
        recall=float((apart < made_radius[None, :]).any(1).double().mean()),
        density=float(inside.double().sum(0).mean()) / k,
        coverage=float(inside.any(1).double().mean()),
    )


def _radius(points: Tensor, k: int) -> Tensor:
    """Return each point's distance to its k-th neighbour, itself not counted."""
    distances = torch.cdist(points.double(), points.double()).fill_diagonal_(0)
    return distances.kthvalue(k + 1, dim=1).values

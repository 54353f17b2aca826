"""A population of phantoms that votes move: what noised votes say of each, and who comes next.

All of it is done at the server with released votes, so it costs no privacy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from torch import Tensor

from fedspine.phantom.variation import NAMES, Recipe, crossed, varied

LENGTHS = (0.35, 0.6, 1.0, 1.7)
"""Length scales that the votes choose between, in units of the median distance of two candidates."""

SPREADS = (0.05, 0.2, 0.6, 1.5, 4.0)
"""Standard deviations of expected votes between candidates that the votes choose between, in units of the mean."""


def smoothed(votes: Tensor, distances: Tensor, noise_sd: float) -> Tensor:
    """Return how many votes every candidate is expected to have: non-negative, what noise alone would give is gone.

    A Gaussian process over the feature space (Rasmussen & Williams 2006, chapter 2): candidates that look alike have
    alike expectations. The noise's variance is known; that of drawing so few patients is the mean's, as of a count.
    Length and spread are those of the highest evidence, so votes that are mere noise give even expectations.

    Args:
        votes: (candidate,) noised counts.
        distances: (candidate, candidate) between their rows.
        noise_sd: of the noise in each count.
    """
    counts = votes.double().numpy()
    mean = max(float(counts.mean()), 1e-3)
    places = _places(distances)
    best, best_evidence = np.full(len(counts), mean), -np.inf
    for length in LENGTHS:
        for spread in SPREADS:
            kernel = ConstantKernel((spread * mean) ** 2) * RBF(length)
            process = GaussianProcessRegressor(kernel, alpha=noise_sd**2 + mean, optimizer=None)
            evidence = process.fit(places, counts - mean).log_marginal_likelihood_value_
            if evidence > best_evidence:
                best, best_evidence = process.predict(places) + mean, evidence
    return torch.from_numpy(np.maximum(best, 0.0)).float()


def _places(distances: Tensor) -> NDArray[np.float64]:
    """Return coordinates whose distances are `distances`, as far as they are Euclidean, the median being 1."""
    squared = (distances.double() / distances[distances > 0].double().median().clamp(min=1e-6)).square()
    centred = squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean()
    values, vectors = torch.linalg.eigh(-centred / 2)
    result: NDArray[np.float64] = (vectors * values.clamp(min=0).sqrt()).numpy()
    return result


def kept(weights: Tensor, share: float) -> Tensor:
    """Return the indices of the candidates with most votes, at most `share` of them and none without a vote."""
    order = weights.argsort(descending=True)[: int(share * len(weights))]
    return order[weights[order] > 0]


def children(
    parents: Sequence[Recipe], weights: Tensor, count: int, change: float, generator: np.random.Generator
) -> list[Recipe]:
    """Return `count` phantoms like the parents: two are crossed, then parts drawn anew.

    Args:
        parents: candidates.
        weights: (parent,) expected votes, in proportion to which parents are chosen.
        count: how many.
        change: probability with which each part is drawn anew.
        generator: public randomness.
    """
    total = float(weights.sum())
    chances = weights.double().numpy() / total if total > 0 else np.full(len(parents), 1 / len(parents))
    chances = chances / chances.sum()
    pairs = generator.choice(len(parents), size=(count, 2), p=chances)
    redrawn = generator.uniform(size=(count, len(NAMES))) < change
    return [
        varied(
            crossed(parents[one], parents[other], generator),
            [name for name, new in zip(NAMES, row, strict=True) if new],
            generator,
        )
        for (one, other), row in zip(pairs, redrawn, strict=True)
    ]

"""The shared map from private anchors: synthetic points, their places by UMAP, lesion tokens as clusters of them.

Server side, and all of it post-processing of released sums: no further cost. Synthetic points are drawn about the
anchors in proportion to their counts; UMAP and the clusters see these alone. Tokens are components of a Gaussian
mixture in the latent space (measured against k-means on the plane: the same without noise, steadier with it; the plane
tears islands apart where anchors are few). What travels is `SharedMap.arrays`.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from fedspine.atlas.placing import SharedMap, from_arrays, reach_of
from fedspine.atlas.plane import plane
from fedspine.atlas.private_anchors import Anchors
from fedspine.errors import InputError

Array = NDArray[np.float64]

POINTS = 1500
"""Synthetic points of a map."""
NEIGHBOURS = 30
LEAST_DISTANCE = 0.1
STARTS = 5
MOST_TOKENS = 12
"""Tokens at most where their number is left open."""


def synthetic(anchors: Anchors, count: int, seed: int) -> Array:
    """Return about `count` points (point, latent) as the anchors say that patients are spread."""
    random = np.random.default_rng(seed)
    shares = anchors.counts / max(float(anchors.counts.sum()), 1e-9)
    many = np.floor(shares * count + random.random(len(shares))).astype(int)
    drawn = [
        random.multivariate_normal(centre, spread, size=number)
        for centre, spread, number in zip(anchors.centres, anchors.spread, many, strict=True)
    ]
    return np.concatenate(drawn)


def fit(anchors: Anchors, tokens: int, seed: int, unit: bool = False, points: int = POINTS) -> SharedMap:
    """Return the shared map of `anchors`.

    Args:
        anchors: from `private_anchors.finish`.
        tokens: how many; 0 lets the Bayesian information criterion choose (Schwarz 1978).
        seed: of the points, the layout and the clusters.
        unit: latents are unit vectors, so synthetic points are brought back to the sphere.
        points: synthetic points.

    Raises:
        InputError: if there are more tokens than anchors.
    """
    if tokens < 0 or tokens > len(anchors.counts):
        raise InputError("tokens must be 0 or more, and no more than anchors", f"{tokens}", "ask for fewer")
    references = synthetic(anchors, points, seed)
    if unit:
        references /= np.linalg.norm(references, axis=1, keepdims=True)
    references = references.astype(np.float32).astype(np.float64)  # what the server fits is what travels
    mixture = _mixture(references, tokens, float(anchors.counts.sum()), seed)
    membership = mixture.predict_proba(references)
    weights = membership.sum(0)
    occupied = weights > 0.5
    membership = membership[:, occupied] / membership[:, occupied].sum(1, keepdims=True)
    centres = (membership.T @ references) / membership.sum(0)[:, None]
    laid_out = plane(references, NEIGHBOURS, LEAST_DISTANCE, seed)
    made = SharedMap(references, laid_out.astype(np.float64), membership, centres, reach_of(references))
    return from_arrays(made.arrays())


def _mixture(points: Array, tokens: int, patients: float, seed: int) -> GaussianMixture:
    if tokens:
        return _fitted(points, tokens, seed, STARTS)
    candidates = [_fitted(points, number, seed, 1) for number in range(2, MOST_TOKENS + 1)]
    best = min(candidates, key=lambda mixture: _criterion(mixture, points, patients))
    return _fitted(points, len(best.means_), seed, STARTS)


def _criterion(mixture: GaussianMixture, points: Array, patients: float) -> float:
    """Return the Bayesian information criterion for as many patients as there are, not as many as points were drawn."""
    components, latent = mixture.means_.shape
    free = components * (latent + latent * (latent + 1) / 2) + components - 1
    score = float(mixture.score(points))
    return float(free * math.log(max(patients, 2.0)) - 2 * patients * score)


def _fitted(points: Array, tokens: int, seed: int, starts: int) -> GaussianMixture:
    variance = float(points.var(0).mean())
    mixture = GaussianMixture(tokens, n_init=starts, random_state=seed, reg_covar=max(1e-3 * variance, 1e-9))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the best of several starts is good enough
        mixture.fit(points)
    return mixture

"""The shared map: UMAP of public anchors, lesion tokens as clusters of it, and a patient's place on it.

The map is fitted to anchors alone, at the server. What travels is arrays: the anchors' embeddings, their coordinates,
the tokens' centres. A hospital places its patients with these and keeps the places to itself (a fitted UMAP object
holds its training rows; it is never sent, nor are distances to anchors, from which a patient could be solved for).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

NEIGHBOURS = 5
"""Anchors that a patient's place on the map is taken from."""


def fit(latents: Tensor, tokens: int, seed: int) -> dict[str, Tensor]:
    """Return the atlas of `latents` (anchor, latent), unit vectors.

    Args:
        latents: the anchors' image embeddings.
        tokens: number of clusters.
        seed: of UMAP (McInnes 2018, `umap-learn`) and of k-means.

    Returns:
        `latents`; `map` (anchor, 2); `token` (anchor,) float32; `centres` (token, latent), unit vectors, in the order
        of their place along the map's first axis, so that names stay put from run to run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap and numba warn of what they were told to do (one thread, fixed seed)
        import umap  # late: numba takes seconds, and only this stage needs it

        reducer = umap.UMAP(n_neighbors=min(15, len(latents) - 1), min_dist=0.2, random_state=seed, n_jobs=1)
        plane = np.asarray(reducer.fit_transform(latents.numpy()), dtype=np.float32)
    clusters = KMeans(min(tokens, len(latents)), n_init=10, random_state=seed).fit(latents.numpy())
    found = range(clusters.n_clusters)
    order = sorted(found, key=lambda t: float(plane[clusters.labels_ == t, 0].mean()))
    rank = {token: index for index, token in enumerate(order)}
    centres = torch.from_numpy(clusters.cluster_centers_[order].astype(np.float32))
    return {
        "latents": latents,
        "map": torch.from_numpy(plane),
        "token": torch.tensor([float(rank[int(label)]) for label in clusters.labels_]),
        "centres": torch.nn.functional.normalize(centres, dim=1),
    }


def nearest_token(latent: Tensor, centres: Tensor) -> int:
    """Return the token of a unit vector (latent,): the centre (token, latent) with the largest cosine."""
    return int((centres @ latent).argmax())


def place(latent: Tensor, latents: Tensor, plane: Tensor) -> tuple[float, float]:
    """Return a patient's (x, y): the mean of its nearest anchors' places, weighted by closeness.

    Args:
        latent: (latent,) unit vector.
        latents: (anchor, latent) unit vectors.
        plane: (anchor, 2) their places.
    """
    distance = (latents - latent).norm(dim=1)
    near = distance.argsort()[:NEIGHBOURS]
    weight = 1 / (distance[near] + 1e-3)
    x, y = ((plane[near] * weight[:, None]).sum(0) / weight.sum()).tolist()
    return float(x), float(y)

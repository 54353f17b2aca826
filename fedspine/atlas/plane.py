"""The one door to `umap-learn`: public or synthetic points laid out in the plane."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray


def plane(points: NDArray[np.floating], neighbours: int, least_distance: float, seed: int) -> NDArray[np.float32]:
    """Return places (point, 2) of `points` (point, latent) by UMAP (McInnes 2018).

    Args:
        points: anchors or synthetic points, never patients.
        neighbours: of each point, at most all others.
        least_distance: between places.
        seed: of the layout; one thread, so that it decides everything on one machine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap and numba warn of what they were told to do (one thread, fixed seed)
        import umap  # late: numba takes seconds, and only the server's fit needs it

        near = min(neighbours, len(points) - 1)
        reducer = umap.UMAP(n_neighbors=near, min_dist=least_distance, random_state=seed, n_jobs=1)
        return np.asarray(reducer.fit_transform(points), dtype=np.float32)

"""How good a map is: neighbourhoods kept, types together, sites mixed, tokens like types and like the pooled ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from simulations.map_study.cohort import Cohort

Array = NDArray[np.float64]

NEIGHBOURS = 15


@dataclass(frozen=True)
class Figures:
    """One map's figures.

    Args:
        trustworthiness: share-like, 1 if neighbours on the map are neighbours among the features (Venna 2001).
        continuity: the same from the features to the map.
        purity: share of a patient's nearest 15 on the map that have its type.
        cross_site: the same among the nearest 15 of other sites.
        types: adjusted Rand index of tokens and types.
        central: adjusted Rand index of tokens and those of all data pooled.
    """

    trustworthiness: float
    continuity: float
    purity: float
    cross_site: float
    types: float
    central: float


def figures(cohort: Cohort, places: Array, tokens: NDArray[np.int64], central: NDArray[np.int64]) -> Figures:
    """Return the figures of a map that has every patient's place (patient, 2) and token (patient,)."""
    return Figures(
        float(trustworthiness(cohort.rows, places, n_neighbors=NEIGHBOURS)),
        float(trustworthiness(places, cohort.rows, n_neighbors=NEIGHBOURS)),
        purity(places, cohort.types),
        cross_site_purity(places, cohort.types, cohort.sites),
        float(adjusted_rand_score(cohort.types, tokens)),
        float(adjusted_rand_score(central, tokens)),
    )


def purity(places: Array, types: NDArray[np.int64]) -> float:
    """Return the mean share of a patient's nearest `NEIGHBOURS` others that have its type."""
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(places).kneighbors(return_distance=False)
    return float((types[near] == types[:, None]).mean())


def cross_site_purity(places: Array, types: NDArray[np.int64], sites: NDArray[np.int64]) -> float:
    """Return the same among patients of other sites; chance where each site has a map of its own."""
    shares = []
    for site in np.unique(sites):
        here = sites == site
        near = (
            NearestNeighbors(n_neighbors=NEIGHBOURS).fit(places[~here]).kneighbors(places[here], return_distance=False)
        )
        shares.append((types[~here][near] == types[here][:, None]).mean(1))
    return float(np.concatenate(shares).mean())

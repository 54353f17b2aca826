"""Made patients: six curved types in 64 features at four sites, each with a case mix of its own.

A type is a sheet of three inner coordinates, bent by squares, products and sines, in 8 to 10 of the ten directions in
which tumours differ; the ten are turned at random within the 64 features, and every feature gets noise. A tenth of the
patients lie between two types, at a uniform fraction of the way: no method should tell their type for sure. Scanners
have no effect here: a map of features that are not harmonised shows scanners, even with all data in one place.

The difficulty was set once, on other seeds than the study's, so that k-means of a UMAP of all data pooled gets an
adjusted Rand index of about 0.88 with the types (trustworthiness and continuity about 0.98).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TYPES, SITES, COLUMNS, DIRECTIONS, INNER = 6, 4, 64, 10, 3
APART, NOISE, BETWEEN, SKEW = 0.7, 0.2, 0.1, 0.5
LENGTH = 3.0
"""Root mean square length of a patient before features are put on unit variance, as the sites' shared scaling does."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """The patients of all sites.

    Args:
        rows: (patient, column) features of about unit variance.
        types: (patient,).
        sites: (patient,).
    """

    rows: Array
    types: NDArray[np.int64]
    sites: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Sheet:
    centre: Array  # (direction,)
    bends: Array  # (function, direction)

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """Return (count, direction) points of the sheet."""
        inner = random.uniform(-1, 1, size=(count, INNER))
        pairs = [inner[:, i] * inner[:, j] - (1 / 3 if i == j else 0.0) for i in range(INNER) for j in range(i, INNER)]
        functions = np.concatenate([inner, np.stack(pairs, axis=1), np.sin(np.pi * inner)], axis=1)
        result: Array = self.centre + functions @ self.bends
        return result


def draw(patients: int, seed: int) -> Cohort:
    """Return a consortium; types are equally frequent, and each spreads over sites by Dirichlet(0.5)."""
    random = np.random.default_rng([seed, patients])
    turned = np.linalg.qr(random.normal(size=(COLUMNS, COLUMNS)))[0]
    ways = np.linalg.qr(random.normal(size=(DIRECTIONS, DIRECTIONS)))[0] * math.sqrt(DIRECTIONS)
    types = np.arange(patients) % TYPES
    sheets = [_sheet(ways[kind], random) for kind in range(TYPES)]
    other = (types + random.integers(1, TYPES, size=patients)) % TYPES
    own, foreign = np.zeros((patients, DIRECTIONS)), np.zeros((patients, DIRECTIONS))
    sites = np.zeros(patients, dtype=np.int64)
    for kind, sheet in enumerate(sheets):
        here = types == kind
        own[here] = sheet.draw(int(here.sum()), random)
        foreign[other == kind] = sheet.draw(int((other == kind).sum()), random)
        sites[here] = random.choice(SITES, size=int(here.sum()), p=random.dirichlet(np.full(SITES, SKEW)))
    way = np.where(random.random(patients) < BETWEEN, random.random(patients), 0.0)[:, None]
    rows = ((1 - way) * own + way * foreign) @ turned[:, :DIRECTIONS].T
    rows += NOISE * random.normal(size=rows.shape)
    return Cohort(rows * math.sqrt(COLUMNS) / LENGTH, types, sites)


def _sheet(way: Array, random: np.random.Generator) -> _Sheet:
    width = int(random.integers(8, DIRECTIONS + 1))
    used = random.choice(DIRECTIONS, width, replace=False)
    functions = 2 * INNER + INNER * (INNER + 1) // 2
    centre, bends = np.zeros(DIRECTIONS), np.zeros((functions, DIRECTIONS))
    centre[used] = way[used] * APART
    bends[:, used] = random.normal(size=(functions, width)) / math.sqrt(functions)
    return _Sheet(centre, bends)

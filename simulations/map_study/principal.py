"""Latents of at most 8 dimensions without a network: principal components from private second moments.

A patient's row is one of standardised features, so its squared length is about the number of columns; that is the
public bound it is clipped to. The server sees the noised sum of products alone, and keeps only components that stand
out of what noise alone would show (Dwork et al. 2014, "Analyze Gauss", for the mechanism; Baik, Ben Arous & Péché 2005
for the edge below which a component is noise). Everything behind the sum is post-processing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.errors import InputError
from fedspine.harmony.space import square, triangle

Array = NDArray[np.float64]

MOST = 8
"""Dimensions of a latent: the private sums over anchors carry no more with a hundred patients a site."""


@dataclass(frozen=True, eq=False)
class Principal:
    """Released directions of the rows.

    Args:
        basis: (column, latent), orthonormal columns, the largest entry of each positive.
        variance: (latent,) mean square of the rows along each.
    """

    basis: Array
    variance: Array


def zeros(columns: int) -> dict[str, Array]:
    """Return the names and shapes of a term: `products` (column·(column + 1) / 2,)."""
    return {"products": np.zeros(columns * (columns + 1) // 2)}


def term(row: Array) -> dict[str, Array]:
    """Return one patient's products of standardised features (column,), of norm at most 1.

    Privacy: the row is clipped to length √columns, a public constant, and divided by it; the Frobenius norm of x xᵀ
    is |x|², hence at most 1. The term reads this patient's row and nothing else.
    """
    bound = math.sqrt(len(row))
    scaled = row / max(bound, float(np.linalg.norm(row)))
    return {"products": triangle(np.outer(scaled, scaled))}


def principal(products: Array, columns: int, patients: int, noise_sd: float, most: int = MOST) -> Principal:
    """Return the directions along which the rows spread most, from the released sum.

    Args:
        products: (entry,) sum of terms over all sites.
        columns: of a row.
        patients: in all (public).
        noise_sd: of the noise in an entry of `products`.
        most: directions at most; fewer where noise hides the rest, but never under 2.

    Raises:
        InputError: if there is nobody.
    """
    if patients < 1:
        raise InputError("principal components must come from patients", "none", "wait until sites bring some")
    values, vectors = np.linalg.eigh(square(products, columns))
    values, vectors = values[::-1], vectors[:, ::-1]
    edge = noise_sd * math.sqrt(2 * columns) + (float(np.median(values)) if noise_sd else 0.0)
    kept = max(2, int((values[:most] > edge).sum()))
    basis = vectors[:, :kept]
    signs = np.sign(basis[np.abs(basis).argmax(0), range(kept)])
    variance = np.maximum(values[:kept], 1e-9) * columns / patients
    return Principal(basis * np.where(signs == 0, 1.0, signs), variance)


def project(rows: Array, released: Principal) -> Array:
    """Return latents (patient, latent) of `rows` (patient, column).

    Columns are added one after another in double precision, so a patient's latent has the same bits on every machine
    and in every batch; a matrix product would not (its order of additions depends on the processor). Latents are not
    clipped: a term of `private_anchors` is bounded whatever they are, and a strange patient should look strange.
    """
    latents = np.zeros((len(rows), released.basis.shape[1]))
    for column in range(rows.shape[1]):
        latents += rows[:, column, None] * released.basis[None, column]
    return latents

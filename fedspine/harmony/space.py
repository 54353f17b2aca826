"""The harmonisation space: a few principal axes of harmonised features, the same for every site.

The axes are those of the pooled covariance within batches, W = Σ_i (Σzzᵀ - n z̄z̄ᵀ) / N, z being harmonised features on a
public scale (about 0, spread about 1): differences between scanners that harmonising left do not bend them. A patient's
term is zzᵀ and z, from that patient alone. The eigenvalues of noise alone end at τ√(2G), for a diagonal entry's
deviation τ (Wigner 1955), and stray beyond by a share of G^(-2/3) once in a hundred times (Tracy, Widom 1994). An axis
below may be noise's and is dropped; the variance of one above is corrected for what noise adds (Péché 2006).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedspine.errors import InputError
from fedspine.harmony.moments import Array
from fedspine.harmony.shrinkage import drawn

RADIUS = 1.2
"""Root mean square of a patient's features beyond which a bounded term is scaled down."""
OUTER = 0.95
"""Weight of the outer product within a bounded term; the rest is the features' own."""
LEFT = 0.3
"""Public guess of how far a batch's mean lies from 0 after harmonising, in public spreads."""
WIDTH = 0.5
"""Public guess of how far a batch's variance along an axis lies from everybody's, as a share of it."""
LIMITS = (0.25, 4.0)
"""Of that share."""
FLOOR = 1e-9
"""An exact axis with less than this share of the largest eigenvalue is rounding's."""
DIGITS = 9
"""Decimals of an axis: the last bits differ from one linear algebra library to the next."""


@dataclass(frozen=True, eq=False)
class SpaceSums:
    """Sums over one batch's patients.

    Args:
        patients: public.
        first: (feature,) Σz.
        outer: (feature, feature) Σzzᵀ.
        first_noise: standard deviation of the release's noise on an entry of `first`; 0 for exact sums.
        outer_noise: the same on a diagonal entry of `outer`; those off it have 1/√2 of it.
    """

    patients: int
    first: Array
    outer: Array
    first_noise: float = 0.0
    outer_noise: float = 0.0


@dataclass(frozen=True, eq=False)
class Space:
    """The axes.

    Args:
        centre: (feature,) mean over all patients.
        axes: (axis, feature) orthonormal, by falling variance.
        variance: (axis,) of patients along each, within batches.
    """

    centre: Array
    axes: Array
    variance: Array


def space_term(values: Array, known: Array, *, bounded: bool) -> dict[str, Array]:
    """Return one patient's `first` (feature,) and `outer` (G·(G + 1)/2,), the upper triangle of zzᵀ.

    It follows from that patient and a public radius alone; a bounded one has norm 1 at most. Entries off the diagonal
    are multiplied by √2, so that the norm of the triangle is that of the matrix, ‖z‖². A feature that is unknown counts
    as 0, the mean: the axes then lean on it less.

    Args:
        values: (feature,) harmonised, on the public scale.
        known: (feature,) 1 or 0.
        bounded: scale the patient down to the public radius and the term to norm 1 at most; else exact.
    """
    z = np.where(known > 0, values, 0.0)
    if not bounded:
        return {"first": z, "outer": triangle(np.outer(z, z))}
    z = z / _radius(len(z))
    z = z / max(1.0, float(np.linalg.norm(z)))
    return {"first": math.sqrt(1 - OUTER**2) * z, "outer": OUTER * triangle(np.outer(z, z))}


def space_sums(released: Mapping[str, Array], patients: int, noise_multiplier: float | None = None) -> SpaceSums:
    """Return the sums of a batch from its released terms.

    Args:
        released: sums of terms.
        patients: of the batch; public.
        noise_multiplier: of the release of bounded terms, whose clip is 1; `None` says that the terms were exact.
    """
    size = len(released["first"])
    if noise_multiplier is None:
        return SpaceSums(patients, released["first"], square(released["outer"], size))
    first, outer = _radius(size) / math.sqrt(1 - OUTER**2), _radius(size) ** 2 / OUTER
    return SpaceSums(
        patients,
        released["first"] * first,
        square(released["outer"] * outer, size),
        noise_multiplier * first,
        noise_multiplier * outer,
    )


def fit_space(batches: Sequence[SpaceSums], most: int) -> Space:
    """Return at most `most` axes of the pooled covariance within batches, none that noise may have made.

    The sign of an axis is fixed by its largest entry, which is positive; of entries that are as large but for rounding,
    the first counts.

    Raises:
        InputError: if no batch has a patient.
    """
    total = sum(batch.patients for batch in batches)
    if total == 0:
        raise InputError("a space needs patients", "none", "wait for a site that has some")
    first_noise = sum(batch.first_noise**2 for batch in batches) / total**2
    centre = drawn(np.sum([batch.first for batch in batches], axis=0) / total, 0.0, first_noise, LEFT**2)
    covariance = np.sum([_within(batch) for batch in batches], axis=0) / total
    noise = math.sqrt(sum(batch.outer_noise**2 for batch in batches)) / total
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:most]
    edge = noise * math.sqrt(2 * len(centre))
    least = edge * (1 + len(centre) ** (-2 / 3)) if noise else FLOOR * float(values.max(initial=0.0))
    order = order[values[order] > least]
    variance = (values[order] + np.sqrt(values[order] ** 2 - edge**2)) / 2
    axes = np.array([_signed(vectors[:, index]) for index in order]).reshape(-1, len(centre))
    return Space(centre, np.round(axes, DIGITS), variance)


def batch_shift(batch: SpaceSums, space: Space) -> tuple[Array, Array]:
    """Return where a batch lies in the space and how wide it is there, both (axis,): what harmonising one feature at a
    time has left, location and variance relative to everybody's (CovBat, Chen et al. 2022, NeuroImage 245:118703).

    Both follow from the batch's released sums, drawn towards no difference by as much as noise and few patients weigh.
    """
    count = max(batch.patients, 1)
    away = space.axes @ (batch.first / count - space.centre)
    error = (batch.first_noise / count) ** 2 + space.variance / count
    shift = drawn(away, 0.0, error, LEFT**2)
    own = np.einsum("ag,gh,ah->a", space.axes, _within(batch) / count, space.axes)
    ratio = own / np.maximum(space.variance, 1e-12)
    uncertain = (batch.outer_noise / (count * np.maximum(space.variance, 1e-12))) ** 2 + 2 / count
    return shift, np.clip(drawn(ratio, 1.0, uncertain, WIDTH**2), *LIMITS)


def projected(values: Array, space: Space) -> Array:
    """Return the coordinates (…, axis) of features (…, feature)."""
    return np.asarray((values - space.centre) @ space.axes.T)


def restored(coordinates: Array, space: Space) -> Array:
    """Return the features (…, feature) that lie at coordinates (…, axis); what the space left out is the mean."""
    return np.asarray(space.centre + coordinates @ space.axes)


def _within(batch: SpaceSums) -> Array:
    """Return Σzzᵀ - n z̄z̄ᵀ; a noisy mean is drawn towards 0, so that what is taken off makes no axis of its own."""
    count = max(batch.patients, 1)
    mean = drawn(batch.first / count, 0.0, (batch.first_noise / count) ** 2, LEFT**2)
    return np.asarray(batch.outer - count * np.outer(mean, mean))


def _signed(axis: Array) -> Array:
    size = np.abs(axis)
    largest = int(np.flatnonzero(size >= (1 - 1e-6) * size.max())[0])
    return np.asarray(axis * np.sign(axis[largest]))


def _radius(features: int) -> float:
    return RADIUS * math.sqrt(features)


def triangle(matrix: Array) -> Array:
    """Return the upper triangle (entry,) of a symmetric (n, n), off-diagonal entries times √2.

    So a triangle's Euclidean norm is the matrix's Frobenius norm, and noise costs half as much off the diagonal.
    """
    weights = np.where(np.eye(len(matrix)) > 0, 1.0, math.sqrt(2))
    return np.asarray((matrix * weights)[np.triu_indices(len(matrix))])


def square(entries: Array, size: int) -> Array:
    """Return the symmetric (size, size) that `triangle` made an array from."""
    upper = np.zeros((size, size))
    upper[np.triu_indices(size)] = entries
    upper /= np.where(np.eye(size) > 0, 1.0, math.sqrt(2))
    return np.asarray(upper + np.triu(upper, 1).T)

"""Anchors of the shared map from rounds of private sums: Lloyd's algorithm that knows its noise.

Each round asks, for public centres: how many patients are nearest to each, how far these lie from it on average, and
how they scatter about it. Asking for the *displacement* from a public centre and not for the place halves the noise
(Lloyd 1982 with the Gaussian mechanism, as in Su et al. 2016, DP k-means; the displacement is clipped to a public
reach, about the distance between centres, which shrinks as they settle). Begun from public points: phantoms' latents,
or a spread grid. A few patients cannot be told from noise, so centres with few are dropped and the fullest are split.

Everything behind the noised sum is post-processing and free: dropping, splitting, shrinking, and whatever is drawn from
the anchors later (`shared_map`). No latent, no distance and no nearest centre of a patient leaves by itself. Without
noise that is a matter of numbers only: an anchor with a single patient of a site tells that patient's latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from fedspine.errors import InputError
from fedspine.harmony.space import square, triangle

Array = NDArray[np.float64]

COUNT, SPREAD = 0.5, 0.45
"""Lengths of a term's count and spread; the displacement's is what remains of 1. Chosen by measurement."""
SHIFT = math.sqrt(1 - COUNT**2 - SPREAD**2)
REACH = 1.4
"""Reach of a displacement, in median distances between neighbouring centres. Chosen by measurement."""
FAINT = 1.5
"""A centre is kept if its count is over this many standard deviations of the noise."""
OWN = 4.0
"""Patients that a group's own spread must have to weigh as much as everybody's."""
LEAST = 8
"""Centres that are kept however few patients they have."""


@dataclass(frozen=True, eq=False)
class Query:
    """What a round asks; public.

    Args:
        centres: (anchor, latent).
        reach: bound on a displacement that counts in full.
        groups: (anchor,) int, which anchors share a spread: all one group, or each its own without noise.
    """

    centres: Array
    reach: float
    groups: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Anchors:
    """What the rounds gave.

    Args:
        centres: (anchor, latent).
        counts: (anchor,) patients, noisy, none below 0.
        spread: (anchor, latent, latent) covariance of patients about their centre, positive definite.
    """

    centres: Array
    counts: Array
    spread: Array


def query(centres: Array, own_spread: bool = False) -> Query:
    """Return the round that asks about public `centres` (anchor, latent).

    Args:
        centres: at least two.
        own_spread: ask each anchor's own spread, which only sums without noise can carry.
    """
    if len(centres) < 2:
        raise InputError("a map must have two anchors or more", f"{len(centres)}", "give more")
    groups = np.arange(len(centres)) if own_spread else np.zeros(len(centres), dtype=np.int64)
    return Query(centres, max(REACH * float(np.median(_gaps(centres))), 1e-6), groups)


def grid(deviation: Array, count: int, seed: int) -> Array:
    """Return public points (count, latent) spread as a normal of `deviation` (latent,), more evenly than at random."""
    sampler = qmc.Sobol(len(deviation), seed=seed)
    even = sampler.random(2 ** math.ceil(math.log2(count)))[:count]
    result: Array = norm.ppf(np.clip(even, 1e-3, 1 - 1e-3)) * deviation
    return result


def grid_on_sphere(dimensions: int, count: int, seed: int) -> Array:
    """Return public unit vectors (count, dimensions), spread evenly: where an encoder's latents lie."""
    points = grid(np.ones(dimensions), count, seed)
    result: Array = points / np.linalg.norm(points, axis=1, keepdims=True)
    return result


def suitable_count(patients: int, noise_sd: float) -> int:
    """Return how many anchors a count of noise `noise_sd` (in patients, over all sites) can carry.

    An anchor's patients should be about 8 times the noise of its count; measured best between 24 and 64.

    >>> suitable_count(1200, 0.0), suitable_count(1200, 3.4), suitable_count(1200, 20.0)
    (150, 44, 24)
    """
    if noise_sd <= 0:
        return 150
    return int(min(64, max(24, patients / (8 * noise_sd))))


def zeros(asked: Query) -> dict[str, Array]:
    """Return a term's names and shapes: `count` (anchor,), `shift` (anchor, latent), `spread` (group, entry)."""
    anchors, latent = asked.centres.shape
    groups = int(asked.groups.max()) + 1
    return {
        "count": np.zeros(anchors),
        "shift": np.zeros((anchors, latent)),
        "spread": np.zeros((groups, latent * (latent + 1) // 2)),
    }


def term(latent: Array, asked: Query) -> dict[str, Array]:
    """Return one patient's term, of joint norm at most 1.

    Privacy: it reads this patient's latent (latent,) and the public query. One row of each array is not zero: the count
    (of length `COUNT`), the displacement from the nearest centre clipped to the reach and divided by it (at most
    `SHIFT`), and its products (at most `SPREAD`, see `harmony.space.triangle`). Their squares add up to 1 at most,
    whatever the latent is. Another patient changes neither the nearest centre nor the scale.
    """
    apart = latent - asked.centres
    nearest = int((apart**2).sum(1).argmin())
    scaled = apart[nearest] / max(asked.reach, float(np.linalg.norm(apart[nearest])))
    result = zeros(asked)
    result["count"][nearest] = COUNT
    result["shift"][nearest] = SHIFT * scaled
    result["spread"][asked.groups[nearest]] = SPREAD * triangle(np.outer(scaled, scaled))
    return result


def advance(asked: Query, sums: Mapping[str, Array], noise_sd: float, seed: int) -> Query:
    """Return the next round: centres moved, those that noise drowns dropped, the fullest split in their place.

    Args:
        asked: the round before.
        sums: released, added up over sites.
        noise_sd: of the noise in an entry of `sums`.
        seed: of the directions in which centres are split.
    """
    counts, moved, _ = _read(asked, sums, noise_sd)
    kept = _kept(counts, noise_sd)
    centres, counts = moved[kept], counts[kept]
    split = np.argsort(-counts, kind="stable")[: len(kept) - len(centres)]
    random = np.random.default_rng(seed)
    aside = random.normal(size=(len(split), centres.shape[1]))
    aside *= 0.5 * _gaps(centres)[split, None] / np.linalg.norm(aside, axis=1, keepdims=True)
    return _fitted(np.concatenate([centres, centres[split] + aside]), asked)


def finish(asked: Query, sums: Mapping[str, Array], noise_sd: float) -> Anchors:
    """Return the anchors from the last round's sums; arguments as in `advance`."""
    counts, moved, shift = _read(asked, sums, noise_sd)
    spread = _spreads(asked, sums, counts, shift, noise_sd)
    kept = _kept(counts, noise_sd)
    return Anchors(moved[kept], np.maximum(counts[kept], 0.0), spread[kept])


def _fitted(centres: Array, asked: Query) -> Query:
    """Return the query about `centres`: as many as before, unless noise drowned more than half of them."""
    return query(centres, own_spread=len(np.unique(asked.groups)) > 1)


def _gaps(centres: Array) -> Array:
    """Return each centre's distance to the nearest other one (anchor,)."""
    squares = ((centres[:, None] - centres[None]) ** 2).sum(2)
    np.fill_diagonal(squares, np.inf)
    result: Array = np.sqrt(squares.min(1))
    return result


def _kept(counts: Array, noise_sd: float) -> NDArray[np.bool_]:
    """Return which anchors (anchor,) stand out of the noise; the fullest `LEAST` always stay."""
    wanted = max(FAINT * noise_sd / COUNT, 0.5)
    floor = np.sort(counts)[-min(LEAST, len(counts))]
    return counts >= min(wanted, float(floor))


def _read(asked: Query, sums: Mapping[str, Array], noise_sd: float) -> tuple[Array, Array, Array]:
    """Return counts (anchor,), moved centres and how far they moved (both (anchor, latent)).

    A step is drawn towards none by as much as its noise weighs against half the reach, its public prior.
    """
    counts = sums["count"] / COUNT
    heads = np.maximum(counts, 1.0)[:, None]
    step = sums["shift"] * (asked.reach / SHIFT) / heads
    noise = step.shape[1] * (noise_sd * asked.reach / SHIFT / heads) ** 2
    step = step / (1 + noise / (asked.reach / 2) ** 2)
    step = step * np.minimum(1.0, asked.reach / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12))
    return counts, asked.centres + step, step


def _spreads(asked: Query, sums: Mapping[str, Array], counts: Array, shift: Array, noise_sd: float) -> Array:
    """Return covariances about the moved centres (anchor, latent, latent), a group's own drawn towards everybody's."""
    heads, latent = np.maximum(counts, 0.0), shift.shape[1]
    members = np.eye(int(asked.groups.max()) + 1)[asked.groups]  # (anchor, group)
    patients = np.maximum(members.T @ heads, 1e-9)
    moments = np.stack([square(row, latent) for row in sums["spread"]]) * asked.reach**2 / SPREAD
    between = np.einsum("ag,a,ai,aj->gij", members, heads, shift, shift)
    within = moments - between
    pooled = _positive(within.sum(0) / max(float(patients.sum()), 1.0))
    if len(patients) == 1:
        return np.repeat(pooled[None], len(counts), axis=0)
    variance = float(np.trace(pooled)) / latent
    noise = noise_sd * asked.reach**2 / SPREAD / (patients * max(variance, 1e-12))
    prior = OWN + patients * noise**2
    own = (within + prior[:, None, None] * pooled) / (patients + prior)[:, None, None]
    return np.stack([_positive(matrix) for matrix in own])[asked.groups]


def _positive(matrix: Array) -> Array:
    """Return `matrix` (latent, latent) with no variance under a twentieth of the mean."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    floor = max(0.05 * float(np.trace(matrix)) / len(matrix), 1e-9)
    result: Array = (vectors * np.maximum(values, floor)) @ vectors.T
    return result

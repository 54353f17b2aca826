"""A patient's place, tokens and strangeness on the shared map, from arrays alone and the same to the last bit.

A hospital does this for its own patients and keeps what it finds. The map is a function given by reference points (none
a patient, see `shared_map`): a patient lies where its nearest references lie, weighted by how near they are.

Bits: only +, -, ×, ÷ and √ in double precision are used, which IEEE 754 rounds in one way on every machine, each as its
own array operation and with sums in a fixed order; no exponential, no matrix product, no sum over an axis. So a patient
placed alone, among a thousand, or at another hospital gets identical numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.errors import InputError

Array = NDArray[np.float64]

NEIGHBOURS = 15
"""References a place is taken from."""
CLOSE = 5
"""Unlike anything seen: farther from the fifth nearest reference than 99 % of references are from theirs."""
BATCH = 256
"""Patients at a time, so that their distances fit a processor's cache."""
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class SharedMap:
    """The map as arrays, equal at every site.

    Args:
        references: (reference, latent) synthetic points.
        plane: (reference, 2) their places.
        membership: (reference, token) probability of each token.
        centres: (token, latent) mean of each token's references.
        radius: distance to the fifth nearest reference over which a patient is unlike anything seen.
    """

    references: Array
    plane: Array
    membership: Array
    centres: Array
    radius: float

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what travels."""
        numbers = {key: getattr(self, key) for key in ("references", "plane", "membership", "centres")}
        return {key: value.astype(np.float32) for key, value in (numbers | {"radius": np.array(self.radius)}).items()}


@dataclass(frozen=True, eq=False)
class Placed:
    """Patients on the map; stays at the site.

    Args:
        places: (patient, 2).
        membership: (patient, token) probabilities; each row adds up to 1.
        tokens: (patient,) the most probable token.
        strangeness: (patient,) distance to the fifth nearest reference, in radii of the map.
        unlike: (patient,) whether a patient is unlike anything seen: strangeness over 1.
    """

    places: Array
    membership: Array
    tokens: NDArray[np.int64]
    strangeness: Array
    unlike: NDArray[np.bool_]


def from_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> SharedMap:
    """Return the map that travelled as `arrays`; what does not fit together is an error."""
    exact = {key: np.asarray(value, dtype=np.float64) for key, value in arrays.items()}
    missing = {"references", "plane", "membership", "centres", "radius"} - exact.keys()
    if missing:
        raise InputError("a map must have all its arrays", f"no '{min(missing)}'", "take it from the same run")
    many = {len(exact[key]) for key in ("references", "plane", "membership")}
    if len(many) > 1 or min(many) <= NEIGHBOURS or not all(bool(np.isfinite(value).all()) for value in exact.values()):
        rule = f"a map must have over {NEIGHBOURS} references, each with a place and tokens, all finite"
        raise InputError(rule, f"{sorted(many)}", "take it from the same run")
    radius = float(exact.pop("radius"))
    return SharedMap(exact["references"], exact["plane"], exact["membership"], exact["centres"], radius)


def place(latents: NDArray[np.floating], shared: SharedMap) -> Placed:
    """Return the places of `latents` (patient, latent); a thousand patients take well under a second.

    Raises:
        InputError: if latents have another dimension than the map, or are not finite.
    """
    exact = np.asarray(latents, dtype=np.float64)
    if exact.ndim != 2 or exact.shape[1] != shared.references.shape[1] or not bool(np.isfinite(exact).all()):
        rule = f"latents must be finite rows of {shared.references.shape[1]}"
        raise InputError(rule, f"shape {exact.shape}", "use the encoder that the map was made with")
    parts = [_batch(exact[first : first + BATCH], shared) for first in range(0, len(exact), BATCH)]
    tokens = shared.membership.shape[1]
    nobody = (np.zeros((0, 2)), np.zeros((0, tokens)), np.zeros(0))
    places, membership, reach = (np.concatenate(column) for column in zip(nobody, *parts, strict=True))
    strangeness = reach / shared.radius
    return Placed(places, membership, membership.argmax(1), strangeness, strangeness > 1)


def _batch(latents: Array, shared: SharedMap) -> tuple[Array, Array, Array]:
    squares = distances(latents, shared.references)
    order = squares.argsort(1, kind="stable")[:, : NEIGHBOURS + 1]
    near = np.take_along_axis(squares, order, 1)
    edge = np.maximum(near[:, -1], TINY)
    # a reference's weight falls to 0 where it stops being among the nearest: no jumps between neighbouring places
    places, membership = np.zeros((len(latents), 2)), np.zeros((len(latents), shared.membership.shape[1]))
    total = np.zeros(len(latents))
    for rank in range(NEIGHBOURS):
        share = 1 - near[:, rank] / edge
        weight = share * share + TINY
        places += weight[:, None] * shared.plane[order[:, rank]]
        membership += weight[:, None] * shared.membership[order[:, rank]]
        total += weight
    return places / total[:, None], membership / total[:, None], np.sqrt(near[:, CLOSE - 1])


def distances(one: Array, other: Array) -> Array:
    """Return squared distances (one, other), coordinates added one after another."""
    squares = np.zeros((len(one), len(other)))
    for column in range(one.shape[1]):
        apart = one[:, column, None] - other[None, :, column]
        squares += apart * apart
    return squares


def reach_of(references: Array, share: float = 0.99) -> float:
    """Return the distance to their fifth nearest other reference that `share` of `references` stay within."""
    squares = np.sort(distances(references, references), axis=1)
    return float(np.quantile(np.sqrt(squares[:, CLOSE]), share))  # column 0 is the reference itself

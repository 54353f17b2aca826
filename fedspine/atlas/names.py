"""Stable names of lesion tokens: matched to those of the run before, never renumbered.

Tokens are matched by whatever describes them in both runs: centres in one latent space (mapped back to features where
the latent space was learned anew, since a new one may be turned), or the share of the same public phantoms that fall to
each. A token without a partner nearby gets a name that no token had before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fedspine.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Named:
    """Tokens with their names.

    Args:
        names: one a token.
        places: (token, dimension) what they are known by: centres, or shares of public phantoms.
        issued: how many names were ever given, so that none comes back for another token.
    """

    names: tuple[str, ...]
    places: Array
    issued: int


def named(places: Array, previous: Named | None = None, farthest: float | None = None) -> Named:
    """Return `places` (token, dimension) with names, those of `previous` where a token is still there.

    Pairs are chosen together, so that their distances add up to the least (Kuhn 1955, the Hungarian method).

    Args:
        places: of the tokens of this run.
        previous: of the run before.
        farthest: distance over which two tokens are not the same; without one, half the median distance from a
            previous token to its nearest neighbour.

    Raises:
        InputError: if the two runs describe tokens in different dimensions.

    >>> first = named(np.array([[0.0], [1.0], [5.0]]))
    >>> again = named(np.array([[5.1], [9.0], [0.1]]), first)
    >>> again.names, again.issued
    (('token-3', 'token-4', 'token-1'), 4)
    """
    if previous is None:
        return Named(tuple(f"token-{number + 1}" for number in range(len(places))), places, len(places))
    if previous.places.shape[1:] != places.shape[1:]:
        rule, found = "tokens must be described as in the run before", f"{places.shape[1]} dimensions"
        raise InputError(rule, found, f"use the same {previous.places.shape[1]}, or start names anew")
    apart = _distances(places, previous.places)
    limit = _limit(previous.places) if farthest is None else farthest
    # a pair that is too far costs as much as any other such pair: it must not push a good pair aside
    pairs = zip(*linear_sum_assignment(np.minimum(apart, 2 * limit) if np.isfinite(limit) else apart), strict=True)
    kept = {int(new): previous.names[old] for new, old in pairs if apart[new, old] <= limit}
    names, issued = [], previous.issued
    for token in range(len(places)):
        issued += token not in kept
        names.append(kept.get(token, f"token-{issued}"))
    return Named(tuple(names), places, issued)


def _limit(places: Array) -> float:
    if len(places) < 2:
        return float("inf")
    apart = _distances(places, places)
    np.fill_diagonal(apart, np.inf)
    return float(np.median(apart.min(1))) / 2


def _distances(one: Array, other: Array) -> Array:
    result: Array = np.sqrt(((one[:, None] - other[None]) ** 2).sum(2))
    return result

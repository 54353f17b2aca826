"""Whole numbers as words modulo 2³² or 2⁶⁴ and back: which of the two is wide enough, and what a sum of words means.

Words wrap around, which costs no privacy and would spoil the sum. An entry of the total is at most N·s from the
patients, and beyond x from the noise with probability at most 2·exp(-x²/(2(v + x/3))) by Bernstein's inequality for a
Skellam number of variance v. The width is chosen so that no entry of the vector wraps but with probability 10⁻¹².
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspine.errors import ConfigError
from fedspine.privacy.integer_sum import Integers, steps_for
from fedspine.privacy.skellam import sensitivities
from fedspine.secure.masks import Words

WIDTHS: Mapping[int, tuple[type, type, torch.dtype]] = {
    32: (np.uint32, np.int32, torch.int32),
    64: (np.uint64, np.int64, torch.int64),
}
"""Bits of a word to its kind, the kind with a sign, and what travels of it."""

WRAPS = 1e-12
"""Probability with which some entry of a sum may wrap around."""


def largest_entry(patients: int, dimension: int, noise_multiplier: float, sites: int, parts: int) -> float:
    """Return what no entry of the total exceeds but with probability `WRAPS`, in steps.

    Args:
        patients: of all sites.
        dimension: entries.
        noise_multiplier: σ.
        sites: K, who add noise.
        parts: K - t.
    """
    steps = steps_for(dimension)
    variance = sites / parts * (noise_multiplier * steps) ** 2
    exponent = math.log(2 * dimension / WRAPS)
    noise = exponent / 3 + math.sqrt(exponent**2 / 9 + 2 * exponent * variance)
    return patients * sensitivities(steps, dimension)[1] + noise


def width_for(patients: int, dimension: int, noise_multiplier: float, sites: int, parts: int) -> int:
    """Return 32 or 64, the bits of a word; see `largest_entry`.

    Raises:
        ConfigError: if the sum would not fit into 64.
    """
    largest = largest_entry(patients, dimension, noise_multiplier, sites, parts)
    for bits in WIDTHS:
        if largest < 2.0 ** (bits - 1):
            return bits
    raise ConfigError(
        "a secure sum must fit into 64 bits", f"one of {math.log2(largest) + 1:.0f}", "lower noise_multiplier"
    )


def to_words(whole: Integers, bits: int) -> Words:
    """Return whole numbers modulo 2^`bits`."""
    return whole.astype(np.uint64).astype(WIDTHS[bits][0])


def to_tensor(words: Words) -> Tensor:
    """Return what travels: the same bits as numbers with a sign, the kinds that every end knows."""
    return torch.from_numpy(words.view(WIDTHS[8 * words.itemsize][1]))


def added(vectors: Sequence[Tensor], bits: int) -> Integers:
    """Return the sum of sites' vectors modulo 2^`bits`, each entry the one nearest to 0: server side."""
    unsigned, signed, _ = WIDTHS[bits]
    total: Words = np.zeros(len(vectors[0]), unsigned)
    for vector in vectors:
        total = total + vector.numpy().view(unsigned)
    whole: Integers = total.view(signed).astype(np.int64)
    return whole


def decoded(total: Integers, clip: float) -> NDArray[np.float64]:
    """Return a total in the units of the terms."""
    return np.asarray(total * (clip / steps_for(len(total))))


def split(flat: NDArray[np.float64], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of `flat` as tensors of the names, shapes and kinds of `like`, in its order."""
    sizes = [value.numel() for value in like.values()]
    parts = torch.split(torch.from_numpy(flat), sizes)
    return {key: part.reshape(like[key].shape).to(like[key].dtype) for key, part in zip(like, parts, strict=True)}

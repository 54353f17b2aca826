"""The shared scale of features and omics: prior from phantoms, moved by what `standardise` released."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

BOUND = 3.0
"""Standardised values are clipped to this many standard deviations."""


def standard(values: Tensor, known: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return (value - mean) / deviation within ±`BOUND`, zero where unknown; all (…, column)."""
    return ((values - mean) / deviation).clamp(-BOUND, BOUND) * known


def scale_of(shared: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the columns' mean and standard deviation: released if `standardise` has run, else the phantoms'."""
    stage = "standardise" if "standardise.mean" in shared else "prior"
    return shared[f"{stage}.mean"], shared[f"{stage}.deviation"]

"""Sums over the patients of one batch (a scanner): all that ComBat ever reads of them.

A patient's term holds which features are known, m, and the moments m, m·c, m·ccᵀ, m·y, m·cy, m·y², feature by feature,
so that a feature known in some patients only is regressed on those alone. The term is computed from that patient alone:
nothing centred on a batch's mean enters it. Hence two cohorts that differ by one patient differ by that one term, and
no message has an axis of patients.

One release of these raw sums does what the two rounds of distributed ComBat do (Chen et al. 2022). There, sites first
send S = Σ(c - c̄)(c - c̄)ᵀ and T = Σ(c - c̄)(y - ȳ), receive the slopes β, then send n, n·a with a = ȳ - c̄ᵀβ, and
RSS = Σ(y - a - cᵀβ)². But S = Σccᵀ - n c̄c̄ᵀ and T = Σcy - n c̄ȳ follow from the raw sums, and so do a and
RSS = Σ(y - ȳ)² - 2βᵀT + βᵀSβ for *whatever* β: the second round asks nothing of the patients that the first has not
told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.errors import InputError

Array = NDArray[np.float64]

PARTS = ("known", "covariates", "products", "first", "cross", "second")
"""The parts of a term, in the order in which they travel."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a release's noise on each entry of a part; 0 for exact sums."""

    covariates: float = 0.0
    products: float = 0.0
    first: float = 0.0
    cross: float = 0.0
    second: float = 0.0


EXACT = Noise()


@dataclass(frozen=True, eq=False)
class BatchSums:
    """Sums over the patients of one batch; a site may hold several batches.

    Args:
        known: (feature,) Σm, patients with that feature known.
        covariates: (p, feature) Σmc.
        products: (p, p, feature) Σmccᵀ.
        first: (feature,) Σmy.
        cross: (p, feature) Σmcy.
        second: (feature,) Σmy².
        noise: of the release.
    """

    known: Array
    covariates: Array
    products: Array
    first: Array
    cross: Array
    second: Array
    noise: Noise = field(default=EXACT)


def zeros(features: int, covariates: int) -> dict[str, Array]:
    """Return a term of nothing: the shapes of the parts for so many `features` and `covariates`."""
    p, g = covariates, features
    shapes = ((g,), (p, g), (p, p, g), (g,), (p, g), (g,))
    return {part: np.zeros(shape) for part, shape in zip(PARTS, shapes, strict=True)}


def term(values: Array, known: Array, covariates: Array) -> dict[str, Array]:
    """Return one patient's exact term, unbounded: for releases without noise; with noise see `bounded.bounded_term`.

    Args:
        values: (feature,) measurements, anything (even NaN) where unknown. Best near 0: squares of large values lose
            digits.
        known: (feature,) 1 or 0.
        covariates: (p,) all known.

    Raises:
        InputError: if shapes do not fit or a known value is not finite.
    """
    _check(values, known, covariates)
    m = (known > 0).astype(np.float64)
    y = np.where(m > 0, values, 0.0)
    c = np.asarray(covariates, dtype=np.float64)
    parts = (m, np.outer(c, m), np.outer(c, c)[..., None] * m, y, np.outer(c, y), y * y)
    return dict(zip(PARTS, parts, strict=True))


def from_parts(parts: Mapping[str, Array], noise: Noise = EXACT) -> BatchSums:
    """Return the sums of a batch from the summed parts of its patients' terms."""
    return BatchSums(**{part: np.asarray(parts[part], dtype=np.float64) for part in PARTS}, noise=noise)


def sums(values: Array, covariates: Array, known: Array | None = None) -> BatchSums:
    """Return the exact sums of rows that lie on this machine: the same as adding their terms.

    Args:
        values: (patient, feature); NaN where unknown, unless `known` says so.
        covariates: (patient, p).
        known: (patient, feature) 1 or 0.
    """
    m = np.isfinite(values).astype(np.float64) if known is None else (known > 0).astype(np.float64)
    y = np.where(m > 0, values, 0.0)
    c = np.asarray(covariates, dtype=np.float64)
    return BatchSums(m.sum(0), c.T @ m, np.einsum("ip,iq,ig->pqg", c, c, m), y.sum(0), c.T @ y, (y * y).sum(0))


def merged(batches: Sequence[BatchSums]) -> BatchSums:
    """Return the sums over all patients of several releases of one batch."""
    parts = {part: np.sum([getattr(batch, part) for batch in batches], axis=0) for part in PARTS}
    names = ("covariates", "products", "first", "cross", "second")
    noise = {name: float(np.linalg.norm([getattr(batch.noise, name) for batch in batches])) for name in names}
    return from_parts(parts, Noise(**noise))


def _check(values: Array, known: Array, covariates: Array) -> None:
    if values.ndim != 1 or values.shape != known.shape or covariates.ndim != 1:
        found = f"shapes {values.shape}, {known.shape} and {covariates.shape}"
        raise InputError("a term takes values (feature,), known (feature,) and covariates (p,)", found, "pass one row")
    if not np.isfinite(values[known > 0]).all() or not np.isfinite(covariates).all():
        raise InputError(
            "known values and covariates must be finite", "one that is not", "mark it as unknown, or fill the covariate"
        )

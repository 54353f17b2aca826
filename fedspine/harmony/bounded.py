"""The bounded term: what one patient adds to the sums of a batch that are released with noise.

Neighbouring cohorts differ by one patient, so by that patient's one term. Each part of the term is brought to a public
scale, clipped to norm 1 by itself, and given a weight; the squares of the weights add up to 1. So the joint norm is at
most 1 for every patient whatever, by construction, and the clip of `privacy.patient_sum` has nothing left to do. The
noise on an entry of a part is the release's, times the part's radius over its weight: known beforehand, without any
patient.

A scanner with a large effect brings all its patients beyond the radius. How much of each was cut is one more number of
the term; from its released mean the cut is undone, in all moments by one factor. So the radius, and with it the noise,
can be that of an ordinary scanner.

A patient counts in one batch. A site with several batches releases their sums side by side; the patient's term is zero
in all but one of them, and the bound stays.

The number of patients of a batch is public, fixed at enrolment, so complete data need no count. Where values are
missing, the number of those that lack a feature is released at low weight and drawn towards nobody, and those who have
it are taken to have the batch's mean covariates: an approximation that exact terms do without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from fedspine.errors import InputError
from fedspine.harmony.combat import Pooled
from fedspine.harmony.moments import Array, BatchSums, Noise
from fedspine.harmony.shrinkage import drawn

LIMIT = 5.0
"""Standardised values are clipped to this many public spreads before anything else."""
TYPICAL = 2.25
"""Root mean square of a patient's standardised features, scanner's effect and all, beyond which they are cut."""
SQUARE = 6.0
"""The same of its square, less 1."""
KEPT = 0.25
"""Clipping is undone down to this factor."""
CUT = 0.25
"""Public guess of how much of a batch's features clipping cuts off."""
LACKING = 0.3
"""Public guess of the share of patients that lack a feature."""
LACKED = 0.5
"""Share of the features that a patient may lack before the rest goes uncounted."""


@dataclass(frozen=True)
class Weights:
    """How a patient's norm is shared among the parts, in proportion: locations matter most.

    Args:
        first, second, cross: of features, their squares, their products with covariates.
        covariates, products: of covariates, and their products with one another.
        cut: of how much clipping took.
        lacking: of which features are unknown; 0 where every value is known.
    """

    first: float = 1.0
    second: float = 0.25
    cross: float = 0.3
    covariates: float = 0.2
    products: float = 0.1
    cut: float = 0.25
    lacking: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a weight of 0 for what the sums cannot do without."""
        least = min(getattr(self, part.name) for part in fields(self) if part.name != "lacking")
        if not (least > 0 and self.lacking >= 0):
            remedy = "leave covariates out altogether, or give every part some weight"
            raise InputError("weights of a term's parts must be positive (lacking: 0 or more)", f"{least:g}", remedy)


@dataclass(frozen=True, eq=False)
class Bounds:
    """The public scale of features and covariates.

    Args:
        centre, spread: (feature,).
        covariate_centre, covariate_spread: (p,).
        weights: of the parts; `lacking` stays 0 where every value is known.
    """

    centre: Array
    spread: Array
    covariate_centre: Array
    covariate_spread: Array
    weights: Weights = Weights()

    def shares(self) -> dict[str, float]:
        """Return each part's weight, their squares adding up to 1; parts without entries take nothing."""
        size = len(self.covariate_centre)
        weights = {part: getattr(self.weights, part) for part in ("first", "second", "cut", "lacking")}
        if size:
            weights |= {part: getattr(self.weights, part) for part in ("cross", "covariates", "products")}
        whole = math.sqrt(sum(weight**2 for weight in weights.values()))
        return {part: weight / whole for part, weight in weights.items() if weight > 0}

    def radii(self) -> dict[str, float]:
        """Return the norm of a typical patient's parts, beyond which they are clipped."""
        p, g = len(self.covariate_centre), len(self.centre)
        return {
            "first": TYPICAL * math.sqrt(g),
            "second": SQUARE * math.sqrt(g),
            "cross": TYPICAL * math.sqrt(p * g),
            "covariates": TYPICAL * math.sqrt(p),
            "products": TYPICAL * math.sqrt(p * (p + 1) / 2),
            "cut": 1.0 - KEPT,
            "lacking": math.sqrt(LACKED * g),
        }

    def noise_sd(self, noise_multiplier: float) -> dict[str, float]:
        """Return the noise's standard deviation on each entry of a part's sum, on the public scale."""
        radii = self.radii()
        return {part: noise_multiplier * radii[part] / share for part, share in self.shares().items()}

    def standard(self, values: Array) -> Array:
        """Return features (…, feature) on the public scale."""
        return np.asarray((values - self.centre) / self.spread)

    def standard_covariates(self, covariates: Array) -> Array:
        """Return covariates (…, p) on the public scale."""
        return np.asarray((covariates - self.covariate_centre) / self.covariate_spread)


def bounded_term(values: Array, known: Array, covariates: Array, bounds: Bounds) -> dict[str, Array]:
    """Return one patient's term, of joint norm at most 1: from that patient and public bounds alone.

    Args:
        values: (feature,) in the features' own units, anything where unknown.
        known: (feature,) 1 or 0.
        covariates: (p,) in their own units.
        bounds: public.

    Returns:
        of the parts that bear weight: `first` (feature,), `second` (feature,), `cut` (1,), `lacking` (feature,),
        `cross` (p, feature), `covariates` (p,), `products` (p·(p + 1)/2,), in this order.
    """
    m = (known > 0).astype(np.float64)
    z = np.where(m > 0, bounds.standard(np.where(m > 0, values, bounds.centre)), 0.0).clip(-LIMIT, LIMIT)
    c = bounds.standard_covariates(covariates).clip(-LIMIT, LIMIT)
    radii = bounds.radii()
    kept = min(1.0, radii["first"] / max(float(np.linalg.norm(z)), 1e-12))
    z = kept * z  # before it is squared and crossed, so that one factor undoes it in all of them
    above = np.triu_indices(len(c))
    parts = {
        "first": z,
        "second": (z * z - 1.0) * m,
        "cross": np.outer(c, z),
        "covariates": c,
        "products": (np.outer(c, c) - np.eye(len(c)))[above],
        "cut": np.array([1.0 - max(kept, KEPT)]),
        "lacking": 1.0 - m,
    }
    return {part: share * _clipped(parts[part] / radii[part]) for part, share in bounds.shares().items()}


def batch_sums(released: Mapping[str, Array], patients: int, bounds: Bounds, noise_multiplier: float) -> BatchSums:
    """Return the sums of a batch on the public scale, from its released bounded terms.

    Args:
        released: sums of terms, plus noise of `noise_multiplier` on each entry.
        patients: of the batch; public.
        bounds: the terms'.
        noise_multiplier: of the release, whose clip is 1.
    """
    shares, radii, noise = bounds.shares(), bounds.radii(), bounds.noise_sd(noise_multiplier)
    raw = {part: np.asarray(released[part], dtype=np.float64) * radii[part] / shares[part] for part in shares}
    n, p, g = max(patients, 1), len(bounds.covariate_centre), len(bounds.centre)
    known = np.full(g, float(patients))
    if "lacking" in raw:
        lacking = drawn(raw["lacking"], 0.0, noise["lacking"] ** 2, (LACKING * n) ** 2)
        known = known - lacking.clip(0.0, patients)
    share = known / n
    upper = np.zeros((p, p))
    if p:
        upper[np.triu_indices(p)] = raw["products"]
    products = upper + np.triu(upper, 1).T + patients * np.eye(p)
    kept = 1.0 - float(np.clip(drawn(raw["cut"] / n, 0.0, (noise["cut"] / n) ** 2, CUT**2)[0], 0.0, 1.0 - KEPT))
    return BatchSums(
        known,
        raw.get("covariates", np.zeros(0))[:, None] * share,
        products[..., None] * share,
        raw["first"] / kept,
        raw.get("cross", np.zeros((0, g))) / kept,
        (raw["second"] + known) / kept**2,
        Noise(
            covariates=noise.get("covariates", 0.0),
            products=noise.get("products", 0.0),
            first=noise["first"] / kept,
            cross=noise.get("cross", 0.0) / kept,
            second=noise["second"] / kept**2,
        ),
    )


def in_units(pooled: Pooled, bounds: Bounds) -> Pooled:
    """Return `pooled`, which was found on the public scale, in the units of features and covariates.

    γ and δ have no unit and stay as they are.
    """
    beta = pooled.beta * bounds.spread / bounds.covariate_spread[:, None]
    alpha = bounds.centre + bounds.spread * pooled.alpha - bounds.covariate_centre @ beta
    return Pooled(beta, alpha, pooled.sigma * bounds.spread)


def on_public_scale(pooled: Pooled, bounds: Bounds) -> Pooled:
    """Return `pooled`, which is in the units of features and covariates, on the public scale: undoes `in_units`."""
    beta = pooled.beta * bounds.covariate_spread[:, None] / bounds.spread
    alpha = (pooled.alpha + bounds.covariate_centre @ pooled.beta - bounds.centre) / bounds.spread
    return Pooled(beta, alpha, pooled.sigma / bounds.spread)


def _clipped(part: Array) -> Array:
    return part / max(1.0, float(np.linalg.norm(part)))

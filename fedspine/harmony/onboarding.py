"""A scanner that joins late, or was never seen: its effect from few patients, or from how it acquires.

The consortium's α, β and σ stay frozen; a new scanner's own sums give its effect (`combat.batch_effect`), so nobody's
harmonised features change when a scanner joins.

What a scanner does to a feature depends on how it acquires. Over the scanners i already known, with acquisition values
x (field strength, logarithms of times, kind of coil) on one scale,

    γ̂_ig = x_iᵀ b_g + u_ig + e_ig,  b_g ~ N(0, λI),  u_ig ~ N(0, ω²),  e_ig ~ N(0, v_ig),

where v is known (patients and noise). λ, the pull of acquisition, and ω², what it does not explain, are taken across
features by marginal likelihood (empirical Bayes; ridge regression is its posterior mean). For an unseen scanner this
predicts γ with its variance, from acquisition values alone; the prediction is the prior of `batch_effect` once the
first patients come. Only effects, which follow from released sums, and settings of scanners enter: no patient is
touched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fedspine.errors import InputError
from fedspine.harmony.combat import BatchEffect, Pooled, batch_effect
from fedspine.harmony.moments import Array, BatchSums
from fedspine.harmony.shrinkage import Prior

GRID = tuple(float(value) for value in np.geomspace(0.01, 4.0, 14) ** 2)
"""Variances tried for ω², in units of σ²; for λ also 0, no pull at all."""
SHARED = 0.5
"""Public guess of how far the scanners' mean γ lies from 0, in units of σ: they are not equally large."""
UNSEEN = 1e6
"""Variance of a location that no patient of a scanner tells: it weighs nothing."""
LEAST_SCANNERS = 3


@dataclass(frozen=True, eq=False)
class AcquisitionModel:
    """What acquisition does to every feature.

    Args:
        centre, spread: (a,) of acquisition values over the scanners it was fitted to.
        acquisitions: (scanner, a) of those scanners on that scale, 0 where unknown.
        location: (scanner, feature) γ̂, 0 where unknown.
        variance: (scanner, feature) of its error, `UNSEEN` where unknown.
        pull: λ.
        rest: ω².
    """

    centre: Array
    spread: Array
    acquisitions: Array = field(repr=False)
    location: Array = field(repr=False)
    variance: Array = field(repr=False)
    pull: float
    rest: float


def fit_acquisition(batches: Sequence[BatchSums], acquisitions: Array, pooled: Pooled) -> AcquisitionModel:
    """Return the model of the scanners whose sums were released.

    Args:
        batches: one a scanner.
        acquisitions: (scanner, a) settings; NaN where unknown, taken as the others' mean.
        pooled: what all scanners share.

    Raises:
        InputError: with fewer than three scanners, or settings of another number.
    """
    if len(batches) < LEAST_SCANNERS or len(batches) != len(acquisitions):
        raise InputError(
            f"acquisition is learnt from {LEAST_SCANNERS} scanners or more, each with its settings",
            f"{len(batches)} scanners and {len(acquisitions)} rows of settings",
            "harmonise these scanners without it",
        )
    effects = [batch_effect(batch, pooled, empirical_bayes=False) for batch in batches]
    seen = np.stack([batch.known >= 1 for batch in batches])
    location = np.where(seen, np.stack([effect.gamma for effect in effects]), 0.0)
    variance = np.where(seen, np.stack([effect.gamma_variance for effect in effects]), UNSEEN)
    centre, spread = _scale(acquisitions)
    rows = _rows(acquisitions, centre, spread)
    tried = [(pull, rest) for pull in (0.0, *GRID) for rest in GRID]
    likely = [_log_likelihood(rows, location, variance, pull, rest) for pull, rest in tried]
    pull, rest = tried[int(np.argmax(likely))]
    return AcquisitionModel(centre, spread, rows, location, variance, pull, rest)


def predict_effect(model: AcquisitionModel, acquisition: Array) -> Prior:
    """Return what to expect of a scanner that was never seen.

    Args:
        model: of the scanners seen.
        acquisition: (a,) its settings; NaN where unknown.
    """
    row = _rows(acquisition[None], model.centre, model.spread)
    between, own = _kernel(model.acquisitions, row, model.pull)[:, 0], float(_kernel(row, row, model.pull)[0, 0])
    joint = _joint(model.acquisitions, model.variance, model.pull, model.rest)
    weights = np.linalg.solve(joint, np.broadcast_to(between[:, None], (len(joint), len(between), 1)))[..., 0]
    mean, told = (weights * model.location.T).sum(1), weights @ between
    return Prior(mean, model.rest + np.maximum(own - told, 0.0), np.zeros_like(mean))


def joined(
    batch: BatchSums, pooled: Pooled, model: AcquisitionModel | None = None, acquisition: Array | None = None
) -> BatchEffect:
    """Return the effect of a scanner that joins with frozen `pooled`, from its own sums.

    Args:
        batch: its released sums; may hold no patient yet.
        pooled: of the consortium, without this scanner.
        model, acquisition: if both are given, what its settings let expect is the prior; else ComBat's own.
    """
    prior = None if model is None or acquisition is None else predict_effect(model, acquisition)
    return batch_effect(batch, pooled, prior=prior)


def _scale(acquisitions: Array) -> tuple[Array, Array]:
    """Return the mean and spread (a,) of known settings; 1 where all scanners share one."""
    known = np.isfinite(acquisitions)
    count = np.maximum(known.sum(0), 1)
    centre = np.where(known, acquisitions, 0.0).sum(0) / count
    spread = np.sqrt(np.where(known, (acquisitions - centre) ** 2, 0.0).sum(0) / count)
    return centre, np.where(spread > 0, spread, 1.0)


def _rows(acquisitions: Array, centre: Array, spread: Array) -> Array:
    return np.nan_to_num((acquisitions - centre) / spread, nan=0.0)


def _kernel(one: Array, other: Array, pull: float) -> Array:
    """Return the covariance (scanner, scanner) of what acquisition does, and of a shift that all scanners share."""
    return np.asarray(pull * one @ other.T + SHARED**2)


def _joint(rows: Array, variance: Array, pull: float, rest: float) -> Array:
    """Return the covariance (feature, scanner, scanner) of the locations as they were found."""
    return np.asarray(_kernel(rows, rows, pull) + np.eye(len(rows)) * (rest + variance.T)[:, None, :])


def _log_likelihood(rows: Array, location: Array, variance: Array, pull: float, rest: float) -> float:
    lower = np.linalg.cholesky(_joint(rows, variance, pull, rest))
    white = np.linalg.solve(lower, location.T[..., None])
    return -0.5 * float((white**2).sum()) - float(np.log(np.diagonal(lower, axis1=1, axis2=2)).sum())

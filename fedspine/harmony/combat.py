"""ComBat from sums over patients (Johnson et al. 2007; Fortin et al. 2018), a batch being a scanner.

With the sums of every batch i (`moments`): S_i, T_i the within-batch products of covariates c with c and features y,

    β = (ΣS_i)⁻¹ ΣT_i  (pooled least squares with a constant per batch, by the Frisch-Waugh-Lovell theorem),
    a_i = ȳ_i - c̄_iᵀβ,  RSS_i = Σ(y - a_i - cᵀβ)²,  α = Σ n_i a_i / N,  σ² = ΣRSS_i / N,

and a batch's own location γ and scale δ follow from its own *released* sums, never from its patients again: were they
exact, every later gradient of one patient would depend on the others through them, and clipping would prove nothing.
Empirical Bayes draws γ and δ towards priors taken across the features of that batch.

Where sums carry noise, each quantity is drawn towards a public prior by as much as its noise weighs; those priors
suppose features and covariates on a public scale (about 0, spread about 1), as `bounded` makes them. Exact sums meet no
public prior, and give the reference implementation's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedspine.harmony.moments import Array, BatchSums, Noise
from fedspine.harmony.shrinkage import FLOOR, LOCATION_SPREAD, Prior, drawn, posterior, scales

VARIES = 1e-12
"""A feature whose variance is below this share of its mean square does not vary within any batch."""
SLOPE = 0.3
"""Public guess of a slope's size: public spreads of the feature per public spread of the covariate."""
MEAN = 0.5
"""Public guess of how far a batch's mean covariates lie from the public centre, in public spreads."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """What all batches share: β (p, feature), α (feature,), σ (feature,)."""

    beta: Array
    alpha: Array
    sigma: Array


@dataclass(frozen=True, eq=False)
class BatchEffect:
    """A batch's effect per feature: y = α + cᵀβ + σ(γ + √δ ε).

    Args:
        gamma: (feature,) location, in units of the pooled σ.
        delta: (feature,) scale, in units of the pooled σ².
        gamma_variance: (feature,) posterior variance of γ, in units of σ²; the consortium's own α, β, σ taken as given.
    """

    gamma: Array
    delta: Array
    gamma_variance: Array


@dataclass(frozen=True, eq=False)
class Within:
    """Sums about a batch's own means, and what its noise does to them.

    Args:
        count: (feature,) at least 1.
        mean: (feature,) ȳ.
        covariates: (p, feature) c̄.
        products: (p, p, feature) S.
        cross: (p, feature) T.
        squares: (feature,) Σ(y - ȳ)².
        cross_variance: (feature,) of the noise on an entry of T.
        squares_variance: (feature,) of the noise on `squares`.
    """

    count: Array
    mean: Array
    covariates: Array
    products: Array
    cross: Array
    squares: Array
    cross_variance: Array
    squares_variance: Array


def within(batch: BatchSums) -> Within:
    """Return the sums of `batch` about its own means; squares of noise are taken off again on average."""
    count, noise = np.maximum(batch.known, 1.0), batch.noise
    mean, c_mean = batch.first / count, batch.covariates / count
    own = np.eye(len(c_mean))[..., None] * noise.covariates**2 / count
    products = batch.products - batch.covariates[:, None] * c_mean[None] + own
    squares = batch.second - batch.first * mean + noise.first**2 / count
    variance = noise.cross**2 + mean**2 * noise.covariates**2
    if len(c_mean):
        variance = variance + (c_mean**2).mean(0) * noise.first**2
    if noise.covariates:
        c_mean = c_mean / (1 + (noise.covariates / (count * MEAN)) ** 2)
    return Within(
        count,
        mean,
        c_mean,
        products,
        batch.cross - batch.covariates * mean,
        squares,
        variance,
        noise.second**2 + 4 * mean**2 * noise.first**2,
    )


def pool(batches: Sequence[BatchSums], *, prior_variance: float = 1.0) -> Pooled:
    """Return β, α and σ from the sums of all batches; a feature that nobody knows has β = 0, α = 0, σ = 1.

    Args:
        batches: released sums of each.
        prior_variance: public guess of a feature's variance within a batch; noisy sums alone are drawn towards it.
    """
    centred = [within(batch) for batch in batches]
    total = np.maximum(np.sum([batch.known for batch in batches], axis=0), 1.0)
    beta = _slopes(batches, centred, total)
    alpha = _origin(batches, np.stack([_intercept(w, beta) for w in centred]))
    residual = np.sum([_residual(w, beta) for w in centred], axis=0) / total
    noise = np.sum([w.squares_variance for w in centred], axis=0) / total**2
    variance = drawn(residual, prior_variance, noise, prior_variance**2)
    variance = np.where(noise > 0, np.maximum(variance, 0.1 * prior_variance), variance)
    square = np.abs(np.sum([batch.second for batch in batches], axis=0)) / total
    return Pooled(beta, alpha, np.sqrt(np.where(variance > VARIES * square, variance, 1.0)))


def batch_effect(
    batch: BatchSums,
    pooled: Pooled,
    *,
    empirical_bayes: bool = True,
    mean_only: bool = False,
    prior: Prior | None = None,
) -> BatchEffect:
    """Return a batch's γ and δ from its own sums.

    A feature known in one patient keeps the scale 1, as ComBat's rule is for a batch of one; a feature known in nobody
    gets the prior: without a single patient, no effect.

    Args:
        batch: its released sums.
        pooled: what all batches share; may be frozen, older than the batch.
        empirical_bayes: draw γ and δ towards their priors; else least squares.
        mean_only: leave the scale alone (δ = 1).
        prior: of γ, from elsewhere (`onboarding`); else taken across the batch's features.
    """
    centred = within(batch)
    location = (_intercept(centred, pooled.beta) - pooled.alpha) / pooled.sigma
    squares = np.maximum(_residual(centred, pooled.beta) / pooled.sigma**2, 0.0)
    noise = _location_noise(batch.noise, centred, pooled)
    some, several = batch.known >= 1, (batch.known >= 2) & (not mean_only)
    prior = prior if prior is not None else Prior.across(location, noise, some)
    scale = scales(squares, centred.count, centred.squares_variance / pooled.sigma**4, several)
    count = np.ones_like(centred.count) if mean_only and empirical_bayes else centred.count
    if empirical_bayes:
        gamma, delta = posterior(location, count, noise, scale, prior, several)
        own = prior.variance / (prior.variance + delta / count + noise)
        variance = (1 - own) ** 2 * (prior.variance + prior.mean_variance) + own**2 * (delta / centred.count + noise)
    else:
        gamma, delta = location, scale.estimate
        variance = delta / centred.count + noise
    none = ~some
    gamma = np.where(none, prior.mean, gamma)
    variance = np.where(none, prior.variance + prior.mean_variance, variance)
    return BatchEffect(gamma, np.where(none, scale.mean, delta), variance)


def adjust(
    values: Array, covariates: Array, pooled: Pooled, effect: BatchEffect, reference: BatchEffect | None = None
) -> Array:
    """Return harmonised features; each row depends on that patient and released values alone.

    Args:
        values: (patient, feature) or (feature,); NaN stays NaN.
        covariates: (patient, p) or (p,).
        pooled: what all batches share.
        effect: of the batch that measured `values`.
        reference: of the batch whose scanner is to be imitated; else the consortium's average scanner.
    """
    expected = pooled.alpha + covariates @ pooled.beta
    standard = ((values - expected) / pooled.sigma - effect.gamma) / np.sqrt(effect.delta)
    if reference is not None:
        standard = standard * np.sqrt(reference.delta) + reference.gamma
    return np.asarray(standard * pooled.sigma + expected)


def _slopes(batches: Sequence[BatchSums], centred: Sequence[Within], total: Array) -> Array:
    """Return β (p, feature): least squares; with noise, ridge by as much as it weighs."""
    products = np.moveaxis(np.sum([w.products for w in centred], axis=0), -1, 0)  # (feature, p, p)
    cross = np.sum([w.cross for w in centred], axis=0).T[..., None]  # (feature, p, 1)
    size = products.shape[-1]
    if size == 0 or not len(products):
        return np.zeros((size, len(products)))
    noise = np.sum([w.cross_variance for w in centred], axis=0)
    if noise.any() or any(batch.noise.products for batch in batches):
        entry = sum(batch.noise.products**2 for batch in batches)
        usual = np.eye(size) * total[:, None, None]
        products = drawn(products, usual, np.full(products.shape, entry), usual.max(axis=(1, 2), keepdims=True) ** 2)
        ridge = (noise / SLOPE**2)[:, None, None] * np.eye(size)
        return np.asarray(np.linalg.solve(products @ products + ridge, products @ cross)[..., 0].T)
    # on the scale of correlations, so that a covariate constant in every batch is told from one of small units
    scale = np.sqrt(np.maximum(np.diagonal(products, axis1=1, axis2=2), np.finfo(float).tiny))
    inverse = np.linalg.pinv(products / scale[:, :, None] / scale[:, None, :], rcond=1e-10, hermitian=True)
    return np.asarray((inverse @ (cross / scale[..., None]))[..., 0].T / scale.T)


def _origin(batches: Sequence[BatchSums], intercepts: Array) -> Array:
    """Return α (feature,) from intercepts (batch, feature): their mean over patients.

    Noisy ones are drawn beforehand towards what quieter batches, and other features, let expect.
    """
    known = np.stack([batch.known for batch in batches])
    share = known / np.maximum(known.sum(0), 1.0)
    noise = np.stack([(batch.noise.first / np.maximum(batch.known, 1.0)) ** 2 for batch in batches])
    if not noise.any():
        return np.asarray((share * intercepts).sum(0))
    weight = np.where(known > 0, 1 / (LOCATION_SPREAD**2 + noise), 0.0)
    weight = weight / np.maximum(weight.sum(0), FLOOR)
    origin, origin_noise = (weight * intercepts).sum(0), (weight**2 * noise).sum(0)
    usual = Prior.across(origin, origin_noise, known.sum(0) > 0)
    origin = drawn(origin, usual.mean, origin_noise, usual.variance)
    for row, own, seen in zip(intercepts, noise, known > 0, strict=True):
        effect = Prior.across(row - origin, own, seen)
        row[:] = origin + drawn(row - origin, effect.mean, own, effect.variance)
    return np.asarray((share * intercepts).sum(0))


def _intercept(centred: Within, beta: Array) -> Array:
    return np.asarray(centred.mean - (centred.covariates * beta).sum(0))


def _residual(centred: Within, beta: Array) -> Array:
    explained = 2 * (beta * centred.cross).sum(0) - np.einsum("pg,pqg,qg->g", beta, centred.products, beta)
    return np.asarray(centred.squares - explained)


def _location_noise(noise: Noise, centred: Within, pooled: Pooled) -> Array:
    """Return the variance (feature,) that the release's noise adds to a batch's location, in units of σ²."""
    own = (noise.first / centred.count) ** 2
    mean = (noise.covariates / centred.count) ** 2
    left = mean / (1 + mean / MEAN**2)
    return np.asarray((own + left * (pooled.beta**2).sum(0)) / pooled.sigma**2)

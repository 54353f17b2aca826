"""ComBat from sums over patients (Johnson 2007; Fortin 2018), the batches being sites.

Each patient's term is the outer product of (1, covariates) with (1, covariates, features), and the squared features.
Their sums over a site's patients hold all that ComBat needs, so one release a site is enough and no message has an axis
of patients:

    S_i = Σ c cᵀ - n c̄ c̄ᵀ,  T_i = Σ c yᵀ - n c̄ ȳᵀ,  β = (ΣS_i)⁻¹ ΣT_i  (pooled least squares with a constant per site),
    a_i = ȳ_i - c̄_iᵀβ,  RSS_i = Σ(y - a_i - cᵀβ)²,  α = Σ n_i a_i / N,  σ² = ΣRSS_i / N.

A site's location γ and scale δ come from its own *released* sums too, never from its patients again: were they exact,
every later gradient of one patient would depend on the others through them, and clipping would prove nothing.
Empirical-Bayes shrinkage runs over features within a site; the release's known noise widens the likelihood, so a noisy
site is moved less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLOOR = 1e-8
"""Variances below this are noise's doing."""


@dataclass(frozen=True, eq=False)
class SiteSums:
    """Released sums over one site's patients.

    Args:
        count: (feature,) patients with that feature known.
        covariates: (p,) Σc.
        products: (p, p) Σccᵀ.
        features: (feature,) Σy.
        cross: (p, feature) Σcyᵀ.
        squares: (feature,) Σy².
        noise: standard deviation of the release's noise on each entry of `features`; 0 for exact sums.
        square_noise: the same on each entry of `squares`.
    """

    count: Array
    covariates: Array
    products: Array
    features: Array
    cross: Array
    squares: Array
    noise: float = 0.0
    square_noise: float = 0.0


@dataclass(frozen=True, eq=False)
class Pooled:
    """What all sites share: β (p, feature), α (feature,), σ (feature,)."""

    beta: Array
    alpha: Array
    sigma: Array


@dataclass(frozen=True, eq=False)
class SiteEffect:
    """A site's location γ and scale δ per feature, in units of the pooled σ (and σ²)."""

    gamma: Array
    delta: Array


def sums(features: Array, covariates: Array) -> SiteSums:
    """Return the sums of complete rows: features (patient, feature), covariates (patient, p)."""
    count = np.full(features.shape[1], float(len(features)))
    return SiteSums(
        count,
        covariates.sum(0),
        covariates.T @ covariates,
        features.sum(0),
        covariates.T @ features,
        (features**2).sum(0),
    )


def pool(sites: list[SiteSums], prior_variance: float = 1.0) -> Pooled:
    """Return β, α and σ from the sums of all sites.

    Noisy squares may leave a variance that is negative or absurd, so it is drawn towards a public prior by as much as
    the noise weighs (not at all for exact sums).

    Args:
        sites: released sums.
        prior_variance: public guess of a feature's variance within a site.
    """
    within = [_within(site) for site in sites]
    p = len(sites[0].covariates)
    beta: Array = np.zeros((p, len(sites[0].features)))
    if p:
        beta = np.asarray(np.linalg.lstsq(sum(w[0] for w in within), sum(w[1] for w in within), rcond=None)[0])
    total = np.maximum(sum(site.count for site in sites), 1.0)
    intercepts = [_intercept(site, beta) for site in sites]
    alpha = sum(site.count * a for site, a in zip(sites, intercepts, strict=True)) / total
    residual = sum(_residual(w, beta) for w in within) / total
    weight = sum(site.square_noise**2 for site in sites) / (total * prior_variance) ** 2
    variance = prior_variance + (residual - prior_variance) / (1 + weight)
    floor = FLOOR if not np.any(weight) else 0.1 * prior_variance
    return Pooled(beta, np.asarray(alpha), np.sqrt(np.maximum(variance, floor)))


def site_effect(site: SiteSums, pooled: Pooled, *, iterations: int = 200) -> SiteEffect:
    """Return a site's γ* and δ* (posterior under ComBat's priors, which are taken across its features).

    Args:
        site: its released sums.
        pooled: what all sites share.
        iterations: at most; stops at a relative change of 1e-4.
    """
    count = np.maximum(site.count, 1.0)
    location = (_intercept(site, pooled.beta) - pooled.alpha) / pooled.sigma
    squares = np.maximum(_residual(_within(site), pooled.beta) / pooled.sigma**2, FLOOR)  # about the site's own mean
    spread = np.maximum(squares / np.maximum(count - 1.0, 1.0), FLOOR)
    if site.square_noise:  # drawn towards no effect by as much as the noise weighs, as in `pool`
        weight = (site.square_noise / (count * pooled.sigma**2)) ** 2
        spread = np.clip(1.0 + (spread - 1.0) / (1 + weight), 0.25, 4.0)
        squares = spread * np.maximum(count - 1.0, 1.0)
    extra = (site.noise / (count * pooled.sigma)) ** 2
    prior_mean = location.mean()
    prior_variance = max(location.var(ddof=1) - float(extra.mean()), FLOOR) if len(location) > 1 else 1.0
    m, s2 = spread.mean(), max(spread.var(ddof=1), FLOOR) if len(spread) > 1 else 1.0
    shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    gamma, delta = location, spread
    for _ in range(iterations):
        likelihood = delta / count + extra
        new_gamma = (prior_variance * location + likelihood * prior_mean) / (prior_variance + likelihood)
        about = squares + count * (location - new_gamma) ** 2
        new_delta = (0.5 * about + rate) / (count / 2 + shape - 1)
        change = max(
            float(np.max(np.abs(new_gamma - gamma) / np.maximum(np.abs(gamma), FLOOR))),
            float(np.max(np.abs(new_delta - delta) / delta)),
        )
        gamma, delta = new_gamma, new_delta
        if change <= 1e-4:
            break
    return SiteEffect(gamma, delta)


def adjust(features: Array, covariates: Array, pooled: Pooled, effect: SiteEffect) -> Array:
    """Return harmonised features (patient, feature); each row depends on that patient and released values alone."""
    expected = pooled.alpha + covariates @ pooled.beta
    standard = (features - expected) / pooled.sigma
    return np.asarray((standard - effect.gamma) / np.sqrt(effect.delta) * pooled.sigma + expected)


def _within(site: SiteSums) -> tuple[Array, Array, Array]:
    count = np.maximum(site.count, 1.0)
    mean = site.features / count
    n = float(count.max())
    c_mean = site.covariates / n
    products = site.products - n * np.outer(c_mean, c_mean)
    cross = site.cross - n * np.outer(c_mean, mean)
    return products, cross, site.squares - count * mean**2


def _intercept(site: SiteSums, beta: Array) -> Array:
    count = np.maximum(site.count, 1.0)
    return np.asarray(site.features / count - (site.covariates / float(count.max())) @ beta)


def _residual(within: tuple[Array, Array, Array], beta: Array) -> Array:
    products, cross, squares = within
    return np.asarray(squares - 2 * (beta * cross).sum(0) + (beta * (products @ beta)).sum(0))

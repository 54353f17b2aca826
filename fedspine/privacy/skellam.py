"""What a secure sum of integers with Skellam noise costs: Rényi divergences (Agarwal, Kairouz, Liu, NeurIPS 2021).

    release = Σ_{patient in sample} [s·clip(f(patient), C)/C] + Skellam(μ),   μ = (σ·s)² the variance of the total noise

where s is `scale`, integer steps that the bound C has, d entries, and [·] the rounding of `privacy.integer_sum`.

**Sensitivity.** Each patient's term is rounded alone, to a vector whose L2 norm is at most Δ₂ = √(s² + d/4), always:
where rounding to the nearest would be longer, it is rounded towards zero, which never lengthens. So with and without a
patient the integer sums differ by such a vector. It is made of integers, each no larger than its square, so its L1
norm is at most Δ₁ = min(√d·Δ₂, Δ₂²).

**Divergence.** For whole orders α ≥ 2 (Corollary 3.6 there)

    D_α ≤ α·Δ₂²/(2μ) + min( ((2α − 1)·Δ₂² + 6·Δ₁)/(4μ²), 3·Δ₁/(2μ) ):

the Gaussian's, and a surcharge that falls with s². The sum of Skellams is a Skellam whose variance is the sum, so it
does not matter how many sites made the noise.

**Sampling.** Let P and Q be the release with and without the patient's term Δ, and M = (1 − q)·Q + q·P what sampling
makes of P. By the binomial theorem, exactly,

    exp((α − 1)·D_α(M‖Q)) = (1 − q)^(α−1)·(1 + (α − 1)·q) + Σ_{k=2..α} C(α,k)·(1 − q)^(α−k)·q^k·exp((k − 1)·D_k(P‖Q)).

Removing is no worse than adding: D_α(Q‖M) ≤ D_α(M‖Q). Skellam noise is symmetric, so z → Δ − z exchanges P and Q. Pair
each z with its image; let r = P/Q ≥ 1 at z (else take the image), a = 1 − q + q·r and b = 1 − q + q/r. The pair adds
a^α + r·b^α to the right side and a^(1−α) + r·b^(1−α) to the left (in units of Q at z). With φ(x) = x^α − x^(1−α) it has
to be shown that φ(a) + r·φ(b) ≥ 0, which, as r·(1 − b) = a − 1 and φ(1) = 0, says that φ's chord from 1 to a is at
least as steep as the one from b to 1. φ is concave below 1, so chords from x to 1 are the steeper the smaller x; and
b ≥ 1/a, since ab = 1 + q(1 − q)(r + 1/r − 2) ≥ 1. So the chord from b is at most as steep as the one from 1/a, whose
steepness is exactly φ(a)/(a − 1). ∎ (Mironov, Talwar, Zhang 2019 show this for densities.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp


def sensitivities(scale: float, dimension: int) -> tuple[float, float]:
    """Return Δ₁ and Δ₂, in integer steps: how far one patient moves a rounded sum.

    >>> sensitivities(4.0, 36)
    (25.0, 5.0)
    """
    most = float(np.sqrt(scale**2 + dimension / 4))
    return min(float(np.sqrt(dimension)) * most, most**2), most


def renyi_divergence(
    orders: NDArray[np.int64], noise_multiplier: float, scale: float, dimension: int
) -> NDArray[np.float64]:
    """Return the bound on the divergence at each of the whole `orders` (n,) of one sum over everybody."""
    first, second = sensitivities(scale, dimension)
    variance = (noise_multiplier * scale) ** 2
    surcharge = np.minimum(((2 * orders - 1) * second**2 + 6 * first) / (4 * variance**2), 3 * first / (2 * variance))
    return np.asarray(orders * second**2 / (2 * variance) + surcharge)


def sampled(divergence: NDArray[np.float64], rate: float, orders: Sequence[int]) -> NDArray[np.float64]:
    """Return the divergences at `orders` of a sum over a Poisson sample.

    Args:
        divergence: of the sum over everybody at the orders 2, 3, …, at least up to the largest of `orders`.
        rate: q, the probability of a patient.
        orders: whole numbers from 2.
    """
    if rate == 1:
        return np.asarray(divergence[np.array(orders) - 2])
    return np.array([_sampled_at(divergence, rate, order) for order in orders])


def _sampled_at(divergence: NDArray[np.float64], rate: float, order: int) -> float:
    k = np.arange(2, order + 1)
    ways = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = ways + (order - k) * np.log1p(-rate) + k * np.log(rate) + (k - 1) * divergence[: order - 1]
    first = (order - 1) * np.log1p(-rate) + np.log1p((order - 1) * rate)
    return float(logsumexp(np.append(terms, first))) / (order - 1)

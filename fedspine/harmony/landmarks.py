"""Intensity landmarks: quantiles of a scanner's images from summed histograms (Nyul, Udupa and Zhang 2000).

Each patient gives a histogram of the body's intensities per contrast. The scanner's landmarks are quantiles of the sum;
the piecewise-linear map from one scanner's landmarks to another's carries intensities over. The map depends on the
patient it is applied to and on released values alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fedspine.errors import InputError
from fedspine.harmony.features import BODY

BINS, HIGHEST = 64, 1.5
"""Bins of equal width over [0, `HIGHEST`], the range of `PatientTensors.images`."""

QUANTILES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)
"""Shares of the body's pixels that lie below the landmarks."""


_BETWEEN = 0.25
"""How far, relatively, a count may lie from a public prior's: what scanners leave after their settings are known."""


def histogram_term(images: Tensor, present: Tensor) -> Tensor:
    """Return one patient's histogram of each contrast, (contrast, bin): the share of the body's pixels in each bin.

    The privacy argument: it is computed from this patient alone. The entries of a contrast are not negative and add up
    to 1 (0 where the contrast is missing), so their norm is 1 at most; divided by √contrasts, the whole term's norm is
    1 at most, whatever the images. A sum over patients therefore changes by 1 at most where one of them joins or goes.

    Args:
        images: (slice, contrast, row, column), about [0, 1].
        present: (contrast,), 1 where the contrast was acquired.
    """
    term = torch.zeros(images.shape[1], BINS)
    for index, acquired in enumerate(present.tolist()):
        image = images[:, index]
        body = image[image > BODY].clamp(max=HIGHEST)
        if acquired > 0 and body.numel():
            counts = torch.histc(body.float(), BINS, 0.0, HIGHEST)
            term[index] = counts / counts.sum()
    return term / math.sqrt(max(images.shape[1], 1))


def landmarks(histograms: Tensor, noise_sd: float = 0.0, prior: Tensor | None = None) -> Tensor:
    """Return the quantiles `QUANTILES` of summed histograms: (contrast, quantile), ascending along the last axis.

    Noise leaves counts that are negative, and counts where there are none. With a public prior, each count is drawn
    towards it by as much as the noise weighs against how far scanners differ; without one, counts are dropped where
    five neighbours together do not stand out of the noise. Cumulated counts are made ascending.

    Args:
        histograms: (contrast, bin), a sum of terms, noised or exact; any scale.
        noise_sd: standard deviation of the noise on each entry; 0 for exact sums.
        prior: (contrast, bin), a public sum, of any scale; taken as it is where the noisy sum says nothing.
    """
    if histograms.ndim != 2 or histograms.shape[1] != BINS:
        raise InputError(f"histograms must be (contrast, {BINS})", f"shape {tuple(histograms.shape)}", "sum the terms")
    counts = torch.nan_to_num(histograms.double())
    total = counts.sum(1, keepdim=True)
    known = total > 3.0 * noise_sd * math.sqrt(BINS)
    if noise_sd > 0 and prior is not None:
        expected = prior.double() / prior.double().sum(1, keepdim=True).clamp(min=1e-12)
        scaled = expected * torch.where(known, total, 1.0)
        between = (_BETWEEN * scaled) ** 2
        counts = scaled + between / (between + noise_sd**2) * torch.where(known, counts - scaled, 0.0)
    elif noise_sd > 0:
        around = F.avg_pool1d(counts[:, None], 5, 1, 2, count_include_pad=False)[:, 0]
        # the largest of 64 draws of pure noise lies about 2.5 deviations out
        counts = torch.where(known & (around > 2.5 * noise_sd / math.sqrt(5)), counts, 0.0)
    heaped = counts.clamp(min=0.0).cumsum(1) if prior is not None else counts.cumsum(1).cummax(1).values.clamp(min=0.0)
    empty = heaped[:, -1:] <= 0
    share = torch.where(empty, torch.linspace(1.0 / BINS, 1.0, BINS), heaped / heaped[:, -1:].clamp(min=1e-12))
    share = torch.cat([torch.zeros(len(share), 1), share], 1) + torch.linspace(0.0, 1e-9, BINS + 1)
    edges = torch.linspace(0.0, HIGHEST, BINS + 1, dtype=torch.float64).expand(len(counts), -1)
    wanted = torch.tensor(QUANTILES, dtype=torch.float64).expand(len(counts), -1)
    return _interpolated(wanted, share, edges).cummax(1).values.float()


def aligned(images: Tensor, present: Tensor, landmark_map: dict[str, Tensor]) -> Tensor:
    """Return images carried from one scanner's landmarks to another's: (slice, contrast, row, column), finite.

    Between landmarks the map is linear, beyond the outer ones it is shifted, so it is monotone. What is exactly 0
    (padding, a contrast that is missing, no signal) stays 0. The ADC is left alone: it is in physical units already,
    and 0.33 is 1000e-6 mm2/s on every scanner.

    Args:
        images: as `histogram_term`.
        present: as `histogram_term`.
        landmark_map: "source" and "target", each (contrast, quantile) as `landmarks` gives; "fixed" (contrast,), 1
            where a contrast is left alone.
    """
    source, target = landmark_map["source"].double(), landmark_map["target"].double()
    fixed = landmark_map.get("fixed", torch.zeros(images.shape[1]))
    moved = images.clone()
    for index, acquired in enumerate(present.tolist()):
        if acquired <= 0 or fixed[index] > 0:
            continue
        knots, places = _increasing(source[index]), target[index]
        values = images[:, index].double()
        inside = _interpolated(values.flatten()[None], knots[None], places[None]).reshape(values.shape)
        below, above = places[0] * values / knots[0], places[-1] + values - knots[-1]
        carried = torch.where(values < knots[0], below, torch.where(values > knots[-1], above, inside))
        moved[:, index] = torch.where(images[:, index] == 0, images[:, index], carried.clamp(0.0, HIGHEST).float())
    return torch.nan_to_num(moved)


def _increasing(knots: Tensor) -> Tensor:
    """Return knots that are positive and strictly ascending, (quantile,)."""
    return knots.clamp(min=1e-3).cummax(0).values + torch.linspace(0.0, 1e-6, len(knots), dtype=torch.float64)


def _interpolated(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return, per row, the piecewise-linear function through (knots, values) at `at`, constant beyond: shape of `at`.

    Args:
        at: (row, point).
        knots: (row, knot), ascending.
        values: (row, knot).
    """
    right = torch.searchsorted(knots.contiguous(), at.contiguous()).clamp(1, knots.shape[1] - 1)
    left = right - 1
    k0, k1 = knots.gather(1, left), knots.gather(1, right)
    v0, v1 = values.gather(1, left), values.gather(1, right)
    return v0 + (v1 - v0) * ((at - k0) / (k1 - k0).clamp(min=1e-12)).clamp(0.0, 1.0)

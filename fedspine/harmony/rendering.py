"""Re-express images on another scanner: a small function of each pixel's contrasts and place, fitted to public pairs.

All contrasts of a pixel together tell its tissue: fat that a fat-saturated T1c hides is bright in T1, and what a longer
echo would show of T2 follows from T1, T2 and STIR. So the images of another protocol are a function of those of this
one (synthetic MR: Riederer et al. 1984, Radiology 153:203), and a coil's unevenness is a function of place. The
function is a sum of random ramps (Rahimi and Recht 2008, NIPS), weighted for the least absolute deviations; it is
fitted to *phantoms* scanned on both, never to patients, and is nothing but arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedspine.errors import InputError
from fedspine.harmony.features import BODY
from fedspine.harmony.fields import places
from fedspine.harmony.landmarks import HIGHEST

RAMPS = 256
PIXELS = 600
"""Pixels that are fitted of every phantom."""
_RIDGE, _ROUNDS, _EVEN = 1e-3, 3, 0.01
_LIMIT = 4.0
"""Standardised inputs are clipped to this: beyond what was fitted, the function goes on as at the edge."""


def fitted(
    sources: Sequence[Tensor], targets: Sequence[Tensor], part: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Fit the function that turns `sources` into `targets`; the same person stands at the same place in both lists.

    Args:
        sources, targets: images (slice, contrast, row, column) of public phantoms on one scanner and the other.
        part: (2, contrast), see `fields.roles`.
        generator: of ramps and pixels.

    Returns:
        Arrays for `rendered`, float32.
    """
    if not sources or len(sources) != len(targets):
        raise InputError("a rendering needs pairs", f"{len(sources)} and {len(targets)} images", "give both of each")
    inputs, steps, shown = [], [], []
    for source, target in zip(sources, targets, strict=True):
        row = _inputs(source, torch.ones(source.shape[1]), part)
        body = torch.nonzero(((source > BODY) | (target > BODY)).any(1).flatten()).flatten()
        if len(body):
            chosen = body[torch.randint(len(body), (PIXELS,), generator=generator)]
            inputs.append(row[chosen])
            steps.append(_rows(target - source)[chosen])
            shown.append(_rows(target > BODY)[chosen])
    x, y = torch.cat(inputs), torch.cat(steps)
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-3)
    x = ((x - mean) / deviation).clamp(-_LIMIT, _LIMIT)
    ramps = torch.randn(x.shape[1], RAMPS, generator=generator)
    ramps = ramps / ramps.norm(dim=0)
    at = torch.randint(len(x), (RAMPS,), generator=generator)
    offsets = -(x[at] * ramps.T).sum(1)  # each ramp begins at a pixel that was seen
    basis = _basis(x, ramps, offsets)
    return {
        "mean": mean,
        "deviation": deviation,
        "covariance": torch.cov(x.T),
        "ramps": ramps,
        "offsets": offsets,
        "weights": _where_it_helps(basis, y, torch.cat(shown).float()),
        "part": part.float(),
    }


def rendered(images: Tensor, present: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Return the images as the target scanner would have made them: (slice, contrast, row, column), in [0, 1.5].

    A missing contrast is expected from the others where it is needed as an input, and stays 0 in the result; what is 0
    in all contrasts (padding) and a value that is exactly 0 (no signal) stay 0.

    Args:
        images: (slice, contrast, row, column).
        present: (contrast,), 1 where the contrast was acquired.
        weights: what `fitted` returned.
    """
    images = torch.nan_to_num(images.float())
    if not bool((present > 0).any()):
        return torch.zeros_like(images)
    acquired = present > 0
    x = _inputs(images, present, weights["part"])
    x = (x - weights["mean"]) / weights["deviation"]
    x = _completed(x, acquired, weights["covariance"]).clamp(-_LIMIT, _LIMIT)
    step = _basis(x, weights["ramps"], weights["offsets"]) @ weights["weights"]
    slices, contrasts, height, width = images.shape
    step = step.reshape(slices, height, width, contrasts).permute(0, 3, 1, 2)
    return torch.where(images > 0, (images + step).clamp(0.0, HIGHEST), 0.0) * acquired[:, None, None]


def _inputs(images: Tensor, present: Tensor, part: Tensor) -> Tensor:
    """Return what the function sees of each pixel, (slice x row x column, contrast + `fields.PLACES`)."""
    return _rows(torch.cat([images, places(images, present, part)], dim=1))


def _rows(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).flatten(0, 2)


def _basis(x: Tensor, ramps: Tensor, offsets: Tensor) -> Tensor:
    ramp: Tensor = torch.relu(x @ ramps + offsets)
    return torch.cat([torch.ones(len(x), 1), x, ramp], dim=1)


def _completed(x: Tensor, acquired: Tensor, covariance: Tensor) -> Tensor:
    """Return the rows with missing contrasts replaced by what is expected, given all else, of jointly normal values."""
    if bool(acquired.all()):
        return x
    missing = torch.nonzero(~acquired).flatten()
    known = torch.tensor([i for i in range(x.shape[1]) if i not in set(missing.tolist())])
    inner = covariance[known][:, known].double() + 1e-3 * torch.eye(len(known), dtype=torch.float64)
    slope = torch.linalg.solve(inner, covariance[known][:, missing].double()).float()
    full = x.clone()
    full[:, missing] = x[:, known] @ slope
    return full


def _where_it_helps(basis: Tensor, y: Tensor, shown: Tensor) -> Tensor:
    """Return the weights, (basis, contrast); 0 for a contrast that is nearer to the target as it is.

    So a noisy quotient such as the ADC is left alone where the map's smoothing costs more than its scanners differ.
    """
    weights = _least_deviations(basis, y)
    left, right = (y.abs() * shown).sum(0), ((y - basis @ weights).abs() * shown).sum(0)
    return weights * (right < left)


def _least_deviations(basis: Tensor, y: Tensor) -> Tensor:
    """Return (basis, contrast) weights: least squares, then reweighted towards the least absolute deviations."""
    ridge = _RIDGE * len(basis) * torch.eye(basis.shape[1], dtype=torch.float64)
    weights: Tensor = torch.linalg.solve((basis.T @ basis).double() + ridge, (basis.T @ y).double()).float()
    for _ in range(_ROUNDS):
        deviations = (y - basis @ weights).abs()
        columns = []
        for index in range(y.shape[1]):
            trust = 1.0 / (deviations[:, index] + _EVEN)
            weighted = basis * (trust / trust.mean())[:, None]
            normal = (weighted.T @ basis).double() + ridge
            columns.append(torch.linalg.solve(normal, (weighted.T @ y[:, index]).double()).float())
        weights = torch.stack(columns, dim=1)
    return weights

"""How far an aligned contrast may be from the truth: a standard deviation and an interval for each patient's means.

Errors of aligned images have three sources: how well a scanner's effect is known (the posterior of its twin, which the
release's noise widens), what the map leaves over, and the noise of the patient's own image. *Public* phantoms scanned
on twins drawn from the posterior, aligned, and compared with their scan on the reference scanner show all three. From
them the variance is learned as a log-linear function of what a patient's own images tell (a dispersion model: Smyth
1989, J R Stat Soc B 51:47), and intervals get the width that covers public phantoms as often as they should (as split
conformal prediction does: Lei et al. 2018, J Am Stat Assoc 113:1094). Nothing is learned from patients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedspine.errors import InputError
from fedspine.harmony.features import BODY

REGIONS = ("body", "lesion")
EVIDENCE = ("constant", "log noise", "log size", "log step")
COVERAGE = 0.90

_FLOOR = 1e-3
"""Errors and noise below this are not told apart, on the scale of `PatientTensors.images`."""
_RIDGE, _ROUNDS = 4.0, 25


def region_means(images: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of each contrast over the body and over the lesion: (region, contrast), NaN where there is none.

    Args:
        images: (slice, contrast, row, column); the body is where this contrast exceeds `features.BODY`.
        mask: (slice, 1, row, column), or `None`.
    """
    means = torch.full((len(REGIONS), images.shape[1]), float("nan"))
    inside = None if mask is None else mask[:, 0] > 0.5
    for index in range(images.shape[1]):
        image = images[:, index]
        body = image[image > BODY]
        if body.numel():
            means[0, index] = body.mean()
            if inside is not None and bool(inside.any()):
                means[1, index] = image[inside].mean()
    return means


def noise_level(images: Tensor) -> Tensor:
    """Return the standard deviation of each contrast's noise, estimated from the image alone: (contrast,).

    The median of absolute differences of neighbours' differences: borders are few, noise is everywhere (compare
    Immerkaer 1996, Comput Vis Image Underst 64:300). Structure finer than a pixel counts as noise.
    """
    image = images.float()
    cross = image[..., 1:, 1:] - image[..., :-1, 1:] - image[..., 1:, :-1] + image[..., :-1, :-1]
    levels = []
    for index in range(images.shape[1]):
        body = image[:, index, 1:, 1:] > BODY
        found = cross[:, index][body].abs()
        levels.append(found.median() / 0.6745 / 2.0 if found.numel() else torch.zeros(()))
    return torch.stack(levels)


def evidence(original: Tensor, moved: Tensor, mask: Tensor | None) -> Tensor:
    """Return what one patient's images tell of their error: (region, contrast, `EVIDENCE`).

    Args:
        original: (slice, contrast, row, column), as acquired.
        moved: the same, aligned.
        mask: (slice, 1, row, column), or `None`.
    """
    step = torch.nan_to_num(region_means(moved, mask) - region_means(original, mask)).abs()
    noise = noise_level(original).expand_as(step)
    body = (moved > BODY).float().mean((0, 2, 3))
    lesion = torch.zeros(()) if mask is None else (mask[:, 0] > 0.5).float().mean()
    size = torch.stack([body, lesion.expand_as(body)])
    columns = [torch.ones_like(step), *((x + _FLOOR).log() - _USUAL for x in (noise, size, step))]
    return torch.stack(columns, dim=2)


_USUAL = -4.0
"""Logarithms are counted from here, so that a ridge on their slopes is one towards a usual patient."""


def calibrated(told: Tensor, errors: Tensor, values: Tensor) -> dict[str, Tensor]:
    """Learn the errors' shift, spread and interval from public phantoms.

    Args:
        told: (phantom, region, contrast, `EVIDENCE`).
        errors: (phantom, region, contrast), truth less aligned mean; NaN where there is none.
        values: (phantom, region, contrast), the true means: how far people differ.

    Returns:
        "shift" and "factor" and "people" (region, contrast), "slopes" (region, contrast, `EVIDENCE`); all float32.
    """
    if told.ndim != 4 or told.shape[:3] != errors.shape:
        raise InputError("evidence and errors must be of the same phantoms", "other shapes", "make both in one loop")
    regions, contrasts, width = told.shape[1:]
    shift, factor, people = (torch.zeros(regions, contrasts) for _ in range(3))
    slopes = torch.zeros(regions, contrasts, width)
    for region in range(regions):
        for contrast in range(contrasts):
            known = torch.isfinite(errors[:, region, contrast])
            if int(known.sum()) < 5:  # nothing is known: as wide as the whole range
                factor[region, contrast], people[region, contrast] = 1.645, 0.1
                continue
            error, row = errors[known, region, contrast].double(), told[known, region, contrast].double()
            centre = error.median()
            slope = _dispersion(row, error - centre)
            score = ((error - centre).abs() / (0.5 * (row @ slope)).exp()).sort().values
            rank = min(len(score), int(COVERAGE * (len(score) + 1) + 0.999999))
            spare = max(len(score) - width - 1, 1)  # what is fitted to people lies nearer to them than to others
            shift[region, contrast] = centre.float()
            factor[region, contrast] = score[rank - 1].float() * (len(score) / spare) ** 0.5
            slopes[region, contrast] = slope.float()
            people[region, contrast] = values[known, region, contrast].std().float()
    return {"shift": shift, "factor": factor, "slopes": slopes, "people": people}


def deviations(told: Tensor, model: dict[str, Tensor]) -> Tensor:
    """Return the standard deviation of a patient's errors, (region, contrast).

    Args:
        told: (region, contrast, `EVIDENCE`), as `evidence` gives.
        model: as `calibrated` gives.
    """
    return (0.5 * (told * model["slopes"]).sum(-1)).clamp(-7.0, 1.0).exp()


def interval(means: Tensor, told: Tensor, model: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the lower and the upper end of a 90 % interval for the true means, each (region, contrast).

    Args:
        means: (region, contrast), `region_means` of the aligned images.
        told: (region, contrast, `EVIDENCE`).
        model: as `calibrated` gives.
    """
    middle = means + model["shift"]
    half = model["factor"] * deviations(told, model)
    return middle - half, middle + half


def reliability(deviation: Tensor, model: dict[str, Tensor]) -> Tensor:
    """Return how certain each mean is, (region, contrast) in (0, 1]: the share of its variance that errors are not."""
    between = model["people"].clamp(min=_FLOOR) ** 2
    return between / (between + deviation**2)


def _dispersion(row: Tensor, error: Tensor) -> Tensor:
    """Return slopes, (evidence,), of the log variance of `error`, by Fisher scoring of a normal likelihood.

    A ridge keeps the slopes, but not the constant, near 0.
    """
    ridge = _RIDGE * torch.eye(row.shape[1], dtype=torch.float64)
    ridge[0, 0] = 1e-6
    slope = torch.zeros(row.shape[1], dtype=torch.float64)
    slope[0] = (error.square().mean() + _FLOOR**2).log()
    for _ in range(_ROUNDS):
        ratio = (error.square() + (0.3 * _FLOOR) ** 2) / (row @ slope).exp()
        gradient = 0.5 * row.T @ (ratio.clamp(max=25.0) - 1.0) - ridge @ slope
        step = torch.linalg.solve(0.5 * row.T @ row + ridge, gradient)
        slope = slope + step.clamp(-1.0, 1.0)
    return slope

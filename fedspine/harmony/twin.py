"""A scanner's public twin: the phantom scanner whose images look, in the sum, like those of a hospital's scanner.

What a scanner is set to (field, TE, TR, TI, b) stands in every header. What its coil does to an image does not; it is
found by indirect inference (Gourieroux, Monfort and Renault 1993): the twin is the one on which *public* phantoms give
the mean profiles and histograms that the hospital released for its own, other patients. Steps are Gauss-Newton on a
prior over coils, weighed by how far people differ and by the release's noise, so a noisy site's twin stays near the
prior. Nothing here reads a patient; a twin and a reference scanner give pairs to fit `rendering` to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan
from fedspine.errors import InputError
from fedspine.harmony.fields import roles
from fedspine.harmony.scanner_sum import summary_term
from fedspine.phantom.genome import CLASSES, OMICS_COLUMNS
from fedspine.phantom.patient import Phantom, draw, to_patient
from fedspine.phantom.scanner import EVERY_CONTRAST, Protocol, ScannerModel

Values = NDArray[np.float64]

MIDDLE = np.array([np.log(95.0), 0.55, np.log(0.0055), 0.95, 0.10, np.log(62.0)])
SPREAD = np.array([0.35, 0.15, 0.30, 0.04, 0.05, 0.25])
"""Prior of a coil: log reach in mm, how far it is evened out, log noise, share of frequencies, ripple, log distance of
its elements in mm; see `ScannerModel`."""

_STEP = 0.5
"""Finite differences are taken over this many prior deviations."""
_ROUNDS = 3
_COARSE = 16
_FEW = 0.3
_DISCREPANCY = 1.8e-3
"""What a simulator may be off on each entry of a mean summary, however many patients there are (Kennedy and O'Hagan
2001, J R Stat Soc B 63:425); without it, twins of exact sums are trusted too much."""


@dataclass(frozen=True, eq=False)
class Twin:
    """What was found of a scanner.

    Args:
        scanner: the twin.
        values: (parameter,), in the order of `MIDDLE`.
        covariance: (parameter, parameter), of the posterior.
    """

    scanner: ScannerModel
    values: Values
    covariance: Values


def public_people(data: DataPlan, count: int, seed: int) -> list[Phantom]:
    """Return `count` phantoms on the plan's grid, classes in turn."""
    shape = (max(data.slices, 2), data.size, data.size)
    return [
        draw(np.random.default_rng([seed, i]), label=CLASSES[i % len(CLASSES)], shape=shape, levels=data.levels)
        for i in range(count)
    ]


def scans(people: Sequence[Phantom], scanner: ScannerModel, data: DataPlan) -> list[PatientTensors]:
    """Return each person on a scanner, on the plan's grid."""
    names = _names(data)
    return [to_tensors(to_patient(one, "phantom", scanner, contrasts=names), OMICS_COLUMNS, data) for one in people]


def _names(data: DataPlan) -> tuple[str, ...]:
    """Return the plan's contrasts without their planes."""
    return tuple(dict.fromkeys(name.split(" ")[0] for name in data.contrasts))


def twin_of(
    total: Mapping[str, Tensor],
    count: int,
    protocols: Mapping[str, Protocol],
    field_tesla: float,
    people: Sequence[Phantom],
    data: DataPlan,
    noise_sd: float = 0.0,
) -> Twin:
    """Return the twin of a scanner.

    Args:
        total: a sum of `scanner_sum.summary_term`, noised or exact.
        count: patients in the sum; public. Without any, the twin is a usual coil with these protocols.
        protocols: by contrast, as the headers tell; whether fat is saturated is found here, if there are patients.
        field_tesla: 1.5 or 3.
        people: public phantoms, about 24.
        data: the grid.
        noise_sd: standard deviation of the noise on each entry of `total`.
    """
    missing = [name for name in _names(data) if name in EVERY_CONTRAST and name not in protocols]
    if missing:
        raise InputError("a twin needs the protocol of every contrast", f"none of {', '.join(missing)}", "give it")
    if count < 1:
        fat_saturated = "T1c" in protocols and protocols["T1c"].fat_saturated
        start = _scanner(MIDDLE, protocols, field_tesla, saturates=True, fat_saturated=fat_saturated)
        return Twin(start, MIDDLE, np.diag(SPREAD**2))
    observed, noise = _observed(total, count, noise_sd)
    best: tuple[float, Twin] | None = None
    for saturates in (True, False):
        for fat_saturated in (True, False):
            start = _scanner(MIDDLE, protocols, field_tesla, saturates=saturates, fat_saturated=fat_saturated)
            mean, precision = _seen(start, people, data, count, noise)
            # twice the negative log likelihood of a normal: a wide spread has its price too
            distance = float((observed - mean) @ precision @ (observed - mean) - np.linalg.slogdet(precision)[1])
            if best is None or distance < best[0]:
                best = distance, Twin(start, MIDDLE, np.diag(SPREAD**2))
    assert best is not None
    twin = best[1]
    for _ in range(_ROUNDS):
        twin = _improved(twin, observed, people, data, count, noise)
    return twin


def near(twin: Twin, deviations: Values) -> ScannerModel:
    """Return the scanner that lies these deviations, (parameter,), from the twin along its posterior."""
    return _with(twin.scanner, twin.values + np.linalg.cholesky(twin.covariance) @ deviations)


def _improved(
    twin: Twin, observed: Values, people: Sequence[Phantom], data: DataPlan, count: int, noise: Values
) -> Twin:
    """Return the twin after a Gauss-Newton step towards the posterior's mode."""
    mean, precision = _seen(twin.scanner, people, data, count, noise)
    slopes = []
    for index in range(len(MIDDLE)):
        moved = twin.values.copy()
        moved[index] += _STEP * SPREAD[index]
        other, _ = _seen(_with(twin.scanner, moved), people, data, count, noise)
        slopes.append((other - mean) / (_STEP * SPREAD[index]))
    slope = np.stack(slopes, axis=1)  # (entry, parameter)
    prior = np.diag(1.0 / SPREAD**2)
    covariance = np.linalg.inv(slope.T @ precision @ slope + prior)
    step = covariance @ (slope.T @ precision @ (observed - mean) + prior @ (MIDDLE - twin.values))
    values = np.clip(twin.values + np.clip(step, -1.5 * SPREAD, 1.5 * SPREAD), MIDDLE - 3 * SPREAD, MIDDLE + 3 * SPREAD)
    return Twin(_with(twin.scanner, values), values, covariance)


def _seen(
    scanner: ScannerModel, people: Sequence[Phantom], data: DataPlan, count: int, noise: Values
) -> tuple[Values, Values]:
    """Return the mean summary of the people on a scanner, (entry,), and the precision with which another mean meets it.

    The covariance between people is estimated from few, so it is drawn halfway to its diagonal.
    """
    part = roles(data.contrasts)
    rows = np.stack(
        [_flat(summary_term(p.images, p.present, part)).double().numpy() for p in scans(people, scanner, data)]
    )
    spread = np.cov(rows.T)
    spread = 0.5 * spread + 0.5 * np.diag(np.diag(spread)) + 1e-7 * np.eye(len(spread))
    mean = np.asarray(rows.mean(0), np.float64)
    precision = np.asarray(
        np.linalg.inv(spread * (1.0 / max(count, 1) + 1.0 / len(rows)) + np.diag(noise + _DISCREPANCY**2)), np.float64
    )
    return mean, precision


def _flat(summary: Mapping[str, Tensor]) -> Tensor:
    """Return the summary as one row; histograms in coarse bins, finer ones tell people apart."""
    histogram = summary["histogram"]
    coarse = histogram.reshape(len(histogram), _COARSE, -1).sum(2)
    return torch.cat([coarse.flatten(), summary["profile"].flatten(), summary["ripple"]])


def _observed(total: Mapping[str, Tensor], count: int, noise_sd: float) -> tuple[Values, Values]:
    """Return the mean over patients, (entry,), as if all had every contrast, and the variance of its noise, (entry,).

    A histogram adds up to the share of patients who have the contrast; where that is less than the noise explains, the
    contrast's entries are scaled up. A contrast that few have says nothing.
    """
    count = max(count, 1)
    histogram, profile = total["histogram"].double(), total["profile"].double()
    contrasts, bins = histogram.shape
    whole = (len(total) * contrasts) ** 0.5  # what a term's histogram is divided by
    share = histogram.sum(1) * whole / count
    doubt = 3.0 * noise_sd * whole * bins**0.5 / count
    share = torch.where((share - 1.0).abs() <= doubt + 1e-6, torch.ones_like(share), share)
    scale = 1.0 / share.clamp(_FEW, 1.0)
    row = _flat({**total, "histogram": histogram * scale[:, None], "profile": profile * scale[:, None]}) / count
    merged = torch.full((contrasts, _COARSE), float(bins // _COARSE))
    silent = torch.where(share < _FEW, 1.0, 0.0)[:, None]  # a variance beyond that of any entry
    variance = (noise_sd / count * scale[:, None]) ** 2
    parts = [merged * variance + silent, torch.ones_like(profile) * variance + silent]
    ripple = torch.full_like(total["ripple"].double(), (noise_sd / count) ** 2)
    noise = torch.cat([part.flatten() for part in parts] + [ripple])
    return np.asarray(row.numpy(), np.float64), np.asarray(noise.numpy(), np.float64)


def _scanner(
    values: Values, protocols: Mapping[str, Protocol], field_tesla: float, *, saturates: bool, fat_saturated: bool
) -> ScannerModel:
    table = {
        name: replace(one, fat_saturated=fat_saturated) if name == "T1c" else one for name, one in protocols.items()
    }
    bare = ScannerModel(
        "twin", "twin", "twin", field_tesla, 800.0, 0.0, 0.0, 0.0, 1.0, (1.0, 1.0), saturates, 0.0, table
    )
    return _with(bare, values)


def _with(scanner: ScannerModel, values: Values) -> ScannerModel:
    """Return the scanner with these parameters."""
    matrix = float(np.clip(values[3], 0.7, 1.0))
    return replace(
        scanner,
        reach_mm=float(np.exp(values[0])),
        normalised=float(np.clip(values[1], 0.0, 1.0)),
        noise=float(np.exp(values[2])),
        matrix=(min(1.0, matrix + 0.02), matrix - 0.02),
        ripple=float(np.clip(values[4], 0.0, 0.3)),
        element_mm=float(np.exp(values[5])),
    )

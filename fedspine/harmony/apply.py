"""Re-express a patient on the consortium's average scanner, given what `harmonise` released.

A scanner is taken to change, per contrast, the mean and the standard deviation of the body's and of the lesion's
intensities. These numbers of a patient are harmonised by ComBat (`harmony.combat`); the image follows those of the body
linearly, lesion and all. The map depends on that patient and on released values alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.harmony.alignment import align
from fedspine.harmony.combat import BatchEffect, Pooled, adjust
from fedspine.harmony.covariates import COVARIATES, covariate_row
from fedspine.harmony.features import BODY, BOUND, PER_CONTRAST, features
from fedspine.harmony.landmarks import aligned
from fedspine.harmony.settings import expected_effect, settings_row

COMMON = ("harmonise.alpha", "harmonise.beta", "harmonise.sigma", "harmonise.covariates")
OWN = ("harmonise.gamma", "harmonise.delta", "harmonise.variance", "harmonise.patients")
"""Released: (feature,), (p, feature), (feature,), (p,) places in `COVARIATES`; and a site's, (scanner, feature)
of γ, δ and the variance of γ, (scanner,) of patients."""

LANDMARKS = ("standardise.landmarks", "standardise.target", "standardise.fixed")
"""Released: a site's (scanner, contrast, quantile), the shared (contrast, quantile), what stays (contrast,)."""

SPACE = ("alpha", "sigma", "centre", "axes")

LEAST = 1e-3
"""A body whose intensities vary less than this has no scale."""

Array = NDArray[np.float64]


def pooled_of(shared: Mapping[str, Tensor]) -> tuple[Pooled, tuple[str, ...]]:
    """Return what all scanners share, and the names of the covariates."""
    alpha, beta, sigma, chosen = (shared[key].double().numpy() for key in COMMON)
    return Pooled(beta.reshape(-1, len(alpha)), alpha, sigma), tuple(COVARIATES[int(number)] for number in chosen)


def effect_of(shared: Mapping[str, Tensor], batch: int) -> BatchEffect:
    """Return the effect of the site's scanner of that number."""
    gamma, delta, variance = (shared[key].double().numpy()[batch] for key in OWN[:3])
    return BatchEffect(gamma, delta, variance)


def _landmarked(patient: PatientTensors, shared: Mapping[str, Tensor]) -> PatientTensors:
    """Return the patient with its scanner's landmarks carried to the shared ones; the ADC keeps its physical unit."""
    if patient.batch < 0 or not all(key in shared for key in LANDMARKS):
        return patient
    source, target, fixed = (shared[key] for key in LANDMARKS)
    own = {"source": source[patient.batch], "target": target, "fixed": fixed}
    return replace(patient, images=aligned(patient.images, patient.present, own))


def _effect(patient: PatientTensors, shared: Mapping[str, Tensor]) -> BatchEffect:
    """Return the effect of the patient's scanner; of one that no training patient lay on, what its settings tell."""
    told = None
    if not shared["harmonise.patients"][patient.batch]:
        told = expected_effect(shared, settings_row(patient.scanners), "harmonise.")
    return effect_of(shared, patient.batch) if told is None else told


def harmonised(
    patient: PatientTensors, shared: Mapping[str, Tensor], maps: Mapping[int, Mapping[str, Tensor]] | None = None
) -> PatientTensors:
    """Return the patient with aligned images and harmonised features; unchanged where the plan has done neither.

    Images go onto the reference scanner first, where the plan has a stage `align`, or else by landmarks, where
    `standardise` released them; then by ComBat.

    Args:
        patient: on the plan's grid.
        shared: released values; `harmonise.*` hold what all share and this site's own effects.
        maps: number of a scanner to what `alignment.alignment_of` made of released values.
    """
    if maps and patient.batch in maps:
        patient = replace(patient, images=align(patient.images, patient.present, maps[patient.batch]))
    else:
        patient = _landmarked(patient, shared)
    if not all(key in shared for key in (*COMMON, *OWN)) or patient.batch < 0:
        return patient
    values, known = features(patient)
    pooled, covariates = pooled_of(shared)
    size = len(pooled.alpha)
    measured, effect = values[:size].double().numpy(), _effect(patient, shared)
    target = adjust(measured, covariate_row(patient.person, covariates), pooled, effect)
    row = values.clone()
    row[:size] = torch.from_numpy(target.clip(-BOUND, BOUND)).float()
    images = _followed(patient, known, measured, target)
    return replace(patient, images=images, harmonised=(row * known, known), measured=(values, known))


def _followed(patient: PatientTensors, known: Tensor, measured: Array, target: Array) -> Tensor:
    """Return images whose body has the mean and deviation of `target` in place of those that were `measured`."""
    images = patient.images.clone()
    for index in range(images.shape[1]):
        first = len(PER_CONTRAST) * index
        mean, deviation = measured[first], measured[first + 1]
        if not known[first] or deviation < LEAST:
            continue
        new_mean, new_deviation = target[first], max(float(target[first + 1]), 0.0)
        image = images[:, index]
        moved = (image - float(mean)) * (new_deviation / float(deviation)) + float(new_mean)
        images[:, index] = torch.where(image > BODY, moved.clamp(0, 2), image)
    return images


def coordinates(patient: PatientTensors, shared: Mapping[str, Tensor]) -> Array | None:
    """Return a harmonised patient's place in the harmonisation space, (axis,), less its scanner's own shift and width.

    `None` where the plan found no space, or the patient was not harmonised. A feature that is unknown counts as
    the mean.

    Args:
        patient: of `harmonised`.
        shared: released values.
    """
    if patient.harmonised is None or "harmonise.axes" not in shared or "harmonise.shift" not in shared:
        return None
    alpha, sigma, centre, axes = (shared[f"harmonise.{key}"].double().numpy() for key in SPACE)
    values, known = (one[: len(alpha)].double().numpy() for one in patient.harmonised)
    place = axes @ (np.where(known > 0, (values - alpha) / sigma, centre) - centre)
    shift, width = (shared[f"harmonise.{key}"].double().numpy()[patient.batch] for key in ("shift", "width"))
    return np.asarray((place - shift) / np.sqrt(width))

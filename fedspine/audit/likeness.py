"""How near made images come to patients, in pixels and in a fixed feature space, patient by patient.

A patient may lack contrasts, so a distance is the root of the mean, over the contrasts that both sides have, of squared
distances; two without a contrast in common are infinitely far apart. A patient's slices are those with a lesion, which
generators make, or all where none has one; the slice that comes nearest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.feature_space import embed

SIDE = 32
"""Pixels a side in which images are compared: finer ones tell grain apart rather than anatomy."""

SPACES = ("features", "pixels")

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Points:
    """Slices as points.

    Args:
        places: space to (slice, contrast, dimension).
        present: (slice, contrast), 1 where the contrast is there.
        whose: (slice,) number of the patient.
    """

    places: dict[str, Tensor] = field(repr=False)
    present: Tensor = field(repr=False)
    whose: Tensor = field(repr=False)


def points(patients: Sequence[PatientTensors]) -> Points:
    """Return the patients' slices as points; every patient must have an image."""
    parts = [_slices(patient) for patient in patients]
    images, present = torch.cat(parts), [patient.present for patient in patients]
    whose = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
    flat = images.flatten(0, 1).unsqueeze(1)
    with torch.no_grad():
        features = embed(flat).reshape(*images.shape[:2], -1)
    small = F.adaptive_avg_pool2d(flat, SIDE).reshape(*images.shape[:2], -1)
    return Points({"features": features, "pixels": small}, torch.stack(present)[whose], whose)


def _slices(patient: PatientTensors) -> Tensor:
    lesion = patient.lesion
    shown = None if lesion is None else lesion.flatten(1).any(1)
    return patient.images if shown is None or not bool(shown.any()) else patient.images[shown]


def distances(one: Points, other: Points, space: str) -> Array:
    """Return how far each slice of `one` is from each patient of `other`: (slice, patient)."""
    shared = one.present @ other.present.T
    total = torch.zeros_like(shared)
    for index in range(one.present.shape[1]):
        both = one.present[:, index, None] * other.present[:, index]
        apart = torch.cdist(one.places[space][:, index], other.places[space][:, index])
        total += both * apart.square() / one.places[space].shape[2]
    between = torch.where(shared > 0, (total / shared.clamp(min=1)).sqrt(), torch.inf)
    return nearest(between.double().numpy(), other.whose.numpy())


def nearest(between: Array, whose: NDArray[np.int64]) -> Array:
    """Return the minimum over each patient's slices of (row, slice): (row, patient)."""
    begins = np.flatnonzero(np.diff(whose, prepend=-1))
    return np.asarray(np.minimum.reduceat(between, begins, axis=1))

"""A small documented set of image features of one patient, the rows that HARMONY-Spine and SOCCE work on.

Per contrast: mean and standard deviation of the body, and of the lesion minus the body where a mask is known; then the
lesion's size, its height and width, and where it lies. Intensities are those of `PatientTensors` (about [0, 1]).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors

BODY = 0.05
"""Voxels below this share of the patient's own range count as air."""

SHAPE = ("volume", "height", "width", "row", "column")
BOUND = 3.0
"""Features are clipped to this magnitude."""


PER_CONTRAST = ("mean", "sd", "lesion mean", "lesion sd")


def intensity_names(contrasts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns that a scanner changes: the first ones that `features` gives."""
    return tuple(f"{contrast} {what}" for contrast in contrasts for what in PER_CONTRAST)


def feature_names(contrasts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns that `features` gives, in order."""
    return (*intensity_names(contrasts), *(f"lesion {what}" for what in SHAPE))


def of_lesions(count: int) -> Tensor:
    """Return which of the `count` columns that `features` gives depend on the mask: (feature,) bool."""
    per_contrast = torch.tensor(["lesion" in name for name in PER_CONTRAST])
    contrasts = (count - len(SHAPE)) // len(PER_CONTRAST)
    return torch.cat([per_contrast.repeat(contrasts), torch.ones(len(SHAPE), dtype=torch.bool)])


def features(patient: PatientTensors, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the features of one patient and which of them are known.

    Args:
        patient: the patient on the plan's grid.
        mask: (slice, 1, row, column) lesion mask to use where the patient has none of its own (a prediction).

    Returns:
        values (feature,) float32, zero where unknown, within ±`BOUND`; known (feature,) float32 in {0, 1}.
    """
    lesion = patient.lesion if patient.lesion is not None else mask
    inside = lesion[:, 0] > 0.5 if lesion is not None else None
    values: list[Tensor] = []
    known: list[float] = []
    for index, present in enumerate(patient.present.tolist()):
        image = patient.images[:, index]
        body = image[image > BODY]
        has_body = present > 0 and body.numel() > 1
        mean, deviation = (body.mean(), body.std()) if has_body else (torch.zeros(()), torch.zeros(()))
        has_lesion = has_body and inside is not None and int(inside.sum()) > 1
        within = image[inside] if has_lesion and inside is not None else torch.zeros(2)
        values += [mean, deviation, within.mean() - mean, within.std()]
        known += [float(has_body)] * 2 + [float(has_lesion)] * 2
    shape, has_shape = _shape(inside)
    row = torch.cat([torch.stack(values), shape]).clamp(-BOUND, BOUND)
    present_row = torch.tensor([*known, *([float(has_shape)] * len(SHAPE))])
    return row * present_row, present_row


def _shape(inside: Tensor | None) -> tuple[Tensor, bool]:
    if inside is None or not bool(inside.any()):
        return torch.zeros(len(SHAPE)), False
    _, rows, columns = torch.nonzero(inside, as_tuple=True)
    size = inside.shape[-1]
    extent = [(axis.max() - axis.min() + 1) / size for axis in (rows, columns)]
    centre = [axis.float().mean() / size - 0.5 for axis in (rows, columns)]
    volume = inside.float().mean().sqrt()
    return torch.stack([volume, *extent, *centre]), True

"""The slices of patients that images are judged by: those that hold a lesion, a few of each patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors

MOST = 4
"""Slices of a patient: neighbours look alike, and a patient of many slices would outweigh the others."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of several patients.

    Args:
        images: (slice, contrast, row, column), 0 where a contrast is missing.
        present: (slice, contrast), 1 where the contrast was acquired.
        masks: (slice, row, column) in {0, 1}.
        whose: (slice,) number of the patient, from 0.
    """

    images: Tensor
    present: Tensor
    masks: Tensor
    whose: Tensor

    @property
    def patients(self) -> int:
        """How many patients have a slice here."""
        return int(torch.unique(self.whose).numel())

    def of(self, patients: Sequence[int]) -> Slices:
        """Return the slices of these patients."""
        return self.at(torch.isin(self.whose, torch.tensor(list(patients), dtype=torch.long)))

    def at(self, chosen: Tensor) -> Slices:
        """Return these slices: indices, or a truth value of each."""
        return Slices(self.images[chosen], self.present[chosen], self.masks[chosen], self.whose[chosen])

    def shrunk(self, side: int) -> Slices:
        """Return the slices with at most `side` rows; a pixel is lesion where half of what it averages is."""
        if self.images.shape[-1] <= side:
            return self
        images = F.interpolate(self.images, (side, side), mode="area")
        masks = F.interpolate(self.masks.unsqueeze(1), (side, side), mode="area").squeeze(1)
        return Slices(images, self.present, (masks >= 0.5).float(), self.whose)


def lesion_slices(patients: Sequence[PatientTensors], most: int = MOST) -> Slices | None:
    """Return of each patient up to `most` slices that hold a lesion, evenly over the lesion; `None` without any."""
    parts = []
    for number, patient in enumerate(patients):
        if patient.mask is None or not patient.has_image:
            continue
        lesion = patient.mask[:, 0].bool().flatten(1).any(1).nonzero().flatten()
        if not len(lesion):
            continue
        kept = lesion[[int((i + 0.5) * len(lesion) / most) for i in range(most)]] if len(lesion) > most else lesion
        present = patient.present.expand(len(kept), -1)
        whose = torch.full((len(kept),), number, dtype=torch.long)
        parts.append((patient.images[kept], present, patient.mask[kept, 0], whose))
    return Slices(*(torch.cat(part) for part in zip(*parts, strict=True))) if parts else None


def joined(one: Slices, other: Slices) -> Slices:
    """Return both, the second one's patients numbered after the first one's."""
    later = int(one.whose.max()) + 1
    return Slices(
        torch.cat([one.images, other.images]),
        torch.cat([one.present, other.present]),
        torch.cat([one.masks, other.masks]),
        torch.cat([one.whose, other.whose + later]),
    )

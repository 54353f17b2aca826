"""A patient's slices as a network's input, and fewer of them or of the contrasts in a training step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.errors import InputError


def arranged(patient: PatientTensors, dimensions: float, *, planes: bool) -> Tensor:
    """Return the input of a network.

    Args:
        patient: of images (slice, contrast, row, column), or in 2.5 dimensions (slice, 3·contrast, row, column) where
            `with_neighbours` has been done already.
        dimensions: 2, 2.5 or 3.
        planes: whether a plane a contrast says if it is there.

    Returns:
        (slice, channel, row, column), or (1, channel, slice, row, column) in 3 dimensions.
    """
    images, contrasts = patient.images, len(patient.present)
    if dimensions == 2.5 and images.shape[1] == contrasts:
        images = with_neighbours(images)
    if planes:
        flags = patient.present[None, :, None, None].expand(len(images), -1, *images.shape[2:])
        images = torch.cat([images, flags], dim=1)
    return images.transpose(0, 1).unsqueeze(0) if dimensions == 3 else images


def with_neighbours(images: Tensor) -> Tensor:
    """Return (slice, 3·contrast, row, column): the slice before, the slice, and the one after; at the ends itself."""
    before = torch.cat([images[:1], images[:-1]])
    after = torch.cat([images[1:], images[-1:]])
    return torch.cat([before, images, after], dim=1)


def with_fewer_contrasts(patient: PatientTensors, probability: float, draws: torch.Generator) -> PatientTensors:
    """Return the patient without each of the contrasts with `probability`, but never without the last one.

    As many numbers are drawn whatever is there. Where all would go, one of those present is kept, drawn evenly: a
    network that is to do with any one contrast must meet each alone.
    """
    if probability <= 0 or not patient.has_image:
        return patient
    drawn = torch.rand(2, len(patient.present), generator=draws)
    kept = patient.present * (drawn[0] >= probability)
    if not bool(kept.any()):
        last = (drawn[1] * patient.present).argmax()
        kept = torch.zeros_like(kept).index_fill(0, last, 1.0)
    return replace(patient, images=patient.images * kept[:, None, None], present=kept)


def with_fewer_slices(
    patient: PatientTensors, count: int, dimensions: float, draws: torch.Generator
) -> tuple[PatientTensors, Tensor]:
    """Return the patient with `count` slices, and their masks.

    In 2 and 2.5 dimensions half of them (rounded up) are drawn from those that show a structure, where one does, and
    the rest from all, each anew; in 3, neighbours around one so drawn. With 0, or no more slices than that in 3
    dimensions, the patient as it is.

    Returns:
        the patient, in 2.5 dimensions with neighbours as channels; (slice, structure, row, column).
    """
    if patient.mask is None:
        raise InputError("slices are drawn by a mask", "none", "leave patients without one out")
    images, total = patient.images, len(patient.images)
    if not count or (dimensions == 3 and count >= total):
        return patient, patient.mask
    if dimensions == 2.5:
        images = with_neighbours(images)
    shown = patient.mask.flatten(1).any(1).nonzero()[:, 0]
    first = shown if len(shown) else torch.arange(total)
    random = torch.rand(count, generator=draws, dtype=torch.float64)
    if dimensions == 3:
        around = int(first[int(random[0] * len(first))]) if random[-1] < 0.5 else int(random[0] * total)
        begin = min(max(around - count // 2, 0), total - count)
        chosen = torch.arange(begin, begin + count)
    else:
        half = (count + 1) // 2
        chosen = torch.cat([first[(random[:half] * len(first)).long()], (random[half:] * total).long()])
    return replace(patient, images=images[chosen], mask=None), patient.mask[chosen]

"""A patient's slices as a network's input, fewer of them or of the contrasts in a step, made ones joined, and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from monai.transforms import KeepLargestConnectedComponent
from torch import Tensor

from fedspine.cohort.augment import plain
from fedspine.cohort.tensors import PatientTensors


def arranged(patient: PatientTensors, dimensions: float = 2, *, planes: bool = True) -> Tensor:
    """Return the input of a network.

    Args:
        patient: its slices in order.
        dimensions: 2, 2.5 or 3.
        planes: whether a plane a contrast says if it is there.

    Returns:
        (slice, channel, row, column), or (1, channel, slice, row, column) in 3 dimensions.
    """
    images = with_neighbours(patient.images) if dimensions == 2.5 else patient.images
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


def with_fewer_slices(patient: PatientTensors, count: int, draws: torch.Generator, *, together: bool) -> PatientTensors:
    """Return the patient with `count` slices; as it is with 0, or without a mask.

    Half of them (rounded up) are drawn from those that show a structure, where one does, and the rest from all, each
    anew. Neighbours, `together`, lie around one that is drawn from those that show a structure half of the time; where
    there are no more than that, all are taken.
    """
    total = len(patient.images)
    if not count or patient.mask is None or (together and count >= total):
        return patient
    shown = patient.mask.flatten(1).any(1).nonzero()[:, 0]
    first = shown if len(shown) else torch.arange(total)
    random = torch.rand(count + 1, generator=draws, dtype=torch.float64)
    if together:
        middle = int(first[int(random[0] * len(first))]) if random[-1] < 0.5 else int(random[0] * total)
        begin = min(max(middle - count // 2, 0), total - count)
        chosen = torch.arange(begin, begin + count)
    else:
        half = (count + 1) // 2
        chosen = torch.cat([first[(random[:half] * len(first)).long()], (random[half:count] * total).long()])
    return patient.with_images(patient.images[chosen], patient.mask[chosen])


def stacked(made: Sequence[PatientTensors], slices: int, *, by_class: bool) -> list[PatientTensors]:
    """Return made patients of `slices` slices each, of as many made ones with one slice; volumes as they are.

    A step on made patients then sees as many slices as one on real ones. A contrast that one of them lacks is absent.

    Args:
        made: with one slice, or volumes.
        slices: of a patient.
        by_class: whether only slices of one class meet, and keep it: for a task that asks for it, slices that are too
            few to fill a patient are left out. Without, slices meet as they come, and have no class.
    """
    if any(len(one.images) > 1 for one in made):
        return list(made)
    meeting: dict[int, list[PatientTensors]] = {}
    for one in made:
        meeting.setdefault(one.label if by_class else -1, []).append(one)
    return [
        replace(_one_of(group), label=label)
        for label, some in meeting.items()
        for at in range(0, len(some), slices)
        if len(group := some[at : at + slices]) == slices or not by_class
    ]


def _one_of(group: Sequence[PatientTensors]) -> PatientTensors:
    present = torch.stack([one.present for one in group]).amin(0)
    images = torch.cat([one.images for one in group]) * present[:, None, None]
    masks = [one.mask for one in group if one.mask is not None]
    whole = torch.cat(masks) if masks else None
    return replace(group[0], images=images, present=present, mask=whole)


def largest_parts(masks: Tensor) -> Tensor:
    """Return the largest connected part of each structure, neighbours over corners too; nothing stays nothing.

    Args:
        masks: (slice, structure, row, column) in {0, 1}; slices in order.
    """
    keep = KeepLargestConnectedComponent(applied_labels=range(masks.shape[1]), is_onehot=True)
    return plain(keep(masks.transpose(0, 1))).transpose(0, 1)

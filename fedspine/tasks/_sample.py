"""What a critic is shown: images with masks, presence of contrasts and classes, of a patient or made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.networks.differentiable import augmented

MASK_LEVEL = 0.4
"""A made pixel belongs to the lesion from this value on."""

MASK_WEIGHT = 4.0
"""How much louder the critic hears the mask than a contrast: a lesion is a few pixels, and would go unheard."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Images for a critic.

    Args:
        images: (image, contrast, [slice,] row, column), about [0, 1].
        masks: (image, 1, [slice,] row, column) in [0, 1].
        present: (image, contrast), 1 where the contrast is there.
        labels: (image,) index into the plan's classes, -1 where unknown.
    """

    images: Tensor
    masks: Tensor
    present: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def detached(self) -> Sample:
        """Return the same sample without the way back to whoever made it."""
        return replace(self, images=self.images.detach(), masks=self.masks.detach())


@dataclass(frozen=True)
class Frame:
    """What a GAN makes.

    Args:
        contrasts: how many.
        omics: how many columns the plan has; made patients have none of them.
        classes: how many the plan has.
        grid: pixels a side of the plan.
        size: pixels a side that the GAN makes.
        slices: of a made volume; 0 for single slices.
    """

    contrasts: int
    omics: int
    classes: int
    grid: int
    size: int
    slices: int


def real(patient: PatientTensors, frame: Frame, *, healthy: bool) -> Sample | None:
    """Return what this patient shows the critic, shrunk to the GAN's size; `None` where there is nothing.

    Args:
        patient: one patient.
        frame: the GAN's. Single slices: those with a lesion. A volume: all slices, as many as the patient has.
        healthy: whether a patient whose mask is empty counts too, with all slices.
    """
    lesion = patient.lesion
    if lesion is None or not patient.has_image:
        return None
    images, masks = patient.images.clamp(0, 1), lesion
    lesions = masks.flatten(1).any(1)
    if not bool(lesions.any()) and not healthy:
        return None
    if frame.slices:
        images, masks = images.transpose(0, 1)[None], masks.transpose(0, 1)[None]
    elif bool(lesions.any()):
        images, masks = images[lesions], masks[lesions]
    images, masks = shrunk(images, masks, frame.size)
    labels = torch.full((len(images),), patient.label)
    return Sample(images, masks, patient.present.expand(len(images), -1), labels)


def shrunk(images: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return images by their mean and masks by their maximum on `size` rows and columns."""
    if images.shape[-1] == size:
        return images, masks
    if images.ndim == 4:
        return F.adaptive_avg_pool2d(images, size), F.adaptive_max_pool2d(masks, size)
    shape = (images.shape[2], size, size)
    return F.adaptive_avg_pool3d(images, shape), F.adaptive_max_pool3d(masks, shape)


def shown(sample: Sample, kinds: tuple[str, ...], draws: torch.Generator, chance: float = 1.0) -> Tensor:
    """Return the critic's input: augmented contrasts, blank where absent, then the mask, then which are there.

    Each kind of augmentation is done with probability `chance`.
    """
    contrasts = sample.images.shape[1]
    moved = augmented(torch.cat([sample.images, sample.masks], dim=1), contrasts, kinds, draws, chance)
    images, masks = moved[:, :contrasts], moved[:, contrasts:]
    flags = sample.present.view(*sample.present.shape, *(1,) * (images.ndim - 2)).expand_as(images)
    return torch.cat([images * flags, MASK_WEIGHT * masks, flags], dim=1)


def alike(made: Sample, real_one: Sample) -> Sample:
    """Return `made` with the real sample's contrasts, and of volumes as many slices, taken evenly."""
    images, masks = made.images, made.masks
    if images.ndim == 5:
        wanted, given = real_one.images.shape[2], images.shape[2]
        which = torch.arange(wanted) * given // wanted
        images, masks = images[:, :, which], masks[:, :, which]
    return replace(made, images=images, masks=masks, present=real_one.present)


def random_presence(present: Tensor, missing: float, draws: torch.Generator) -> Tensor:
    """Return `present` (image, contrast), each contrast gone with probability `missing`, but never an image's last one.

    No patient whom a critic meets is without any, so blank images would teach it, and the generator, nothing.
    """
    drawn = torch.rand(present.shape, generator=draws) * present
    last = drawn == drawn.amax(1, keepdim=True)
    return present * ((drawn >= missing) | last)


def patients_of(sample: Sample, frame: Frame) -> list[PatientTensors]:
    """Return made patients on the plan's grid: a volume each, or a single slice."""
    shape = (*sample.images.shape[2:-2], frame.grid, frame.grid)
    mode = "trilinear" if frame.slices else "bilinear"
    whole = torch.cat([sample.images, sample.masks], dim=1)
    if frame.grid != frame.size:
        whole = F.interpolate(whole, shape, mode=mode)
    no_omics = torch.zeros(frame.omics)
    return [
        PatientTensors(
            _by_slice(one[:-1]) * present[:, None, None],
            present,
            (_by_slice(one[-1:]) > MASK_LEVEL).float(),
            label,
            no_omics,
            no_omics,
        )
        for one, present, label in zip(whole, sample.present, sample.labels.tolist(), strict=True)
    ]


def _by_slice(channels: Tensor) -> Tensor:
    """Return (slice, channel, row, column) of (channel, [slice,] row, column)."""
    return channels[None] if channels.ndim == 3 else channels.transpose(0, 1)

"""Ordinary augmentation: one geometry for a patient, other intensities for each contrast, nothing out of nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from fedspine.cohort.augment import Strengths, drawn_geometry, traditional
from fedspine.cohort.tensors import PatientTensors

STILL = Strengths(rotation=0, shear=0, scaling=0, shift=0, elastic=0, often=0)
MIRRORED = dataclasses.replace(STILL, mirror=1.0)
MOVING = dataclasses.replace(Strengths(), often=0.0)


def patient(present: tuple[float, ...] = (1.0, 1.0, 0.0), size: int = 64) -> PatientTensors:
    """Return a patient with smooth slices, a square lesion that is bright in every contrast, and an empty rim."""
    rows, columns = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    smooth = (0.3 + 0.2 * torch.sin(6 * rows) * torch.cos(5 * columns)).expand(2, len(present), size, size).clone()
    mask = torch.zeros(2, 1, size, size)
    mask[:, :, 24:40, 30:42] = 1
    smooth += mask * 0.4
    smooth[..., :6] = 0
    flags = torch.tensor(present)
    return PatientTensors(smooth * flags[:, None, None], flags, mask, 1, torch.zeros(2), torch.zeros(2))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def overlap(one: Tensor, other: Tensor) -> float:
    """Return the Dice coefficient of two binary tensors."""
    return float(2 * (one * other).sum() / (one.sum() + other.sum()))


def test_the_same_draws_give_the_same_copy_and_others_another() -> None:
    first, again, other = (traditional(patient(), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_without_strength_nothing_changes() -> None:
    copy = traditional(patient(), seeded(0), STILL)
    assert torch.allclose(copy.images, patient().images, atol=1e-5)
    assert torch.equal(copy.mask, patient().mask)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_the_mask_goes_where_the_lesion_goes_in_every_contrast_and_slice(seed: int) -> None:
    original = patient()
    bright = original.images.clone()
    bright[:, :2] = original.mask  # type: ignore[assignment]
    copy = traditional(original.with_images(bright, original.mask), seeded(seed), MOVING)
    assert copy.mask is not None
    for contrast in (0, 1):
        assert overlap((copy.images[:, contrast : contrast + 1] > 0.5).float(), copy.mask) > 0.97
    assert overlap(copy.mask, original.mask) < 0.99  # type: ignore[arg-type]
    assert bool(((copy.mask == 0) | (copy.mask == 1)).all())


def test_intensities_change_by_contrast_and_not_by_slice() -> None:
    original = patient((1.0, 1.0, 1.0))
    only_brightness = dataclasses.replace(STILL, often=1.0, bias=0, noise=0, resolution=1.0, gamma=(1.0, 1.0))
    ratio = traditional(original, seeded(3), only_brightness).images.sum((2, 3)) / original.images.sum((2, 3))
    assert torch.allclose(ratio[0], ratio[1], atol=1e-4)
    assert len({round(float(r), 3) for r in ratio[0]}) == 3


def test_missing_contrasts_and_padding_stay_zero_and_the_range_is_kept() -> None:
    strong = dataclasses.replace(STILL, often=1.0, noise=0.3, brightness=0.9)
    copy = traditional(patient(), seeded(4), strong)
    assert not copy.images[:, 2].any()
    assert not copy.images[..., :6].any()
    assert 0 <= float(copy.images.min()) <= float(copy.images.max()) <= 1.5
    assert not torch.allclose(copy.images[:, :2], patient().images[:, :2], atol=0.05)


def test_a_contrast_looks_the_same_whatever_else_is_there() -> None:
    both, alone = traditional(patient((1, 1, 0)), seeded(5)), traditional(patient((0, 1, 0)), seeded(5))
    assert torch.allclose(both.images[:, 1], alone.images[:, 1])


def test_a_patient_without_images_comes_back_as_it_is() -> None:
    empty = patient((0.0, 0.0, 0.0))
    assert traditional(empty, seeded(0)) is empty


def test_global_randomness_is_neither_used_nor_moved() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    traditional(patient(), seeded(0))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("mirror", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_points_follow_the_image(seed: int, mirror: float) -> None:
    points = torch.tensor([[20.0, 25.0], [40.0, 30.5], [33.3, 44.0], [float("nan"), float("nan")]])
    geometry = drawn_geometry((64, 64), seed, Strengths(mirror=mirror))
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    blobs = torch.stack([torch.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 8) for r, c in points[:3].tolist()])
    warped = geometry.warp(blobs, "bilinear")
    mass = warped.sum((1, 2))
    centres = torch.stack([(warped * rows).sum((1, 2)) / mass, (warped * columns).sum((1, 2)) / mass], dim=1)
    followed = geometry.follow(points)
    assert torch.allclose(followed[:3], centres, atol=0.3)
    assert bool(followed[3].isnan().all())


def test_a_mirror_exchanges_left_and_right_only_when_asked() -> None:
    mirrored = traditional(patient(), seeded(0), MIRRORED)
    assert torch.allclose(mirrored.images, patient().images.flip(-1), atol=1e-5)
    assert torch.equal(mirrored.mask, patient().mask.flip(-1))  # type: ignore[union-attr, arg-type]


def test_the_places_of_the_levels_follow_and_are_unknown_once_outside() -> None:
    places = torch.tensor([[0.0, 32.0, 40.0], [1.0, 10.0, 63.0], [0.0, float("nan"), float("nan")]])
    moved = traditional(dataclasses.replace(patient(), levels=places), seeded(0), MIRRORED).levels
    assert moved is not None
    assert torch.allclose(moved[:2], torch.tensor([[0.0, 32.0, 23.0], [1.0, 10.0, 0.0]]), atol=1e-3)
    assert bool(moved[2, 1:].isnan().all())
    shifted = Strengths(rotation=0, shear=0, scaling=0, shift=0.3, elastic=0, often=0)
    seen = [traditional(dataclasses.replace(patient(), levels=places), seeded(s), shifted).levels for s in range(20)]
    lost = [bool(found[1].isnan().any()) for found in seen if found is not None]
    assert 4 < sum(lost) < 16


def test_slices_apart_each_get_a_geometry_of_their_own_and_masks_follow() -> None:
    together = traditional(patient(), seeded(3))
    apart = traditional(patient(), seeded(3), apart=True)
    assert together.mask is not None
    assert apart.mask is not None
    assert torch.equal(together.mask[0], together.mask[1])
    assert not torch.equal(apart.mask[0], apart.mask[1])
    assert apart.images.shape == patient().images.shape
    bright = patient().images.clone()
    bright[:, :2] = patient().mask  # type: ignore[assignment]
    moved = traditional(patient().with_images(bright, patient().mask), seeded(4), MOVING, apart=True)
    assert moved.mask is not None
    assert overlap((moved.images[:, :1] > 0.5).float(), moved.mask) > 0.97
    assert traditional(patient().with_images(bright, None), seeded(4), apart=True).mask is None

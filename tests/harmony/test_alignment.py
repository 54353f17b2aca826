"""From a scanner's sum to images of the reference scanner: the twin is found, and errors fall on people never seen."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from fedspine.config import DataPlan
from fedspine.errors import InputError
from fedspine.harmony.alignment import Public, align, alignment_of, named, public_centre, public_material
from fedspine.harmony.features import BODY
from fedspine.harmony.fields import roles
from fedspine.harmony.scanner_sum import centred_term, pooled, restored
from fedspine.harmony.twin import public_people, scans, twin_of
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.scanner import CONTRASTS, SCANNERS

DATA = DataPlan(contrasts=CONTRASTS, classes=CLASSES, size=28, slices=2)
SCANNER = SCANNERS[5]  # another field, fat saturated


@lru_cache(maxsize=1)
def material() -> tuple[Public, dict[str, Tensor]]:
    """Return public phantoms, and the alignment of a scanner from the sum over 25 patients of its own."""
    public = public_material(DATA, SCANNERS[0], 3, fitted=16, checked=12)
    patients = scans(public_people(DATA, 25, 99), SCANNER, DATA)
    centre = public_centre(public)
    total = pooled([centred_term(p.images, p.present, roles(CONTRASTS), centre) for p in patients])
    return public, alignment_of(total, 25, SCANNER.protocols, SCANNER.field_tesla, public)


def difference(images: Tensor, truth: Tensor) -> float:
    body = truth > BODY
    return float((images - truth).abs()[body].mean())


def test_aligned_images_are_nearer_to_the_same_people_on_the_reference_scanner() -> None:
    _, arrays = material()
    people = public_people(DATA, 6, 1234)
    before, after = [], []
    for seen, truth in zip(scans(people, SCANNER, DATA), scans(people, SCANNERS[0], DATA), strict=True):
        before.append(difference(seen.images, truth.images))
        after.append(difference(align(seen.images, seen.present, arrays), truth.images))
    assert sum(after) < 0.55 * sum(before)


def test_padding_and_missing_contrasts_stay_zero_and_the_rest_is_aligned_all_the_same() -> None:
    _, arrays = material()
    people = public_people(DATA, 2, 1234)
    (seen, _), (truth, _) = scans(people, SCANNER, DATA), scans(people, SCANNERS[0], DATA)
    images, present = seen.images.clone(), seen.present.clone()
    images[:, 1], present[1] = 0.0, 0.0
    images[..., :3] = 0.0
    moved = align(images, present, arrays)
    assert (moved[:, 1] == 0).all()
    assert (moved[..., :3] == 0).all()
    assert torch.isfinite(moved).all()
    assert difference(moved[:, :1, :, 3:], truth.images[:, :1, :, 3:]) < difference(
        images[:, :1, :, 3:], truth.images[:, :1, :, 3:]
    )
    assert (align(images, torch.zeros_like(present), arrays) == 0).all()


def test_an_alignment_is_nothing_but_finite_arrays_without_an_axis_of_patients() -> None:
    public, arrays = material()
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in arrays.values())
    people = {25, len(public.fitted), len(public.checked)}
    assert not any(people & set(value.shape) for value in arrays.values())
    assert {"slopes", "shift", "factor", "people"} == set(named(arrays, "certainty"))


def test_a_noisy_sum_leaves_the_twin_near_the_prior_and_unsure() -> None:
    public, _ = material()
    patients = scans(public_people(DATA, 25, 99), SCANNER, DATA)
    centre = public_centre(public)
    exact = pooled([centred_term(p.images, p.present, roles(CONTRASTS), centre) for p in patients])
    random = torch.Generator().manual_seed(0)
    noisy = {key: value + 20.0 * torch.randn(value.shape, generator=random) for key, value in exact.items()}
    settings = (SCANNER.protocols, SCANNER.field_tesla, public.fitted[:10], DATA)
    total, _ = restored(exact, 25, centre)
    drowned, noise_sd = restored(noisy, 25, centre, 20.0)
    sure, unsure = twin_of(total, 25, *settings), twin_of(drowned, 25, *settings, noise_sd=noise_sd)
    assert sure.scanner.saturates == SCANNER.saturates
    assert sure.scanner.protocols["T1c"].fat_saturated
    assert sure.scanner.reach_mm == pytest.approx(SCANNER.reach_mm, rel=0.25)
    assert (unsure.covariance.diagonal() >= sure.covariance.diagonal()).all()
    assert unsure.covariance[0, 0] > 4.0 * sure.covariance[0, 0]


def test_a_scanner_without_the_protocol_of_a_contrast_is_refused() -> None:
    with pytest.raises(InputError, match="protocol of every contrast"):
        twin_of({}, 0, {}, 1.5, (), DATA)

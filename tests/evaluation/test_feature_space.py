"""The fixed feature space is the one that was shipped, and tells apart what it was made to tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import simulations.feature_space as making
from fedspine.cohort.tensors import to_tensors
from fedspine.config import DataPlan
from fedspine.errors import InputError
from fedspine.evaluation import feature_space
from fedspine.evaluation.distances import frechet, kernel_distance
from fedspine.evaluation.feature_space import FEATURES, embed
from fedspine.phantom.genome import OMICS_COLUMNS
from fedspine.phantom.patient import draw, to_patient
from fedspine.phantom.scanner import SCANNERS
from fedspine.shipped_weights import read_weights, write_weights

CONTRASTS = ("T1", "T2")


@pytest.fixture(scope="module")
def scans() -> Tensor:
    """(scanner, phantom, contrast, row, column): middle slices of phantoms whom no weight was learned from."""
    plan = DataPlan(contrasts=CONTRASTS, size=64, slices=8)
    seen = []
    for index in range(32):
        phantom = draw(np.random.default_rng([991, index]), shape=(8, 64, 64))
        patients = [to_patient(phantom, "one", SCANNERS[(index + k) % 6], contrasts=CONTRASTS) for k in (0, 3)]
        seen.append([to_tensors(patient, OMICS_COLUMNS, plan).images[4] for patient in patients])
    return torch.stack([torch.stack(one) for one in seen]).transpose(0, 1)


def _points(images: Tensor) -> Tensor:
    with torch.no_grad():
        return embed(images.flatten(0, -3).unsqueeze(1))


def test_any_size_gives_64_features_and_each_image_alone_decides_its_own() -> None:
    images = torch.rand(3, 1, 100, 80, generator=torch.Generator().manual_seed(0))
    points = embed(images)
    assert points.shape == (3, FEATURES)
    assert torch.allclose(points[1:2], embed(images[1:2]), atol=1e-4)
    assert embed(images[:0]).shape == (0, FEATURES)
    with pytest.raises(InputError, match="row, column"):
        embed(images[:, 0])


def test_contrasts_of_new_phantoms_lie_apart(scans: Tensor) -> None:
    points = _points(scans[0]).reshape(-1, 2, FEATURES)
    middle = points[:16].mean(0)  # (contrast, feature)
    nearest = torch.cdist(points[16:].flatten(0, 1), middle).argmin(1)
    assert (nearest == torch.tensor([0, 1] * 16)).float().mean() > 0.9


def test_another_scanner_moves_a_patient_less_than_another_patient_does(scans: Tensor) -> None:
    here, there = (_points(side[:, 1]) for side in scans)
    apart = torch.cdist(here, there)
    assert float(apart.diagonal().mean()) < 0.7 * float(apart.mean())
    assert float((apart.argmin(1) == torch.arange(len(apart))).float().mean()) > 0.5


@pytest.mark.parametrize("distance", [frechet, kernel_distance])
def test_distances_grow_with_blur_noise_and_collapse(
    scans: Tensor, distance: Callable[[Tensor, Tensor], float]
) -> None:
    reference, other = _points(scans[0, :16, 1]), _points(scans[0, 16:, 1])
    floor = distance(reference, other)
    blurred = [F.avg_pool2d(scans[0, 16:, 1:], k, stride=1, padding=k // 2) for k in (3, 5)]
    noise = torch.randn(blurred[0].shape, generator=torch.Generator().manual_seed(1))
    soft, softer = (distance(reference, _points(images)) for images in blurred)
    noisy = distance(reference, _points(scans[0, 16:, 1:] + 0.1 * noise))
    assert floor < soft < softer
    assert noisy > floor
    assert distance(reference, other[:1].repeat(16, 1)) > floor


def test_gradients_reach_the_image_and_never_the_weights() -> None:
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    embed(image).square().sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in feature_space._network().parameters())


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = tmp_path / "weights"
    tensors = read_weights(feature_space.WEIGHTS, feature_space.DIGEST)
    assert write_weights(changed, tensors) == feature_space.DIGEST
    assert write_weights(changed, {**tensors, "mean": tensors["mean"] + 1e-3}) != feature_space.DIGEST
    monkeypatch.setattr(feature_space, "WEIGHTS", changed)
    feature_space._network.cache_clear()
    with pytest.raises(InputError, match="install fedspine again"):
        embed(torch.zeros(1, 1, 64, 64))
    monkeypatch.undo()
    feature_space._network.cache_clear()
    assert feature_space.WEIGHTS.stat().st_size < 1_000_000


def test_the_weights_can_be_learned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "SLICES", 4)
    rows = [making._spine(index) for index in range(3)]
    scans = making.Scans(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(making.learned(scans, 2).state_dict())
    assert states[0].keys() == feature_space._network().state_dict().keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

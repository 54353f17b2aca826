"""Patients who cost nothing: a disc with a brighter lesion, both placed at random."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fedspine.cohort.tensors import PatientTensors

SIDE = 32


def _discs(count: int, seed: int, *, noise: float = 0.05, lesion: float = 0.5) -> list[PatientTensors]:
    """Return patients of two slices and two contrasts: (2, 2, `SIDE`, `SIDE`)."""
    draws = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    patients = []
    for _ in range(count):
        middle, radius = 12 + 8 * torch.rand(2, generator=draws), 8 + 4 * torch.rand((), generator=draws)
        body = ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2).float()
        place = middle + 5 * (torch.rand(2, generator=draws) - 0.5)
        size = 2 + 2 * torch.rand((), generator=draws)
        mask = ((rows - place[0]) ** 2 + (columns - place[1]) ** 2 < size**2).float()
        image = 0.4 * body + lesion * mask
        images = torch.stack([torch.stack([image, 0.8 * body - 0.3 * mask])] * 2)
        images = (images + noise * torch.randn(images.shape, generator=draws)).clamp(0, 1.5)
        patients.append(
            PatientTensors(images, torch.ones(2), mask.expand(2, 1, -1, -1), 0, torch.zeros(0), torch.zeros(0))
        )
    return patients


Discs = Callable[..., list[PatientTensors]]


@pytest.fixture(scope="session")
def discs() -> Discs:
    """Return a function of (count, seed) that makes such patients."""
    return _discs

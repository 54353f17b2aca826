"""How unlike images are: the mean correlation of pairs, whatever their brightness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedspine.tasks._diversity import unlikeness


def test_it_is_numpys_correlation_of_pairs() -> None:
    images = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0))
    table = np.corrcoef(images.flatten(1).numpy())
    expected = 1 - table[~np.eye(6, dtype=bool)].mean()
    assert unlikeness(images) == pytest.approx(expected, abs=1e-5)


def test_one_image_however_bright_and_images_without_contrast_are_all_alike() -> None:
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    brightness = torch.linspace(0.2, 1.5, 5)[:, None, None]
    assert unlikeness(brightness * image + 0.1) == pytest.approx(0.0, abs=1e-5)
    assert unlikeness(brightness.expand(5, 8, 8)) == 0.0
    assert unlikeness(torch.cat([image, torch.ones(1, 8, 8)])) == 0.0

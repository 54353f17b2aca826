"""Intervals hold the truth as often as they should, and are wider where errors are larger."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedspine.errors import InputError
from fedspine.harmony.certainty import (
    EVIDENCE,
    REGIONS,
    calibrated,
    deviations,
    evidence,
    interval,
    noise_level,
    region_means,
    reliability,
)

CONTRASTS = 3


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (told, errors, values, true deviations) of people whose errors grow with their noise."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, len(REGIONS), CONTRASTS)
    told = torch.cat([torch.ones(*shape, 1), torch.randn(*shape, len(EVIDENCE) - 1, generator=random)], dim=3)
    spread = torch.tensor([0.01, 0.02, 0.05]) * (0.5 * told[..., 1]).exp()
    errors = 0.01 + spread * torch.randn(shape, generator=random)
    values = 0.4 + 0.1 * torch.randn(shape, generator=random)
    return told, errors, values, spread


def test_intervals_hold_the_truth_of_people_who_were_not_learned_from() -> None:
    model = calibrated(*drawn(80, 1)[:3])
    told, errors, values, _ = drawn(400, 2)
    means = values - errors
    ends = [interval(mean, row, model) for mean, row in zip(means, told, strict=True)]
    held = torch.stack([(low <= value) & (value <= high) for (low, high), value in zip(ends, values, strict=True)])
    share = held.float().mean(0)
    assert ((share > 0.82) & (share < 0.98)).all()
    assert 0.87 < float(share.mean()) < 0.95


def test_deviations_follow_what_images_tell() -> None:
    model = calibrated(*drawn(120, 3)[:3])
    told, _, _, spread = drawn(50, 4)
    found = torch.stack([deviations(row, model) for row in told])
    assert float(torch.corrcoef(torch.stack([found.log().flatten(), spread.log().flatten()]))[0, 1]) > 0.9
    sure = reliability(found.mean(0), model)
    assert (sure[:, 0] > sure[:, 2]).all()
    assert ((sure > 0) & (sure <= 1)).all()


def test_a_region_that_nobody_has_is_as_uncertain_as_can_be() -> None:
    told, errors, values, _ = drawn(30, 5)
    errors[:, 1] = torch.nan
    model = calibrated(told, errors, values)
    found = deviations(told[0], model)
    assert torch.isfinite(found).all()
    assert float(found[1].min()) > float(found[0].max())


def test_noise_is_estimated_from_the_image_alone() -> None:
    random = torch.Generator().manual_seed(0)
    smooth = 0.5 + 0.3 * torch.linspace(0, 1, 64).expand(4, 1, 64, 64)
    for level in (0.01, 0.05):
        found = noise_level(smooth + level * torch.randn(smooth.shape, generator=random))
        assert float(found[0]) == pytest.approx(level, rel=0.1)


def test_a_person_without_a_lesion_has_no_mean_there_but_evidence_all_the_same() -> None:
    images = torch.full((2, CONTRASTS, 16, 16), 0.4)
    means = region_means(images, torch.zeros(2, 1, 16, 16))
    assert torch.isnan(means[1]).all()
    assert torch.allclose(means[0], torch.tensor(0.4))
    assert torch.isfinite(evidence(images, images + 0.1, None)).all()


def test_evidence_and_errors_of_different_people_are_refused() -> None:
    told, errors, values, _ = drawn(10, 6)
    with pytest.raises(InputError, match="same phantoms"):
        calibrated(told, errors[:5], values)

"""Landmarks from summed histograms: bounded terms, monotone maps, zeros that stay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedspine.errors import InputError
from fedspine.harmony.fields import profile_term, ripple_term, roles
from fedspine.harmony.landmarks import BINS, aligned, histogram_term, landmarks
from fedspine.harmony.scanner_sum import centred_term, summary_term

CONTRASTS = ("T1", "T2", "ADC")
EVERY = torch.ones(3)


def images(seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Return images with padding at the left, (slice, contrast, row, column)."""
    random = torch.Generator().manual_seed(seed)
    body = 0.2 + 0.5 * torch.rand(3, 3, 16, 16, generator=random)
    body = body * scale + shift
    body[..., :4] = 0.0
    return body


def landmark_map(source: Tensor, target: Tensor) -> dict[str, Tensor]:
    return {"source": landmarks(histogram_term(source, EVERY)), "target": landmarks(histogram_term(target, EVERY))}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1e6), st.floats(-1e6, 1e6))
def test_no_patient_adds_more_than_one_whatever_the_images(seed: int, scale: float, shift: float) -> None:
    one = images(seed, scale, shift)
    centre = summary_term(images(1), EVERY, roles(CONTRASTS))
    for parts in (
        summary_term(one, EVERY, roles(CONTRASTS)),
        centred_term(one, EVERY, roles(CONTRASTS), centre),
    ):
        assert float(torch.cat([part.flatten() for part in parts.values()]).norm()) <= 1.0 + 1e-5
    for term in (histogram_term(one, EVERY), profile_term(one, EVERY), ripple_term(one, EVERY)):
        assert torch.isfinite(term).all()
        assert float(term.norm()) <= 1.0 + 1e-5


def test_a_missing_contrast_adds_nothing() -> None:
    term = histogram_term(images(0), torch.tensor([1.0, 0.0, 1.0]))
    assert float(term[1].abs().sum()) == 0.0
    assert float(term[0].sum()) > 0.0


def test_landmarks_undo_another_scale() -> None:
    one, other = images(1), images(2, scale=0.6, shift=0.1)
    moved = aligned(other, EVERY, landmark_map(other, one))
    truth = images(2)
    before, after = ((x - truth).abs().mean() for x in (other, moved))
    assert float(after) < 0.15 * float(before)


def test_what_is_zero_stays_zero_and_the_adc_is_left_alone() -> None:
    one, other = images(1), images(2, scale=0.6, shift=0.1)
    other[:, 1] = 0.0
    present = torch.tensor([1.0, 0.0, 1.0])
    moved = aligned(other, present, {**landmark_map(other, one), "fixed": torch.tensor([0.0, 0.0, 1.0])})
    assert (moved[..., :4] == 0).all()
    assert (moved[:, 1] == 0).all()
    assert torch.equal(moved[:, 2], other[:, 2])
    assert not torch.equal(moved[:, 0], other[:, 0])
    assert torch.isfinite(moved).all()


def test_the_map_keeps_the_order_of_intensities() -> None:
    one, other = images(3), images(4, scale=1.4)
    moved = aligned(other, EVERY, landmark_map(other, one))
    order = other[:, 0].flatten().argsort()
    assert (moved[:, 0].flatten()[order].diff() >= -1e-5).all()


@pytest.mark.parametrize("noise_sd", [0.05, 0.5, 50.0])
def test_noisy_sums_give_ascending_finite_landmarks(noise_sd: float) -> None:
    total = torch.stack([histogram_term(images(seed), EVERY) for seed in range(30)]).sum(0)
    exact = landmarks(total)
    noisy = total + noise_sd * torch.randn(total.shape, generator=torch.Generator().manual_seed(1))
    public = torch.stack([histogram_term(images(seed, shift=0.1), EVERY) for seed in range(40, 60)]).sum(0)
    found = landmarks(noisy, noise_sd, prior=public)
    assert torch.isfinite(found).all()
    assert (found.diff(dim=1) >= 0).all()
    if noise_sd < 0.1:
        assert float((landmarks(noisy, noise_sd) - exact).abs().max()) < 0.15
    if noise_sd > 10.0:  # a drowned sum says nothing
        assert torch.allclose(found, landmarks(public), atol=1e-5)


def test_histograms_of_another_number_of_bins_are_refused() -> None:
    with pytest.raises(InputError, match=f"contrast, {BINS}"):
        landmarks(torch.ones(3, BINS + 1))

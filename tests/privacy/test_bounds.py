"""Honest releases are within the bounds, and what is no release is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedspine.privacy.bounds import adam_travel, joint_norm, longest, loss_range, repeats, shortest
from fedspine.privacy.patient_sum import PatientSum, noise_generator


def released(patients: int, entries: int, sigma: float, clip: float, seed: int) -> torch.Tensor:
    """Return a sum whose patients all pull the same way as hard as they may."""
    term = torch.full((entries,), 1e6)
    total = PatientSum([term], clip)
    for _ in range(patients):
        total.add([term])
    (value,) = total.release(sigma, noise_generator(seed, "bounds"))
    return value


@given(st.integers(0, 300), st.integers(1, 3000), st.floats(0.3, 50), st.floats(1e-3, 100), st.integers(0, 2**31))
def test_an_honest_sum_is_within_the_bounds(patients: int, entries: int, sigma: float, clip: float, seed: int) -> None:
    value = released(patients, entries, sigma, clip, seed)
    norm = joint_norm([value])
    assert shortest(patients, clip, sigma, entries) <= norm <= longest(patients, clip, sigma, entries)
    found, most = repeats(value, sigma * clip)
    assert found <= most


def test_the_bounds_leave_little_room() -> None:
    norm = joint_norm([released(40, 4096, 2.0, 1.0, 5)])
    assert longest(40, 1.0, 2.0, 4096) < 1.5 * norm
    assert shortest(40, 1.0, 2.0, 4096) > 0.4 * norm


def test_terms_that_were_not_clipped_are_too_long() -> None:
    rows = torch.rand(40, 4096) * 100
    assert joint_norm([rows.sum(0)]) > longest(40, 1.0, 2.0, 4096)


def test_a_long_sum_without_noise_is_too_short() -> None:
    rows = torch.nn.functional.normalize(torch.rand(40, 4096), dim=1)
    assert joint_norm([rows.sum(0)]) < shortest(40, 1.0, 2.0, 4096)


def test_counts_without_noise_repeat_themselves() -> None:
    counts = torch.zeros(7, 9).index_put((torch.arange(7), torch.arange(7)), torch.tensor(3.0))
    found, most = repeats(counts, 2.0)
    assert found > most


def test_a_sum_of_large_numbers_in_few_digits_is_not_accused() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(2000, dtype=np.float32))
    found, most = repeats(1e5 + 0.05 * noise, 0.05)
    assert 100 < found <= most


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99), (0.5, 0.999), (0.5, 0.9)])
def test_no_gradients_move_adam_further_and_some_move_it_almost_as_far(betas: tuple[float, float]) -> None:
    steps, rate = 12, 1e-2
    hardest = torch.tensor([(max(betas[0], 1e-3) / betas[1]) ** (steps - 1 - i) for i in range(steps)])
    gradients = [torch.randn(50, generator=torch.Generator().manual_seed(i)) ** 3 for i in range(steps)]
    furthest, last = 0.0, 0.0
    for columns in (torch.stack(gradients), hardest[:, None]):
        weight = torch.nn.Parameter(torch.zeros(columns.shape[1], dtype=torch.float64))
        optimiser = torch.optim.Adam([weight], lr=rate, betas=betas, eps=1e-30)
        for gradient in columns.double():
            before = weight.detach().clone()
            weight.grad = gradient
            optimiser.step()
            last = float((weight.detach() - before).abs().max())
        furthest = max(furthest, float(weight.detach().abs().max()))
    assert furthest <= adam_travel(rate, betas, steps)
    assert last > 0.99 * adam_travel(rate, betas, 1, before=steps - 1)


def test_a_released_loss_is_within_its_range_and_a_raw_sum_is_not() -> None:
    most = loss_range(30, 15.0, 2.0, 4.0, 0.3)
    honest = (30 * 4.0 + 2.0 * 4.0 / 0.3 * 5) / 15.0
    assert honest < most < 300.0
    assert math.isfinite(most)

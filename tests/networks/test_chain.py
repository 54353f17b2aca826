"""The order of a spine: peaks between pixels, names that neither repeat nor go back."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedspine.networks.chain import SKIPPED, found, ordered, peaks


def hill(places: list[tuple[float, float]], size: int = 64) -> Tensor:
    """Return a heat map with a hill at each place."""
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    heights = [8 * torch.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 6) - 4 for r, c in places]
    return torch.stack(heights).amax(0)


def test_a_peak_is_found_between_pixels() -> None:
    places = [(10.3, 20.0), (30.0, 22.4), (50.5, 25.0)]
    assert torch.allclose(peaks(hill(places)), torch.tensor(places), atol=0.2)


def test_a_flat_or_faint_map_has_no_peak() -> None:
    assert len(peaks(torch.full((64, 64), -4.0))) == 0
    assert len(found(torch.full((64, 64), -4.0), torch.zeros(25, 64, 64), torch.ones(1, 64, 64)).names) == 0


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_the_chain_is_the_best_of_all_orders(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gain, scores = torch.randn(4, generator=generator), torch.randn(4, 5, generator=generator)

    def worth(chain: list[tuple[int, int]]) -> float:
        steps = sum(b[1] - a[1] - 1 for a, b in itertools.pairwise(chain))
        return sum(float(gain[i] + scores[i, level]) for i, level in chain) - SKIPPED * steps

    every = [
        list(zip(chosen, names, strict=True))
        for count in range(1, 5)
        for chosen in itertools.combinations(range(4), count)
        for names in itertools.combinations(range(5), count)
    ]
    best = max(map(worth, every))
    assert worth(ordered(gain, scores)) == pytest.approx(max(best, 0.0), abs=1e-4)


def test_one_wrong_name_is_set_right_by_its_neighbours() -> None:
    places = [(8.0 + 9 * i, 30.0) for i in range(5)]
    names = torch.zeros(25, 64, 64)
    for i, said in enumerate((19, 20, 20, 22, 23)):  # L1, L2, L2 again, L4, L5
        names[said, 6 + 9 * i : 11 + 9 * i, 28:33] = 2.0
    seen = found(hill(places), names, torch.full((3, 64, 64), 1 / 3))
    assert seen.names.tolist() == [19, 20, 21, 22, 23]
    assert torch.allclose(seen.slices, torch.ones(5))
    assert math.isclose(float(seen.heat.min()), 1 / (1 + math.exp(-4)), rel_tol=0.05)

"""The study of real lumbar spines, on drawn ones: what counts as a body, its name, and as found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedspine.cohort.levels import VERTEBRAE
from fedspine.networks.chain import Found
from simulations.lumbar_study import (
    Spine,
    dice_of,
    figures_of_fold,
    found_in,
    named,
    on_grid,
    pieces,
    plan_of,
    read,
    summary,
)

L4, L5 = VERTEBRAE.index("L4"), VERTEBRAE.index("L5")


def drawn(side: int = 64) -> NDArray[np.uint8]:
    """Return a mask (row, column): two bodies, a cut one above, a canal, and a spinous process behind it."""
    mask = np.zeros((side, side), np.uint8)
    mask[10:58, 40:44] = 3
    mask[40:54, 20:34] = mask[20:34, 22:36] = 1
    mask[35:39, 21:34] = 2
    mask[0:6, 24:38] = 1
    mask[42:60, 50:60] = 1
    return mask


def spine() -> Spine:
    bodies, unclear = pieces(drawn())
    images = np.random.default_rng(0).integers(0, 40, (2, 64, 64)).astype(np.uint8) + 60 * (drawn() > 0).astype(
        np.uint8
    )
    return Spine("1", images, np.stack([drawn()] * 2), named([bodies, bodies[1:]]), (unclear, unclear))


def test_bodies_lie_before_the_canal_and_cut_ones_are_unclear() -> None:
    bodies, unclear = pieces(drawn())
    assert bodies.tolist() == [[26.5, 28.5], [46.5, 26.5]]
    assert unclear.tolist() == [[2.5, 30.5]]
    assert [len(each) for each in pieces(np.ones((64, 64), np.uint8))] == [0, 0]


def test_names_are_counted_from_the_lowest_body_of_the_fullest_slice() -> None:
    first, second = spine().bodies
    assert first[:, 2].tolist() == [L4, L5]
    assert second[:, 2].tolist() == [L5]


def test_slices_come_to_the_grid_as_they_are() -> None:
    data = plan_of("levels", 32, 1, 1e-3).data
    first, second = on_grid(spine(), data)
    assert first.mask is not None
    assert first.mask.shape == (1, 3, 32, 32)
    assert first.levels is not None
    assert first.levels[L5].tolist() == [0.0, 23.0, 13.0]
    assert second.levels is not None
    assert bool(second.levels[L4].isnan().all())


def test_a_find_counts_within_five_pixels_and_an_unclear_piece_is_neither_right_nor_wrong() -> None:
    places = torch.tensor([[1.0, 15.0], [13.0, 14.0], [23.0, 16.0], [5.0, 2.0]])
    seen = Found(places, torch.zeros(4), torch.tensor([20, L4, 22, 24]), torch.ones(4))
    counts = found_in(seen, spine(), 0, 32)
    assert counts == {"bodies": 2, "close": 1, "named": 1, "none": 1, "finds": 4}
    figures = summary({"a": counts, "b": {**counts, "close": 2}}, "levels")
    assert figures["of all bodies"] == {"close": 0.75, "named": 0.5}


def test_dice_is_taken_at_the_files_own_resolution() -> None:
    truth = np.stack([drawn(), drawn()])
    likely = torch.stack([torch.from_numpy(truth == number) for number in (1, 2, 3)], dim=1).float()
    assert dice_of(likely, truth) == {"vertebra": 1.0, "disc": 1.0, "canal": 1.0}
    assert dice_of(torch.zeros(2, 3, 32, 32), truth)["disc"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("part", ["structures", "levels"])
def test_a_fold_is_trained_and_tested_on_other_patients(tmp_path: Path, part: str) -> None:
    one = spine()
    file = tmp_path / "slices.npz"
    whose = np.repeat(["a", "b"], 2)
    np.savez(file, images=np.concatenate([one.images] * 2), masks=np.concatenate([one.masks] * 2), patient=whose)
    spines = read(file)
    assert [each.name for each in spines] == ["a", "b"]
    figures = figures_of_fold(spines, (1,), plan_of(part, 64, 2, 1e-3), seed=0)
    assert list(figures) == ["b"]
    assert all(value >= 0 for value in figures["b"].values())

"""Masks against masks, by hand and against scipy's distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from torch import Tensor

from fedspine.errors import InputError
from fedspine.evaluation.segmentation import mask_metrics

SPACING = (4.0, 1.0, 0.5)


def _block(shape: tuple[int, int, int], *, start: int, side: int) -> Tensor:
    mask = torch.zeros(shape)
    mask[:, start : start + side, start : start + side] = 1
    return mask


def test_overlap_is_counted_by_hand() -> None:
    truth, predicted = _block((2, 16, 16), start=2, side=4), _block((2, 16, 16), start=4, side=4)
    found = mask_metrics(predicted, truth, SPACING)
    assert found["dice"] == pytest.approx(2 * 8 / 64)
    assert found["iou"] == pytest.approx(8 / 56)
    assert found["precision"] == found["recall"] == pytest.approx(0.25)
    assert found["specificity"] == pytest.approx(1 - 24 / (512 - 32))


@pytest.mark.parametrize("slices", [1, 5])
def test_the_hausdorff_distance_is_that_between_the_borders_in_millimetres(slices: int) -> None:
    masks = [_block((slices, 24, 24), start=3, side=9), _block((slices, 24, 24), start=6, side=12)]
    masks[0][0, 20, 20] = 1
    found = mask_metrics(masks[0], masks[1], SPACING)["hausdorff95_mm"]
    points = []
    for mask in masks:
        inside = mask.bool().numpy()
        inner = binary_erosion(inside[0])[None] if slices == 1 else binary_erosion(inside)
        points.append(np.argwhere(inside & ~inner) * np.array(SPACING))
    apart = cdist(*points)
    assert found == pytest.approx(max(np.percentile(apart.min(axis), 95) for axis in (0, 1)), rel=1e-5)


def test_an_empty_mask_is_perfect_or_as_bad_as_can_be() -> None:
    empty, full = torch.zeros(3, 8, 8), _block((3, 8, 8), start=1, side=3)
    nothing = mask_metrics(empty, empty, SPACING)
    assert (nothing["dice"], nothing["iou"], nothing["hausdorff95_mm"]) == (1.0, 1.0, 0.0)
    diagonal = math.sqrt(12**2 + 8**2 + 4**2)
    for pair in ((empty, full), (full, empty)):
        missed = mask_metrics(*pair, SPACING)
        assert (missed["dice"], missed["iou"]) == (0.0, 0.0)
        assert missed["hausdorff95_mm"] == pytest.approx(diagonal)


def test_masks_of_two_grids_are_refused() -> None:
    with pytest.raises(InputError, match="one grid"):
        mask_metrics(torch.zeros(2, 8, 8), torch.zeros(2, 8, 9), SPACING)

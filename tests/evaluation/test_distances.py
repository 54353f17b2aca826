"""Distances against closed forms and other libraries; overlap, likeness and memory by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics.fid import get_fid_score
from torch import Tensor

from fedspine.evaluation.distances import frechet, kernel_distance, overlap
from fedspine.evaluation.diversity import likeness
from fedspine.evaluation.neighbours import memorisation
from fedspine.evaluation.radiomics import NAMES, radiomic_features


def _normal(count: int, features: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return shift + scale * torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def test_the_frechet_distance_is_monais_and_that_of_normal_distributions() -> None:
    one, other = _normal(4000, 4, 0), _normal(4000, 4, 1, shift=1.0, scale=2.0)
    assert frechet(one, other) == pytest.approx(float(get_fid_score(one.double(), other.double())), rel=1e-6)
    assert frechet(one, other) == pytest.approx(4 * (1 + 1), rel=0.1)  # 4 features of shift 1 and deviations 1 and 2
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_survives_fewer_images_than_features() -> None:
    found = frechet(_normal(8, 64, 0), _normal(8, 64, 1))
    assert math.isfinite(found)
    assert found > frechet(_normal(80, 64, 0), _normal(80, 64, 1))  # biased upwards by few images, as it says


def test_the_kernel_distance_equals_a_double_loop_and_is_unbiased() -> None:
    one, other = _normal(6, 3, 0).double(), _normal(5, 3, 1, shift=0.5).double()

    def kernel(x: Tensor, y: Tensor) -> float:
        return float((x @ y / 3 + 1) ** 3)

    within = [
        sum(kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / (len(a) * (len(a) - 1))
        for a in (one, other)
    ]
    between = sum(kernel(x, y) for x in one for y in other) / 30
    assert kernel_distance(one, other) == pytest.approx(sum(within) - 2 * between)
    null = [kernel_distance(_normal(10, 3, 2 * i), _normal(10, 3, 2 * i + 1)) for i in range(200)]
    assert abs(np.mean(null)) < 3 * np.std(null) / math.sqrt(len(null))


def test_overlap_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])  # radii of the first neighbour: 1, 1, 1, 8
    made = torch.tensor([[0.5], [0.6], [30.0]])  # radii 0.1, 0.1, 29.4
    found = overlap(real, made, neighbours=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx(4 / 3)  # 0.5 and 0.6 lie in the neighbourhoods of 0 and 1
    assert found.coverage == pytest.approx(2 / 4)
    assert found.recall == pytest.approx(3 / 4)  # all but 0 lie within 29.4 of 30


def test_a_set_over_itself_is_covered_and_a_collapsed_one_covers_little() -> None:
    real = _normal(60, 8, 0)
    same, collapsed = overlap(real, _normal(60, 8, 1)), overlap(real, real[:1] + 0.01 * _normal(60, 8, 2))
    assert same.coverage > 0.9
    assert collapsed.coverage < 0.3
    assert collapsed.precision == 1.0  # which is why precision never stands alone


def test_copies_of_training_patients_are_found_and_new_images_are_not() -> None:
    trained, held_out = ([_normal(3, 16, 100 * s + i) for i in range(20)] for s in (1, 2))
    fresh = memorisation(_normal(100, 16, 7), trained, held_out)
    assert fresh.ratio.low < 1 < fresh.ratio.high
    assert fresh.nearer.low < 0.5 < fresh.nearer.high
    copied = memorisation(torch.cat(trained) + 0.01 * _normal(60, 16, 8), trained, held_out)
    assert copied.ratio.high < 0.2
    assert copied.nearer.value == 1.0
    one_copy = memorisation(torch.cat([_normal(100, 16, 7), trained[4][:1]]), trained, held_out)
    assert one_copy.closest < 1e-3
    assert math.isnan(memorisation(_normal(5, 4, 0), [], [_normal(2, 4, 1)]).ratio.value)


@pytest.mark.parametrize("side", [16, 40, 64, 200])
def test_equal_images_are_alike_and_noise_is_not_at_any_size(side: int) -> None:
    noise = torch.rand(6, 1, side, side, generator=torch.Generator().manual_seed(0))
    assert likeness(noise[:1].repeat(6, 1, 1, 1)).value == pytest.approx(1.0)
    assert likeness(noise).value < 0.3


def test_pairs_of_one_patient_do_not_count_as_likeness() -> None:
    noise = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    twice = noise.repeat_interleave(2, dim=0)
    assert likeness(twice, [0, 0, 1, 1, 2, 2, 3, 3]).value < 0.3
    assert math.isnan(likeness(twice[:2], [0, 0]).value)


def test_radiomic_features_by_hand() -> None:
    flat, mask = torch.full((1, 32, 32), 0.3), torch.zeros(1, 32, 32)
    found = dict(zip(NAMES, radiomic_features(flat, mask)[0].tolist(), strict=True))
    assert found["mean"] == pytest.approx(0.3)
    assert found["deviation"] == found["entropy"] == found["edge mean"] == found["contrast at 1"] == 0
    assert found["homogeneity at 1"] == found["energy at 1"] == 1
    halves = flat.clone()
    halves[:, :, 16:] = 0.9
    mask[:, 4:8, 4:8] = 1
    bright = halves + 0.5 * mask
    found = dict(zip(NAMES, radiomic_features(bright, mask)[0].tolist(), strict=True))
    assert found["lesion share"] == pytest.approx(16 / 1024)
    assert found["lesion conspicuity"] == pytest.approx(0.5 / float(bright.std(correction=0)), rel=0.02)
    plain = dict(zip(NAMES, radiomic_features(halves, 0 * mask)[0].tolist(), strict=True))
    assert plain["entropy"] == pytest.approx(1.0)  # two shades, as often each
    assert plain["lesion share"] == plain["lesion conspicuity"] == 0


def test_radiomic_features_hold_under_a_quarter_turn_and_move_with_blur() -> None:
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(3))
    none = torch.zeros(1, 32, 32)
    turned = radiomic_features(image.rot90(dims=(1, 2)), none)
    assert torch.allclose(turned, radiomic_features(image, none), atol=1e-4)
    soft = torch.nn.functional.avg_pool2d(image[None], 3, stride=1, padding=1)[0]
    sharp, blurred = (dict(zip(NAMES, radiomic_features(x, none)[0].tolist(), strict=True)) for x in (image, soft))
    assert blurred["contrast at 1"] < 0.5 * sharp["contrast at 1"]

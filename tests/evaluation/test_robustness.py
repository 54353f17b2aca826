"""Changes are what they are called, curves fall where they must, and Grad-CAM finds what a network was built to see."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.gradcam import convolutions, heat_maps, localisation, randomised
from fedspine.evaluation.robustness import (
    SHIFTS,
    Shift,
    biased,
    contrast_scaled,
    curves,
    rician,
    scanner_curve,
    without,
)
from fedspine.evaluation.segmentation import mask_metrics

Discs = Callable[..., list[PatientTensors]]


def _threshold(patient: PatientTensors) -> float | None:
    """Score a segmentation by brightness, the simplest of networks."""
    if patient.mask is None:
        return None
    found = (patient.images[:, 0] > 0.65).float()
    return mask_metrics(found, patient.mask[:, 0], (1.0, 1.0, 1.0))["dice"]


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rician_noise_has_the_mean_of_its_distribution_where_there_is_no_signal(discs: Discs) -> None:
    empty = discs(1, 0)[0]
    empty = replace(empty, images=torch.zeros(1, 2, 200, 200))
    noisy = rician(empty, 0.2, _draws()).images
    assert float(noisy.mean()) == pytest.approx(0.2 * math.sqrt(math.pi / 2), rel=0.01)  # Rayleigh
    bright = rician(replace(empty, images=torch.ones(1, 2, 200, 200)), 0.05, _draws()).images
    assert float(bright.std()) == pytest.approx(0.05, rel=0.03)


def test_a_bias_field_is_smooth_and_as_strong_as_it_says(discs: Discs) -> None:
    flat = replace(discs(1, 0)[0], images=torch.full((2, 2, 48, 48), 0.3))
    field = (biased(flat, 0.8, _draws()).images / 0.3).log()
    assert torch.equal(field[0], field[1])  # one field for all slices of a contrast
    for contrast in range(2):
        assert float(field[0, contrast].max()) == pytest.approx(0.8, abs=1e-4)
        assert float(field[0, contrast].min()) == pytest.approx(-0.8, abs=1e-4)
    assert float(field[0].diff(dim=1).abs().max()) < 0.35


def test_contrast_scaling_keeps_black_black_and_the_order_of_shades(discs: Discs) -> None:
    ramp = replace(discs(1, 0)[0], images=torch.linspace(0, 1, 64).reshape(1, 1, 8, 8).repeat(1, 2, 1, 1))
    scaled = contrast_scaled(ramp, 0.6, _draws()).images
    assert bool((scaled.flatten(2).diff() >= 0).all())
    assert float(scaled[..., 0, 0].abs().max()) == 0
    assert not torch.allclose(scaled, ramp.images)


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_a_change_touches_images_alone_and_a_missing_contrast_stays_missing(shift: Shift, discs: Discs) -> None:
    patient = without(discs(1, 0)[0], 1)
    changed = shift.change(patient, shift.levels[-1], _draws())
    assert changed.mask is patient.mask
    assert float(changed.images[:, 1].abs().max()) == 0
    assert float(changed.images.min()) >= 0
    assert float(changed.images.max()) <= 1.5
    again = shift.change(patient, shift.levels[-1], _draws())
    assert torch.equal(changed.images, again.images)


def test_curves_begin_at_the_plain_score_and_fall(discs: Discs) -> None:
    found = {curve.name: curve for curve in curves(_threshold, discs(10, 4), ("T1", "T2"))}
    assert list(found) == [*(shift.name for shift in SHIFTS), "missing contrast"]
    noise = found["Rician noise"].points
    assert noise[0].loss.value == 0
    assert noise[0].score.value > 0.9
    assert noise[-1].score.value < noise[0].score.value - 0.2
    assert noise[-1].loss.high < 0
    missing = {point.level: point for point in found["missing contrast"].points}
    assert missing["T1"].score.value == 0  # what it thresholds is gone
    assert missing["T2"].loss.value == 0  # what it never looks at is not missed


def test_patients_without_another_contrast_are_not_scored_without_their_only_one(discs: Discs) -> None:
    patients = [without(patient, 1) for patient in discs(4, 0)]
    missing = curves(_threshold, patients, ("T1", "T2"))[-1]
    assert all(math.isnan(point.score.value) for point in missing.points[1:])


def test_scanners_are_compared_within_patients(discs: Discs) -> None:
    patients = discs(8, 5)
    darker = [p.with_images(p.images * 0.6, p.mask) for p in patients]
    curve = scanner_curve(_threshold, [patients, darker], ["bright", "dark"])
    assert curve.points[0].loss.low > 0 > curve.points[1].loss.high
    assert curve.points[0].loss.value == pytest.approx(-curve.points[1].loss.value)


class _Spotter(nn.Module):
    """Sees what is bright: a convolution that smooths, a threshold, the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(2, 2, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.maps.weight.zero_()
            self.maps.weight[:, 0] = 1 / 9
            self.maps.bias.copy_(torch.tensor([-0.55, -0.55]))  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = self.act(self.maps(images)).mean()
        return mean


def _bright(model: nn.Module, patient: PatientTensors) -> Tensor:
    result: Tensor = model(patient.images)
    return result


def test_a_network_that_sees_the_lesion_is_told_from_the_same_with_random_weights(discs: Discs) -> None:
    found = localisation(_Spotter(), _bright, discs(12, 6), seed=1)
    assert found.layer == "maps"
    assert found.patients == 12
    assert found.inside.value > 0.7
    assert found.gain.low > 0.2
    assert found.by_chance < 0.1


def test_every_layer_of_a_network_of_pixels_is_looked_at_place_by_place(discs: Discs) -> None:
    model = nn.Sequential(_Spotter().maps, nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        model[2].weight.fill_(1.0)  # type: ignore[operator]

    def pixels(net: nn.Module, patient: PatientTensors) -> Tensor:
        likely: Tensor = net(patient.images)
        return likely[likely.detach() > 0.1].sum()

    found = localisation(model, pixels, discs(8, 7), every=True)
    assert found.layer == "every convolution"
    assert found.patients > 4
    assert found.inside.value > 5 * found.by_chance


def test_localisation_leaves_the_network_as_it_was_and_passes_over_the_healthy(discs: Discs) -> None:
    model = _Spotter()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    healthy = [replace(p, mask=None) for p in discs(3, 0)]
    assert localisation(model, _bright, healthy).patients == 0
    localisation(model, _bright, discs(2, 0))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    fresh = randomised(model, 3).state_dict()
    assert not torch.equal(fresh["maps.weight"], before["maps.weight"])
    assert torch.equal(fresh["maps.weight"], randomised(model, 3).state_dict()["maps.weight"])


def test_heat_maps_equal_monais(discs: Discs) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 3),
    )  # fmt: skip
    images = discs(1, 0)[0].images[:1]
    mine = heat_maps(model, ["2"], lambda: model(images)[0, 1], (1, 32, 32))[0][0].numpy()
    theirs = GradCAM(nn_module=model, target_layers="2", postprocessing=lambda x: x)(images, class_idx=1)
    np.testing.assert_allclose(mine, theirs.detach().numpy()[0, 0], atol=1e-6)
    assert convolutions(model, lambda: model(images).sum()) == ["0", "2"]


def test_volumes_have_heat_maps_too(discs: Discs) -> None:
    torch.manual_seed(0)
    volume = nn.Sequential(nn.Conv3d(2, 4, 3, stride=(1, 2, 2), padding=1), nn.ReLU())
    images = discs(1, 0)[0].images.transpose(0, 1)[None]
    (heat,) = heat_maps(volume, ["0"], lambda: volume(images).square().sum(), (2, 32, 32))
    assert heat.shape == (2, 32, 32)
    assert float(heat.sum()) > 0

"""Segmentation in 2, 2.5 and 3 dimensions, of several structures, with contrasts missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.tasks._federation import start, train
from fedspine.tasks._slices import largest_parts, with_fewer_contrasts, with_fewer_slices
from fedspine.tasks.segment import Segment, task
from simulations.loop import priced

SIZE = 32
DATA = DataPlan(contrasts=("T1", "T2", "STIR"), size=SIZE, slices=4)


def made(data: DataPlan = DATA, **options: Any) -> Segment:
    stage = Stage("segment", "segment", options={"features": [8, 8, 16], **options})
    return task(Plan("p", data=data, stage=(stage,)), stage, {})


def patient(slices: int = 4, structures: int = 1, contrasts: int = 3) -> PatientTensors:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(slices, contrasts, SIZE, SIZE, generator=generator)
    mask = torch.zeros(slices, structures, SIZE, SIZE)
    for index in range(structures):
        mask[1:3, index, 4 + 8 * index : 10 + 8 * index, 8:20] = 1
    return PatientTensors(images, torch.ones(contrasts), mask, -1, torch.zeros(0), torch.zeros(0))


def network(segment: Segment) -> nn.Module:
    torch.manual_seed(0)
    return segment.build()


class Fixed(nn.Module):
    """Gives the logits it was made with."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor, present: Tensor) -> list[Tensor]:
        return [self.logits]


@pytest.mark.parametrize("dimensions", [2, 2.5, 3])
@pytest.mark.parametrize(
    "options", [{}, {"presence": "modulation", "deep_supervision": 1}, {"unshuffle": 2, "sampled_slices": 2}]
)
def test_every_kind_of_network_gives_a_probability_per_structure_and_learns_from_a_patient(
    dimensions: float, options: dict[str, Any]
) -> None:
    segment = made(replace(DATA, structures=("disc", "canal")), dimensions=dimensions, **options)
    model, one = network(segment), patient(structures=2)
    with torch.no_grad():
        likely = segment.predict(model.eval(), one)
    assert likely.shape == (4, 2, SIZE, SIZE)
    assert float(likely.min()) >= 0
    assert float(likely.sum(1).max()) <= 1 + 1e-5
    loss = segment.patient_loss(model.train(), one, torch.Generator().manual_seed(0))
    assert loss is not None
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize(("dimensions", "sees"), [(2, set()), (2.5, {0, 2}), (3, {0, 2})])
def test_a_slice_sees_its_neighbours_in_2_5_and_3_dimensions(dimensions: float, sees: set[int]) -> None:
    segment = made(dimensions=dimensions)
    model, one = network(segment).eval(), patient(slices=3)
    images = one.images.clone()
    images[1] = 0
    with torch.no_grad():
        moved = (segment.predict(model, one) - segment.predict(model, one.with_images(images, None))).abs()
    changed = {index for index in range(3) if float(moved[index].max()) > 1e-6}
    assert sees | {1} <= changed
    assert changed == {1} or dimensions != 2


def test_weights_travel_once_and_there_are_no_buffers() -> None:
    every: tuple[dict[str, Any], ...] = ({}, {"deep_supervision": 1, "presence": "modulation"})
    for options in every:
        model = network(made(**options))
        assert sum(v.numel() for v in model.state_dict().values()) == sum(p.numel() for p in model.parameters())
        assert not list(model.buffers())


def test_the_head_is_what_gives_the_prediction_even_with_deep_supervision() -> None:
    segment = replace(made(deep_supervision=1), trained="head")
    model = network(segment)
    one = patient()
    before = segment.predict(model.eval(), one).detach()
    with torch.no_grad():
        for weight in segment.private_parameters(model):
            weight.add_(1.0)
    assert not torch.allclose(before, segment.predict(model, one).detach())


def test_contrasts_are_dropped_at_about_the_rate_asked_for_and_never_the_last_one() -> None:
    draws = torch.Generator().manual_seed(0)
    one = patient()
    one = replace(
        one, present=torch.tensor([1.0, 1.0, 0.0]), images=one.images * torch.tensor([1.0, 1, 0])[:, None, None]
    )
    seen = [with_fewer_contrasts(one, 0.6, draws) for _ in range(400)]
    kept = torch.stack([s.present for s in seen])
    assert bool((kept.sum(1) >= 1).all())
    assert not bool(kept[:, 2].any())
    assert abs(float(kept[:, 0].mean()) - (0.4 + 0.36 / 2)) < 0.08
    for s in seen[:10]:
        assert torch.equal(s.images.flatten(2).abs().sum((0, 2)) > 0, s.present > 0)


def test_half_of_the_sampled_slices_show_a_lesion() -> None:
    one = patient(slices=12)
    draws = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(30):
        shown = with_fewer_slices(one, 4, draws, together=False)
        assert shown.mask is not None
        assert len(shown.images) == 4
        shares.append(float(shown.mask.flatten(1).any(1).float().mean()))
    assert min(shares) >= 0.5
    assert sum(shares) / 30 < 0.75


def test_a_step_sees_the_sampled_slices_and_a_prediction_all() -> None:
    segment, one = made(sampled_slices=2), patient(slices=6)
    draws = torch.Generator().manual_seed(0)
    assert len(segment.sampled(one, draws).images) == 2
    assert len(made().sampled(one, draws).images) == 6
    assert len(segment.predict(network(segment).eval(), one)) == 6


def test_sampled_slices_of_a_volume_are_neighbours() -> None:
    one = patient(slices=12)
    marked = one.with_images(torch.arange(12.0)[:, None, None, None].expand(12, 3, SIZE, SIZE), one.mask)
    for seed in range(5):
        shown = with_fewer_slices(marked, 5, torch.Generator().manual_seed(seed), together=True)
        assert shown.mask is not None
        assert (shown.images[:, 0, 0, 0].diff() == 1).all()
        assert len(shown.mask) == 5


def test_a_voxel_is_one_structure_at_most() -> None:
    logits = torch.tensor([[-1.0, -2.0], [3.0, 1.0], [1.0, 4.0], [2.0, -1.0]]).T[None, :, None]
    found = made(replace(DATA, structures=("disc", "canal"))).segmented(Fixed(logits), patient(1, 2))
    assert found[0, :, 0].T.tolist() == [[0, 0], [1, 0], [0, 1], [1, 0]]


def test_counts_give_back_the_metrics_of_each_structure() -> None:
    segment = made(replace(DATA, structures=("disc", "canal")))
    one = patient(structures=2)
    assert one.mask is not None
    logits = torch.full_like(one.mask, -9.0)
    logits[:, 0] = 18 * one.mask[:, 0] - 9  # the disc is found exactly, the canal not at all
    counts = segment.evaluate(Fixed(logits), one)
    assert counts is not None
    assert float(torch.cat([value.flatten() for value in counts.values()]).norm()) <= 1 + 1e-6
    metrics = segment.metrics(counts)
    assert metrics["dice disc"] == pytest.approx(1, abs=1e-6)
    assert metrics["dice canal"] == 0
    assert metrics["dice"] == pytest.approx(0.5, abs=1e-6)
    assert metrics["iou"] == pytest.approx(0.5, abs=1e-6)
    assert metrics["recall"] == pytest.approx(0.5)
    assert metrics["hausdorff95_pixels"] == pytest.approx(SIZE / 4 / 2, rel=1e-5)


def test_the_distance_is_measured_in_pixels_of_the_grid() -> None:
    one = patient()
    assert one.mask is not None
    moved = one.mask.roll(3, dims=3)
    counts = made().evaluate(Fixed(18 * moved - 9), one)
    assert counts is not None
    assert made().metrics(counts)["hausdorff95_pixels"] == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"dimensions": 4},
        {"features": [8, 6]},
        {"features": [8] * 6},
        {"unshuffle": 3},
        {"deep_supervision": 2},
        {"presence": "words"},
        {"dropped": 1.0},
        {"loss": "guess"},
        {"precision": "int8"},
        {"sampled_slices": -1},
    ],
)
def test_settings_that_make_no_network_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        made(**options)


def test_images_and_masks_are_mirrored_together_in_about_half_of_the_steps() -> None:
    segment, one = made(mirrored=True), patient()
    assert one.mask is not None
    draws = torch.Generator().manual_seed(0)
    turned = 0
    for _ in range(40):
        seen = segment.sampled(one, draws)
        assert seen.mask is not None
        mirrored = not torch.equal(seen.images, one.images)
        assert torch.equal(seen.mask, one.mask.flip(3) if mirrored else one.mask)
        turned += mirrored
    assert 10 < turned < 30


def test_mirrored_predictions_are_the_mean_of_both_sides() -> None:
    plain, both = made(), made(mirrored=True)
    model, one = network(plain).eval(), patient()
    with torch.no_grad():
        turned = plain.predict(model, one.with_images(one.images.flip(3), None)).flip(3)
        assert torch.allclose(both.predict(model, one), (plain.predict(model, one) + turned) / 2, atol=1e-6)


def test_the_largest_connected_part_of_each_structure_is_kept_through_slices() -> None:
    logits = torch.full((4, 2, SIZE, SIZE), -9.0)
    logits[0, 0, 2:5, 2:5] = 9.0  # three slices that touch over corners: 27 voxels
    logits[1, 0, 5:8, 5:8] = 9.0
    logits[2, 0, 8:11, 8:11] = 9.0
    logits[1, 0, 20:25, 20:25] = 9.0  # larger in its slice, and alone: 25
    logits[3, 1, 0:2, 0:2] = 9.0  # the other structure's only part is smaller than both
    data = replace(DATA, structures=("disc", "canal"))
    whole, largest = (made(data, largest=kept).segmented(Fixed(logits), patient()) for kept in (False, True))
    assert whole.sum((0, 2, 3)).tolist() == [52, 4]
    assert largest.sum((0, 2, 3)).tolist() == [27, 4]
    assert float(largest[1, 0, 20:25, 20:25].sum()) == 0
    assert type(largest) is Tensor
    assert float(largest_parts(torch.zeros(4, 2, SIZE, SIZE)).sum()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("presence", ["planes", "modulation"])
def test_dropping_contrasts_in_training_makes_a_missing_one_cost_less(presence: str) -> None:
    data = replace(DATA, slices=2, structures=("vertebra", "canal"))
    everyone = phantoms(Plan("p", data=data), 36, purpose=1)
    losses = {}
    for dropped in (0.0, 0.4):
        options = {"features": [8, 16, 32], "presence": presence, "dropped": dropped}
        stage = Stage("segment", "segment", rounds=1, steps=100, sample_rate=0.15, learning_rate=6e-3, trained="all")
        plan, stage = priced(Plan("p", data=data), replace(stage, options=options), None, 1e-4)
        segment = task(plan, stage, {})
        model = train(segment, plan, stage, [everyone[:24]], start(segment, stage, [], 0), seed=0)
        whole = dice(segment, model, everyone[24:])
        without = [dice(segment, model, [lacking(one, gone) for one in everyone[24:]]) for gone in range(3)]
        losses[dropped] = whole - sum(without) / 3
    assert losses[0.4] < losses[0.0] - 0.1


def lacking(one: PatientTensors, gone: int) -> PatientTensors:
    kept = torch.ones(len(one.present)).index_fill(0, torch.tensor(gone), 0.0)
    return replace(one, images=one.images * kept[:, None, None], present=one.present * kept)


def dice(segment: Segment, model: nn.Module, patients: list[PatientTensors]) -> float:
    total = segment.counts()
    with torch.no_grad():
        for one in patients:
            for key, value in (segment.evaluate(model, one) or {}).items():
                total[key] += value
    return segment.metrics(total)["dice"]

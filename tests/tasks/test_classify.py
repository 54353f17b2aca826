"""The classification network in its variants, and its loss: everything from one patient and the plan."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedspine.config import DataPlan, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.lesion_classifier import LesionClassifier
from fedspine.networks.parts import chosen_parameters
from fedspine.tasks.classify import Classify, heat_loss, task

from .conftest import DATA, random_patient

VARIANTS: list[dict[str, Any]] = [
    {"network": network, "dimensions": dimensions, "pooling": pooling}
    for network in ("resnet", "densenet")
    for dimensions in (2, 3)
    for pooling in ("attention", "mean")
]


def made(trained: str = "", data: DataPlan = DATA, **options: Any) -> Classify:
    return task(Plan("tiny", data=data), Stage("classify", "classify", trained=trained, options=options), {})


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_every_variant_learns_from_one_patient_and_keeps_no_statistics(variant: dict[str, Any]) -> None:
    classify = made("all", **variant)
    model = classify.build()
    patient = random_patient(torch.Generator().manual_seed(1), complete=True)
    loss = classify.patient_loss(model, patient, torch.Generator().manual_seed(0))
    assert loss is not None
    parameters = classify.private_parameters(model)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    moved = sum(g is not None and bool(g.any()) for g in gradients)
    assert not list(model.buffers())
    assert moved > 0.8 * len(parameters)
    assert not any(isinstance(m, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d) for m in model.modules())
    seen = classify.look(model, patient)
    assert seen.logits.shape == (3,)
    assert seen.heat.shape == (len(patient.images), 1, DATA.size // 2, DATA.size // 2)


@pytest.mark.parametrize("network", ["resnet", "densenet"])
def test_the_order_of_slices_does_not_matter_to_a_2d_network_and_matters_to_a_3d_one(network: str) -> None:
    torch.manual_seed(0)
    patient = random_patient(torch.Generator().manual_seed(1), complete=True)
    other = torch.rand(6, *patient.images.shape[1:], generator=torch.Generator().manual_seed(2))
    for dimensions, same in ((2, True), (3, False)):
        classify = made(network=network, dimensions=dimensions)
        model = classify.build().eval()
        ahead, back = (classify.predict(model, patient.with_images(i, None)) for i in (other, other.roll(2, 0)))
        assert torch.allclose(ahead, back, atol=1e-5) is same


def test_attention_finds_the_lesion_from_masks_alone() -> None:
    torch.manual_seed(0)
    classify = made("all", dropped=0.0)
    model = classify.build()
    draws = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)

    def lesion_at(row: int, column: int) -> Any:
        images, mask = torch.rand(2, 2, 32, 32, generator=draws) * 0.4, torch.zeros(2, 1, 32, 32)
        mask[0, 0, row : row + 8, column : column + 8] = 1
        unlabelled = random_patient(draws, complete=True).with_images(images + 0.5 * mask, mask)
        object.__setattr__(unlabelled, "label", -1)
        return unlabelled

    for step in range(40):
        loss = classify.patient_loss(model, lesion_at(4 * (step % 6), 4 * (step // 6 % 6)), draws)
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    heat = classify.look(model, lesion_at(12, 8)).heat.detach().sigmoid()
    inside = heat[0, 0, 6:10, 4:8].mean()
    assert float(inside) > 0.5
    assert float(heat.sum() - inside * 16) / (heat.numel() - 16) < 0.1


def test_the_heat_maps_loss_is_least_where_the_heat_is_the_mask() -> None:
    mask = torch.zeros(3, 1, 32, 32)
    mask[1, 0, 8:16, 8:16] = 1
    right = torch.full((3, 1, 16, 16), -9.0)
    right[1, 0, 4:8, 4:8] = 9.0
    assert float(heat_loss(right, mask)) < 0.02
    assert float(heat_loss(right.flip(3), mask)) > 0.5


def test_class_weights_prior_and_focus_act_on_one_patients_loss_as_written() -> None:
    logits = torch.tensor([1.0, 0.2, -0.5])
    plain = [float(made().class_loss(logits, label)) for label in range(3)]
    assert plain[1] == pytest.approx(float(-logits.log_softmax(0)[1]), rel=1e-5)
    weighted = made(class_weights=[1.0, 3.0, 1.0])
    assert float(weighted.class_loss(logits, 1)) == pytest.approx(3 * plain[1], rel=1e-5)
    focused = made(focus=2.0)
    assert float(focused.class_loss(logits, 0)) < 0.5 * plain[0]
    rare = made(prior=[0.8, 0.1, 0.1])
    assert float(rare.class_loss(logits, 2)) > plain[2]
    assert float(rare.class_loss(logits, 0)) < plain[0]


def test_a_patient_without_a_class_teaches_where_to_look_and_one_without_a_mask_which_class() -> None:
    classify = made("all")
    model = classify.build()
    patient = random_patient(torch.Generator().manual_seed(1), complete=True)
    draws = torch.Generator().manual_seed(0)
    assert classify.patient_loss(model, patient.with_images(patient.images, None), draws) is not None
    object.__setattr__(patient, "label", -1)
    assert classify.patient_loss(model, patient, draws) is not None
    assert made(mask_weight=0.0).patient_loss(model, patient, draws) is None


def test_the_released_counts_give_calibration_and_the_recall_of_each_class() -> None:
    classify = made()
    counts = classify.counts()
    for label, probability in ((0, 0.95), (2, 0.95), (2, 0.15)):
        counts["confusion"][label, label if probability > 0.5 else 0] += 0.8
        counts["scores"][label, label, int(probability * 10)] += classify.units()["scores"]
    metrics = classify.metrics(counts)
    assert metrics["recall of malignant"] == pytest.approx(0.5)
    assert {"auc", "auprc", "brier", "calibration_error", "recall of benign"} < set(metrics)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"network": "vgg"}, "network must be known"),
        ({"pooling": "max"}, "pooling must be known"),
        ({"widths": [8, 16, 30, 32]}, "widths must be four multiples of 4"),
        ({"class_weights": [1.0, 2.0]}, "a positive number for each of 3 classes"),
        ({"prior": [0.5, 0.5, 0.0]}, "a positive number for each of 3 classes"),
        ({"dimensions": 4}, "dimensions of stage 'classify' must be 2 or 3"),
        ({"dropped": 1.0}, "dropped of stage 'classify' must lie in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        made(**options).build()


def test_the_head_is_what_reads_off_the_features_attention_included() -> None:
    model = made().build()
    assert isinstance(model, LesionClassifier)
    head = {id(p) for p in chosen_parameters(model, "head")}
    assert head == {id(p) for part in model.head_parts for p in model.get_submodule(part).parameters()}
    norms = chosen_parameters(model, "norms and head")
    assert head < {id(p) for p in norms}
    assert sum(p.numel() for p in norms) < 0.05 * sum(p.numel() for p in model.parameters())

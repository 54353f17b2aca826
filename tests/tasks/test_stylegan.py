"""Styles rule scales, truncation brings images nearer to the mean, and the controller of augmentation is one weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedspine.config import Plan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.dcgan import Gan
from fedspine.networks.differentiable import KINDS, augmented
from fedspine.networks.stylegan import Modulated, Pressure, StyleCritic, StyleGenerator
from fedspine.tasks import stylegan
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._task import Generative
from fedspine.tasks.stylegan import FromStyles

from .conftest import DATA, SMALL, random_patient

PATIENT = random_patient(torch.Generator().manual_seed(3), complete=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def gan() -> tuple[Adversarial, Gan]:
    stage = Stage("stylegan", "stylegan", options=SMALL)
    task = stylegan.task(Plan("p", data=DATA, stage=(stage,)), stage, {})
    torch.manual_seed(0)
    return task, task.build()


def parts(gan: tuple[Adversarial, Gan]) -> tuple[FromStyles, StyleGenerator, StyleCritic]:
    task, model = gan
    assert isinstance(task.maker, FromStyles)
    assert isinstance(model.generator, StyleGenerator)
    assert isinstance(model.critic, StyleCritic)
    return task.maker, model.generator, model.critic


def test_a_modulated_convolution_is_one_with_scaled_and_normed_weights() -> None:
    torch.manual_seed(1)
    layer = Modulated(6, 3, 5, 3)
    values, style = torch.randn(2, 3, 8, 8), torch.randn(2, 6)
    found = layer(values, style)
    for image in range(2):
        weight = layer.convolution.weight * layer.convolution.scale * layer.style(style)[image][None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = torch.nn.functional.conv2d(values[image : image + 1], weight, layer.convolution.bias, padding=1)
        assert torch.allclose(found[image : image + 1], expected, atol=1e-5)


def test_made_patients_lie_on_the_plans_grid_with_masks(gan: tuple[Adversarial, Gan]) -> None:
    task, model = gan
    assert isinstance(task, Generative)
    made = task.synthetic(model, 3, seeded())
    assert [patient.images.shape for patient in made] == [(1, 2, 32, 32)] * 3
    assert all(patient.mask is not None and patient.mask.shape == (1, 1, 32, 32) for patient in made)
    again = task.synthetic(model, 3, seeded())
    assert all(torch.equal(one.images, two.images) for one, two in zip(made, again, strict=True))


def test_mixed_styles_take_the_coarse_part_from_one_noise_and_the_fine_from_another(
    gan: tuple[Adversarial, Gan],
) -> None:
    maker, generator, _ = parts(gan)
    styles = maker.styles(generator, 200, seeded())
    changes = (styles[:, 1:] != styles[:, :-1]).any(2).sum(1)
    assert set(changes.tolist()) == {0, 1}
    assert 0.8 < float((changes == 1).float().mean()) < 0.98
    whole = replace(maker, mixing=0.0).styles(generator, 200, seeded())
    assert torch.equal(whole[:, 1:], whole[:, :-1])


def test_truncated_styles_lie_nearer_to_their_mean(gan: tuple[Adversarial, Gan]) -> None:
    maker, generator, _ = parts(gan)

    def spread(truncation: float) -> Tensor:
        used = replace(maker, truncation=truncation)
        return used.styles(generator, 300, seeded()).detach().std(0).mean()

    assert float(spread(0.5) / spread(1.0)) == pytest.approx(0.5, rel=0.05)
    assert float(spread(0.0)) < 1e-6
    untruncated = maker.styles(generator, 300, seeded()).detach().std(0).mean()
    assert float(spread(1.0) / untruncated) == pytest.approx(1.0, rel=1e-3), "in training styles are used as they are"


def test_patients_are_made_with_the_mixing_and_truncation_that_the_plan_names() -> None:
    made = {}
    for truncation in (0.0, 1.0):
        stage = Stage("stylegan", "gan", options={**SMALL, "mixing": 0.0, "truncation": truncation})
        task = stylegan.task(Plan("p", data=DATA, stage=(stage,)), stage, {})
        torch.manual_seed(0)
        people = task.synthetic(task.build(), 8, seeded())
        made[truncation] = torch.stack([one.images for one in people]).std(0).mean()
        assert isinstance(task.maker, FromStyles)
        assert (task.maker.mixing, task.maker.truncation) == (0.0, 1.0)
    assert float(made[0.0]) < 1e-3 * float(made[1.0]), "the mean style makes one image, before noise is let in"


@pytest.mark.parametrize(("name", "value"), [("mixing", 1.5), ("truncation", -0.1)])
def test_shares_out_of_range_are_refused(name: str, value: float) -> None:
    stage = Stage("stylegan", "gan", options={name: value})
    with pytest.raises(ConfigError, match=f"{name} in options of stage 'gan' must lie in"):
        stylegan.task(Plan("p", data=DATA, stage=(stage,)), stage, {})


def test_noise_changes_details_once_a_layer_lets_it_in(gan: tuple[Adversarial, Gan]) -> None:
    maker, generator, _ = parts(gan)
    styles = maker.styles(generator, 2, seeded())
    assert torch.equal(generator(styles, seeded(1)), generator(styles, seeded(2)))
    for name, weight in generator.named_parameters():
        if name.endswith("loudness"):
            torch.nn.init.ones_(weight)
    assert not torch.equal(generator(styles, seeded(1)), generator(styles, seeded(2)))


def test_a_critic_that_is_always_right_raises_the_chance_of_augmentation_and_a_wrong_one_lowers_it() -> None:
    for right, start, rises in ((1.0, 0.0, True), (-1.0, 0.1, False)):
        pressure = Pressure()
        torch.nn.init.constant_(pressure.value, start)
        before = pressure.chance()
        optimiser = torch.optim.Adam(pressure.parameters(), lr=1e-3)
        for _ in range(20):
            optimiser.zero_grad()
            pull = pressure.pull(torch.full((8,), right))
            assert float(pull.detach()) == 0
            pull.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            pressure.hold()
        assert (pressure.chance() > before) == rises
        assert 0 <= pressure.chance() <= Pressure.MOST


def test_the_controllers_signal_is_a_coordinate_of_the_patients_clipped_gradient(gan: tuple[Adversarial, Gan]) -> None:
    task, model = gan
    _, _, critic = parts(gan)
    chosen = task.private_parameters(model)
    assert any(weight is critic.pressure.value for weight in chosen)
    loss = task.patient_loss(model, PATIENT, seeded())
    assert loss is not None
    (slope,) = torch.autograd.grad(loss, [critic.pressure.value])
    assert 0 < abs(float(slope)) <= Pressure.WEIGHT * (1 + Pressure.TARGET)
    made = task.public_loss(model, seeded(), 0)
    assert made is not None
    (untouched,) = torch.autograd.grad(made, [critic.pressure.value], allow_unused=True)
    assert untouched is None


def test_images_are_augmented_as_often_as_the_chance_says() -> None:
    images = torch.rand(400, 3, 16, 16, generator=seeded())
    for kind in KINDS:
        changed = augmented(images, 2, (kind,), seeded(1), 0.3) != images
        assert float(changed.flatten(1).any(1).float().mean()) == pytest.approx(0.3, abs=0.08)
    assert torch.equal(augmented(images, 2, KINDS, seeded(1), 0.0), images)


def test_volumes_are_refused() -> None:
    stage = Stage("stylegan", "stylegan", options={**SMALL, "dimensions": 3})
    with pytest.raises(ConfigError, match="must be 2"):
        stylegan.task(Plan("p", data=DATA, stage=(stage,)), stage, {})

"""What the GANs promise: who sees patients, what is made, and what a penalty does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedspine.config import DataPlan, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.dcgan import Gan
from fedspine.networks.differentiable import KINDS, augmented
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._federation import train
from fedspine.tasks._losses import gradient_penalty, r1
from fedspine.tasks._rounds import Strength, optimiser_of, train_round
from fedspine.tasks._sample import patients_of, random_presence
from fedspine.tasks._task import Generative, Trained, make, public_values
from fedspine.tasks._together import step_together
from fedspine.tasks.conditional_gan import FromMasks
from fedspine.tasks.dcgan import FromNoise
from fedspine.tasks.phantom_gan import FromPhantoms

from .conftest import DATA, SMALL, random_patient

KINDS_OF_GAN = ["dcgan", "wgan_gp", "conditional_gan", "phantom_gan"]
PATIENT = random_patient(torch.Generator().manual_seed(3), complete=True)


def gan_of(kind: str, trained: str = "", **options: object) -> tuple[Adversarial, Gan]:
    """Return a small GAN and its networks, the same ones every time."""
    stage = Stage(kind, kind, trained=trained, options={**SMALL, **options})
    plan = Plan("p", data=DATA, stage=(stage,))
    task = make(plan, stage, public_values(plan, stage, {}))
    assert isinstance(task, Adversarial)
    torch.manual_seed(0)
    return task, task.build()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS_OF_GAN)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_generator_never_feels_a_patient(kind: str, dimensions: int) -> None:
    task, gan = gan_of(kind, dimensions=dimensions)
    loss = task.patient_loss(gan, PATIENT, seeded())
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in gan.generator.parameters())
    assert any(weight.grad is not None for weight in gan.critic.parameters())


@pytest.mark.parametrize("kind", KINDS_OF_GAN)
def test_made_images_move_no_weight_of_the_critic_that_patients_do_not_train(kind: str) -> None:
    task, gan = gan_of(kind, trained="head", critic_steps=1)
    loss = task.public_loss(gan, seeded(), 0)
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    moved = {name for name, weight in gan.critic.named_parameters() if weight.grad is not None}
    assert moved == {"head.weight", "head.bias"}
    assert all(weight.grad is not None for weight in gan.generator.parameters())


def test_a_made_image_is_never_without_any_contrast_and_never_gains_one() -> None:
    there = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).repeat(500, 1)
    left = random_presence(there, 0.5, seeded())
    assert torch.equal(left * there, left)
    assert torch.equal(left.amax(1), torch.ones(1000))
    assert torch.equal(left[1::2], there[1::2])
    assert 0.2 < float((left[::2].sum(1) == 1).float().mean()) < 0.8
    assert torch.equal(random_presence(there, 0.0, seeded()), there)


def test_the_generator_takes_its_turn_after_so_many_steps_of_the_critic() -> None:
    task, gan = gan_of("dcgan", critic_steps=3)
    turns = []
    for step in range(6):
        gan.zero_grad()
        loss = task.public_loss(gan, seeded(), step)
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]
        turns.append(any(weight.grad is not None for weight in gan.generator.parameters()))
    assert turns == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    "data", [replace(DATA, structures=("muscle",)), replace(DATA, body="brain", contrasts=("CT", "STIR"))]
)
def test_where_phantoms_lack_what_the_plan_names_the_default_gan_begins_without_them(data: DataPlan) -> None:
    stage = Stage("gan", "gan", options=SMALL)
    plan = Plan("p", data=data, stage=(stage,))
    check_tasks(plan)
    task = make(plan, stage, public_values(plan, stage, {}))
    assert isinstance(task, Adversarial)
    assert isinstance(task.maker, FromNoise)


def test_a_generator_that_would_never_get_a_turn_is_refused() -> None:
    plan = Plan("p", data=DATA, stage=(Stage("wgan_gp", "wgan_gp", rounds=2, steps=2),))
    with pytest.raises(ConfigError, match="critic_steps of stage 'wgan_gp'"):
        check_tasks(plan)
    check_tasks(replace(plan, stage=(Stage("wgan_gp", "wgan_gp", rounds=5),)))


def test_turns_are_counted_over_rounds_so_that_a_generator_trains_however_short_they_are() -> None:
    task, gan = gan_of("wgan_gp")
    assert isinstance(task, Trained)
    stage, begun = Stage("wgan_gp", "wgan_gp", rounds=5), {k: v.clone() for k, v in gan.state_dict().items()}
    plan, rounds = Plan("p", data=DATA, stage=(stage,)), list[bool]()

    def moved(weights: Mapping[str, Tensor]) -> bool:
        return any(not torch.equal(w, begun[k]) for k, w in weights.items() if k.startswith("generator."))

    train(task, plan, stage, [[PATIENT]], begun, seed=0, watch=lambda _, weights: rounds.append(moved(weights)))
    assert rounds == [False] * 4 + [True]
    for number in (4, 5):
        nothing = [torch.zeros_like(weight) for weight in task.private_parameters(gan)]
        weights, _ = step_together(task, plan, stage, begun, [*nothing, torch.zeros(())], 1.0, number, {})
        assert moved(weights) == (number == 5)


@pytest.mark.parametrize("kind", KINDS_OF_GAN)
@pytest.mark.parametrize(("dimensions", "slices"), [(2, 1), (3, DATA.slices)])
def test_made_patients_lie_on_the_plans_grid_and_the_same_draws_make_the_same(
    kind: str, dimensions: int, slices: int
) -> None:
    task, gan = gan_of(kind, dimensions=dimensions)
    assert isinstance(task, Generative)
    made, again = (task.synthetic(gan, 3, seeded(5)) for _ in range(2))
    for one, other in zip(made, again, strict=True):
        assert one.images.shape == (slices, len(DATA.contrasts), DATA.size, DATA.size)
        assert one.mask is not None
        assert one.mask.shape == (slices, 1, DATA.size, DATA.size)
        assert set(one.mask.flatten().tolist()) <= {0.0, 1.0}
        assert torch.equal(one.images, other.images)
    assert not torch.equal(made[0].images, made[1].images)


@pytest.mark.parametrize("kind", KINDS_OF_GAN)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_private_steps_train_the_critic_and_the_generator_follows(kind: str, dimensions: int) -> None:
    task, gan = gan_of(kind, dimensions=dimensions, critic_steps=1)
    assert isinstance(task, Trained)
    before = {name: weight.clone() for name, weight in gan.state_dict().items()}
    patients = [random_patient(seeded(i), complete=True) for i in range(3)]
    stage, noise = Stage(kind, kind, steps=2), np.random.default_rng(0)
    loss = train_round(task, gan, optimiser_of(task, gan, 1e-2), patients, stage, Strength(1.0, 1.0), noise, seeded())
    assert np.isfinite(loss)
    for part in ("generator", "critic", "average"):
        assert any(not torch.equal(w, before[n]) for n, w in gan.state_dict().items() if n.startswith(part))


def test_r1_is_half_the_squared_slope_and_the_gradient_penalty_vanishes_at_slope_one() -> None:
    weight = torch.tensor([3.0, 4.0])

    def linear(images: torch.Tensor) -> torch.Tensor:
        return images @ weight

    images = torch.rand(5, 2)
    assert float(r1(linear, images)) == pytest.approx(12.5)
    assert float(gradient_penalty(lambda x: linear(x) / 5, images, images + 1, seeded())) == pytest.approx(0, abs=1e-6)
    assert float(gradient_penalty(linear, images, images + 1, seeded())) == pytest.approx(16.0)


def test_the_penalty_reaches_the_critic_through_its_own_slope() -> None:
    gradients = []
    for penalty in (0.0, 10.0):
        task, gan = gan_of("wgan_gp", penalty=penalty)
        loss = task.patient_loss(gan, PATIENT, seeded())
        assert loss is not None
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, task.private_parameters(gan))]))
    assert float((gradients[0] - gradients[1]).norm()) > 1e-2


@pytest.mark.parametrize("shape", [(3, 4, 32, 32), (3, 4, 2, 32, 32)])
def test_augmentation_keeps_shapes_lets_gradients_through_and_shades_no_mask(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape).requires_grad_()
    seen = augmented(images, 3, KINDS, seeded())
    assert seen.shape == shape
    seen.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert bool(images.grad.abs().sum() > 0)
    shaded = augmented(images, 3, ("colour",), seeded())
    assert torch.equal(shaded[:, 3:], images[:, 3:])
    assert not torch.equal(shaded[:, :3], images[:, :3])
    assert torch.equal(augmented(images, 3, (), seeded()), images)


def test_a_given_mask_comes_back_as_the_mask_and_moves_the_image_where_it_lies() -> None:
    task, gan = gan_of("conditional_gan", size=32)
    assert isinstance(task.maker, FromMasks)
    masks = torch.zeros(2, 1, 32, 32)
    masks[1, :, 20:26, 8:14] = 1
    labels, present = torch.tensor([2, 2]), torch.ones(2, len(DATA.contrasts))
    with torch.no_grad():
        made = task.maker.made_for(gan.average, masks, labels, present, seeded())
    healthy, ill = patients_of(made, task.frame)
    assert ill.mask is not None
    assert healthy.mask is not None
    assert torch.equal(ill.mask, masks[1:])
    assert not bool(healthy.mask.any())
    assert (healthy.label, ill.label) == (2, 2)
    with torch.no_grad():
        same_noise = task.maker.made_for(gan.average, masks[:1], labels[:1], present[:1], seeded())
        with_lesion = task.maker.made_for(gan.average, masks[1:], labels[1:], present[1:], seeded())
    assert not torch.equal(same_noise.images, with_lesion.images)


def test_masks_and_classes_to_make_images_for_come_from_phantoms_alone() -> None:
    task, gan = gan_of("conditional_gan")
    assert isinstance(task.maker, FromMasks)
    known = {mask.numpy().tobytes() for mask in task.maker.masks.float()}
    for _ in range(2):
        made = task.maker.make(gan.generator, 16, seeded(), missing=0.1)
        assert {mask.numpy().tobytes() for mask in made.masks} <= known
    assert set(task.maker.labels.tolist()) == {0, 1, 2}
    assert task.maker.masks.dtype == torch.uint8


def test_the_critic_asks_about_the_class_and_leaves_it_out_where_it_is_not_known() -> None:
    _, gan = gan_of("conditional_gan")
    images = torch.rand(3, 2 * len(DATA.contrasts) + 1, 16, 16)
    scores = [gan.critic(images, torch.full((3,), label)) for label in (-1, 0, 1)]
    assert not torch.equal(scores[1], scores[2])
    assert not torch.equal(scores[0], scores[1])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_untrained_refiner_returns_the_phantom_as_it_is_with_its_own_mask(dimensions: int) -> None:
    task, gan = gan_of("phantom_gan", dimensions=dimensions)
    maker = task.maker
    assert isinstance(maker, FromPhantoms)
    made = maker.make(gan.average, 8, seeded(), missing=0.0)
    stock = maker.stock.images.float() / 255
    for image, mask in zip(made.images.detach(), made.masks, strict=True):
        apart = (stock - image).flatten(1).abs().amax(1)
        assert float(apart.min()) < 1e-3
        assert torch.equal(mask, maker.stock.masks[apart.argmin()].float())


def test_made_patients_come_of_phantoms_that_nobody_has_met_and_none_twice() -> None:
    plan = Plan("fresh", data=DATA, stage=(Stage("phantom_gan", "gan", options={**SMALL, "size": 32}),))
    shared = public_values(plan, plan.stage[0], {})
    task = make(plan, plan.stage[0], shared)
    assert isinstance(task, Adversarial)
    model, count = task.build(), 40
    draws = torch.Generator().manual_seed(0)

    def seen(images: torch.Tensor) -> set[bytes]:
        return {(255 * image).round().to(torch.uint8).numpy().tobytes() for image in images}

    first, second = (torch.cat([p.images for p in task.synthetic(model, count, draws)]) for _ in range(2))
    stock = shared["gan.images"].float() / 255
    assert len(seen(first)) == len(seen(second)) == count
    assert not seen(first) & seen(second)
    assert not (seen(first) | seen(second)) & seen(stock)


def test_before_patients_come_the_critic_learns_what_wrong_rendering_is() -> None:
    task, gan = gan_of("phantom_gan")
    before = task.for_phantoms()
    assert before.trained == "all"
    loss = before.public_loss(gan, seeded(), 0)
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in gan.generator.parameters())
    moved = {name for name, weight in gan.critic.named_parameters() if weight.grad is not None}
    assert any(name.startswith("layers") for name in moved)


def test_volumes_of_fewer_slices_than_the_plans_are_no_error() -> None:
    for kind in KINDS_OF_GAN:
        task, gan = gan_of(kind, dimensions=3)
        assert PATIENT.mask is not None
        one = replace(PATIENT, images=PATIENT.images[:1], mask=PATIENT.mask[:1])
        loss = task.patient_loss(gan, one, seeded())
        assert loss is not None
        assert bool(torch.isfinite(loss))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 48}, "power of two"),
        ({"dimensions": 4}, "2 or 3"),
        ({"differentiable": ["color"]}, "colour"),
        ({"width": 6}, "multiples of 4"),
        ({"critic_rate": -1.0}, "must be positive"),
        ({"penalty": -5.0}, "0 or more"),
    ],
)
@pytest.mark.parametrize("kind", [*KINDS_OF_GAN, "stylegan", "gan"])
def test_settings_that_make_no_gan_are_one_sentence(kind: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_tasks(Plan("p", data=DATA, stage=(Stage(kind, kind, options=options),)))


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        ("dcgan", replace(DATA, contrasts=()), "needs images"),
        ("gan", replace(DATA, structures=("vertebra", "disc")), "with one mask; found 2 structures; leave it out"),
        ("phantom_gan", replace(DATA, body="brain", contrasts=("STIR",)), "use dcgan"),
        ("conditional_gan", replace(DATA, body="brain", contrasts=("STIR",)), "use dcgan"),
        ("conditional_gan", replace(DATA, structures=("muscle",)), "use dcgan"),
        ("phantom_gan", replace(DATA, body="brain", contrasts=("CT", "STIR")), "use dcgan"),
        ("phantom_gan", replace(DATA, contrasts=("CT",), structures=("nodule",)), "use dcgan"),
    ],
)
def test_data_of_which_a_gan_can_make_nothing_is_refused_before_anything_is_spent(
    kind: str, data: DataPlan, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check_tasks(Plan("p", data=data, stage=(Stage(kind, kind),)))

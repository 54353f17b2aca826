"""A generator that makes the same image again and again is noticed, and the last good one goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from fedspine.config import DataPlan, Plan, Stage
from fedspine.networks.dcgan import Gan
from fedspine.tasks._adversarial import Adversarial, Maker
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._sample import Sample
from fedspine.tasks._task import Trained, make, public_values
from server.collapse import checked

DATA = DataPlan(contrasts=("T1", "T2"), classes=("normal", "benign", "malignant"), size=32, slices=2)
SMALL = {"size": 16, "width": 4, "critic_width": 4, "latent": 8, "batch": 4}


def lively() -> tuple[Adversarial, dict[str, Tensor]]:
    """Return a task and weights of a generator that makes very different images."""
    stage = Stage("dcgan", "dcgan", options=SMALL)
    task = make(Plan("p", data=DATA, stage=(stage,)), stage, {})
    assert isinstance(task, Adversarial)
    torch.manual_seed(0)
    gan: Gan = task.build()
    with torch.no_grad():
        for network in (gan.generator, gan.average):
            for name, weight in network.named_parameters():
                weight.mul_(8 if name.startswith(("images", "dense")) and weight.ndim > 1 else 1)
    return task, {key: value.clone() for key, value in gan.state_dict().items()}


def collapsed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with a generator that pays no heed to its noise."""
    deaf = ("dense.weight", "style.weight")
    return {
        k: torch.zeros_like(v) if k.endswith(deaf) else v + 0.5 * k.startswith("critic") for k, v in weights.items()
    }


def test_a_collapsed_generator_is_put_back_and_its_critic_goes_on() -> None:
    task, good = lively()
    bad = collapsed(good)
    found = checked(task, good, bad, torch.Generator().manual_seed(1))
    assert found is not None
    assert found.collapsed
    assert found.diversity < 0.05
    for key, value in found.weights.items():
        assert torch.equal(value, bad[key] if key.startswith("critic.") else good[key])


def test_a_diverse_generator_goes_on_as_it_is() -> None:
    task, good = lively()
    found = checked(task, collapsed(good), good, torch.Generator().manual_seed(1))
    assert found is not None
    assert not found.collapsed
    assert found.diversity > task.least_diversity
    assert all(torch.equal(found.weights[key], good[key]) for key in good)


@dataclass(frozen=True)
class OneImage:
    """Makes masks as `maker` does, and always the same image."""

    maker: Maker

    def build(self) -> Gan:
        return self.maker.build()

    def for_phantoms(self) -> OneImage:
        return self

    def make(self, generator: nn.Module, count: int, draws: torch.Generator, *, missing: float) -> Sample:
        made = self.maker.make(generator, count, draws, missing=missing)
        return replace(made, images=made.images[:1].expand_as(made.images))


@pytest.mark.parametrize("kind", ["phantom_gan", "conditional_gan", "dcgan"])
def test_one_image_behind_many_masks_is_a_collapse(kind: str) -> None:
    stage = Stage(kind, kind, options=SMALL)
    plan = Plan("p", data=DATA, stage=(stage,))
    task = make(plan, stage, public_values(plan, stage, {}))
    assert isinstance(task, Adversarial)
    model, draws = task.build(), torch.Generator().manual_seed(0)
    found = replace(task, maker=OneImage(task.maker)).diversity(model, draws)
    assert found is not None
    assert found < 0.05
    if kind == "phantom_gan":  # which begins with phantoms as they are, and they differ as patients do
        own = task.diversity(model, draws)
        assert own is not None
        assert own > 0.75


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("dcgan", replace(DATA, structures=("muscle",))),
        ("dcgan", replace(DATA, body="brain", contrasts=("STIR",))),
        ("gan", replace(DATA, body="brain", contrasts=("STIR",))),
    ],
)
def test_where_phantoms_show_nothing_of_the_kind_nobody_is_called_collapsed(kind: str, data: DataPlan) -> None:
    stage = Stage(kind, kind, options=SMALL)
    plan = Plan("p", data=data, stage=(stage,))
    check_tasks(plan)
    task = make(plan, stage, public_values(plan, stage, {}))
    assert isinstance(task, Trained)
    weights = dict(task.build().state_dict())
    assert checked(task, weights, weights, torch.Generator()) is None


def test_a_task_that_makes_nothing_is_not_asked() -> None:
    stage = Stage("classify", "classify")
    task = make(Plan("p", data=DATA, stage=(stage,)), stage, {})
    assert not isinstance(task, Adversarial)
    assert checked(task, {}, {}, torch.Generator()) is None  # type: ignore[arg-type]

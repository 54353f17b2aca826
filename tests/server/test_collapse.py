"""A generator that makes the same image again and again is noticed, and the last good one goes on."""

from __future__ import annotations

import torch
from torch import Tensor

from fedspine.config import DataPlan, Plan, Stage
from fedspine.networks.dcgan import Gan
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._task import make
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


def test_a_task_that_makes_nothing_is_not_asked() -> None:
    stage = Stage("classify", "classify")
    task = make(Plan("p", data=DATA, stage=(stage,)), stage, {})
    assert not isinstance(task, Adversarial)
    assert checked(task, {}, {}, torch.Generator()) is None  # type: ignore[arg-type]

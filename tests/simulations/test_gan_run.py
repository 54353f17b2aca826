"""A GAN in a whole run: curves, pictures, and the alarm for mode collapse."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from fedspine.tasks import wgan_gp
from simulations.consortium import simulate

from .conftest import Opened, Silent, tiny_plan

PLAN = """
name = "tiny"
seed = 3
[data]
size = 32
slices = 2
[[stage]]
task = "gan"
rounds = 2
steps = 2
learning_rate = 0.01
[stage.options]
size = 16
width = 4
critic_width = 4
latent = 8
batch = 4
"""


@pytest.mark.parametrize(("least", "rounds"), [(0.0, []), (1.0, [1, 2])])
def test_a_run_says_how_diverse_made_images_are_and_when_the_generator_collapsed(
    opened: Opened, least: float, rounds: list[int]
) -> None:
    simulation = opened(tiny_plan(PLAN + f"diversity = {least}\n"))
    simulate(simulation, Silent())
    written = json.loads((simulation.out / "metrics.json").read_text("utf-8"))
    assert {key: len(curve) for key, curve in written["gan"].items()} == {"critic": 2, "generator": 2}
    (stage,) = written["stages"]
    assert len(stage["diversity"]) == 2
    assert all(0 <= share <= 1 for share in stage["diversity"])
    assert stage["collapsed"] == rounds
    assert ("collapsed in round 1, 2" in (simulation.out / "report.html").read_text("utf-8")) == bool(rounds)
    assert "synthetic.images" in load_file(simulation.out / "gallery.safetensors")


def test_a_generator_trains_however_short_the_rounds_at_the_hospitals_are(opened: Opened) -> None:
    text = PLAN.replace('"gan"', '"wgan_gp"').replace("rounds = 2", "rounds = 5").replace("steps = 2", "steps = 1")
    simulation = opened(tiny_plan(text))
    simulate(simulation, Silent())
    (stage,) = simulation.plan.stage
    torch.manual_seed(simulation.plan.seed)
    fresh = wgan_gp.task(simulation.plan, stage, {}).build().state_dict()
    trained = load_file(simulation.out / "models" / "wgan_gp.safetensors")
    assert any(not torch.equal(trained[key], fresh[key]) for key in fresh if key.startswith("generator."))


@pytest.mark.parametrize(("least", "rounds"), [(0.0, []), (1.0, [1, 2])])
def test_translators_are_watched_too(opened: Opened, least: float, rounds: list[int]) -> None:
    small = f"features = [4, 4, 4, 4, 4, 4]\nwidth = 4\ndiversity = {least}\n"
    simulation = opened(
        tiny_plan(PLAN[: PLAN.index("[stage.options]")].replace('"gan"', '"cyclegan"') + "[stage.options]\n" + small)
    )
    simulate(simulation, Silent())
    written = json.loads((simulation.out / "metrics.json").read_text("utf-8"))
    (stage,) = written["stages"]
    assert len(stage["diversity"]) == 2
    assert stage["collapsed"] == rounds
    assert "gan" not in written
    assert ("It collapsed in round 1, 2" in (simulation.out / "report.html").read_text("utf-8")) == bool(rounds)

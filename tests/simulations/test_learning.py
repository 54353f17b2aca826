"""What a stage may ask for besides rounds and steps: where it starts, what the server adds, what stays at a site."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedspine.config import Stage
from fedspine.errors import ConfigError
from fedspine.tasks import segment
from fedspine.wire import schema_of
from server import starting
from simulations.consortium import Simulation, simulate

from .conftest import TINY, Opened, Silent, tiny_plan

MORE = "pretrain_steps = 2\nviews = 2\nserver = 'adam'\naverage = 0.5\npublic_steps = 2\n"
FULL = TINY.replace("pretrain_steps = 2\n", MORE).replace("rounds = 2", "rounds = 3")


class Interrupted(Exception):
    """The machine goes down."""


class Unplugged(Silent):
    """Goes down after the second round of segmentation."""

    def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None:
        """Go down."""
        if stage.task == "segment" and round_number == 2:
            raise Interrupted


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "models" / "segment.safetensors")


def test_a_cut_off_run_remembers_the_servers_moments_and_the_running_average(opened: Opened) -> None:
    whole, broken = opened(tiny_plan(FULL), out="whole"), opened(tiny_plan(FULL), out="broken")
    simulate(whole, Silent())
    with pytest.raises(Interrupted):
        simulate(broken, Unplugged())
    simulate(broken, Silent())
    ours, theirs = weights_of(whole.out), weights_of(broken.out)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("setting", ["views = 2\n", "server = 'adam'\n", "average = 0.5\n", "public_steps = 2\n"])
def test_every_setting_changes_the_network(finished: Simulation, opened: Opened, setting: str) -> None:
    changed = opened(tiny_plan(TINY.replace("rounds = 2", f"rounds = 2\n{setting}")))
    simulate(changed, Silent())
    ours, theirs = weights_of(finished.out), weights_of(changed.out)
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


GAN = """
[[stage]]
task = "gan"
steps = 1
[stage.options]
size = 16
width = 4
critic_width = 4
batch = 2
"""


def test_pretraining_sees_phantoms_and_as_many_made_patients(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    monkeypatch.setattr(starting, "PRETRAIN_PHANTOMS", 4)
    monkeypatch.setattr(
        starting, "pretrain", lambda task, model, patients, *rest: seen.append([len(p.images) for p in patients])
    )
    with_gan = TINY.replace("pretrain_steps = 2", "pretrain_steps = 2\nsynthetic = 'gan'")
    head, tail = with_gan.split('[[stage]]\ntask = "segment"')
    simulate(opened(tiny_plan(f'{head}{GAN}[[stage]]\ntask = "segment"{tail}')), Silent())
    simulate(opened(tiny_plan(), out="phantoms"), Silent())
    (both, alone), slices = seen, tiny_plan().data.slices
    assert alone == [slices] * 4
    assert both[:4] == alone
    assert set(both[4:]) == {min(slices, starting.MADE_SLICES)}, "made slices are patients of several"
    assert 2 <= len(both[4:]) <= 4, "as many but for slices that are too few of their class to fill a patient"


def test_a_stage_starts_from_the_weights_of_another_run(opened: Opened, tmp_path: Path) -> None:
    plan = tiny_plan(TINY.replace("pretrain_steps = 2", "initial = 'start.safetensors'\nlearning_rate = 1e-9"))
    state = segment.task(plan, plan.find("segment"), {}).build().state_dict()
    begin = {key: torch.full_like(value, 0.25) for key, value in state.items()}
    save_file(begin, tmp_path / "start.safetensors")
    simulation = replace(opened(plan), initial=tmp_path)
    simulate(simulation, Silent())
    assert all(torch.allclose(value, torch.tensor(0.25), atol=1e-5) for value in weights_of(simulation.out).values())
    stages = json.loads((simulation.out / "metrics.json").read_text())["stages"]
    assert next(s for s in stages if s["name"] == "segment")["initial"] == 1.0


@pytest.mark.parametrize(("content", "said"), [(b"", "another kind"), (None, "no such file")])
def test_weights_that_cannot_be_read_are_refused_before_a_site_is_asked(
    opened: Opened, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "start.safetensors").write_bytes(content)
    plan = tiny_plan(TINY.replace("pretrain_steps = 2", "initial = 'start.safetensors'"))
    simulation = replace(opened(plan), initial=tmp_path)
    with pytest.raises(ConfigError, match=said):
        simulate(simulation, Silent())
    assert not (simulation.out / "sites").exists()


def test_weights_of_another_network_are_refused(opened: Opened, tmp_path: Path) -> None:
    save_file({"other": torch.zeros(9)}, tmp_path / "start.safetensors")
    plan = tiny_plan(TINY.replace("pretrain_steps = 2", "initial = 'start.safetensors'"))
    with pytest.raises(ConfigError, match="at least half"):
        simulate(replace(opened(plan), initial=tmp_path), Silent())


def test_weights_that_stay_never_travel_and_go_on_where_the_site_left_them(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "outputs.0"
    monkeypatch.setattr(segment.Segment, "stays", (head,), raising=False)
    plan = tiny_plan()
    task = segment.task(plan, plan.find("segment"), {})
    names = set(task.build().state_dict())
    assert any(name.startswith(head) for name in names)
    assert set(schema_of(task, task.build())) == {name for name in names if not name.startswith(head)}
    simulation = opened(plan)
    seen: list[torch.Tensor] = []
    loss = segment.Segment.patient_loss

    def watched(self: segment.Segment, model: torch.nn.Module, *rest: object) -> torch.Tensor | None:
        seen.append(model.state_dict()[f"{head}.conv.conv.bias"].clone())
        return loss(self, model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(segment.Segment, "patient_loss", watched)
    simulate(simulation, Silent())
    kept = weights_of(simulation.out)[f"{head}.conv.conv.bias"]
    assert not torch.equal(seen[-1], kept), "sites went on with heads of their own, the server's stayed"
    assert not list((simulation.out / "sites").rglob("own/*.pt")), "nobody needs them after the last round"

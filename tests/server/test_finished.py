"""A run that is over gives back its networks and whatever makes patients, trained or measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedspine.config import load_plan
from fedspine.errors import ConfigError, InputError
from fedspine.tasks._task import Trained, make, public_values
from server.finished import read_finished
from server.vault import Progress, Vault

PLAN = """
name = "small"
[data]
contrasts = ["T1", "T2"]
classes = ["normal", "benign", "malignant"]
size = 32
slices = 2
[[stage]]
task = "phantom_votes"
rounds = 1
[stage.options]
candidates = 6
[[stage]]
task = "dcgan"
[stage.options]
size = 16
latent = 4
width = 4
[[stage]]
task = "classify"
"""


def _finished(folder: Path) -> Progress:
    plan = load_plan(PLAN)
    shared = public_values(plan, plan.stage[0], {})
    models = {}
    for stage in plan.stage[1:]:
        task = make(plan, stage, shared)
        assert isinstance(task, Trained)
        models[stage.name] = dict(task.build().state_dict())
    progress = Progress(stage=len(plan.stage), models=models, shared=dict(shared))
    vault = Vault(folder)
    vault.begin(plan)
    vault.save(progress)
    return progress


def test_networks_come_back_with_their_weights(tmp_path: Path) -> None:
    saved = _finished(tmp_path)
    found = {stage.name: model for stage, _, model in read_finished(tmp_path).trained()}
    assert set(found) == {"dcgan", "classify"}
    for name, model in found.items():
        assert not model.training
        assert all(torch.equal(value, saved.models[name][key]) for key, value in model.state_dict().items())


def test_trained_and_measured_generators_both_make_patients(tmp_path: Path) -> None:
    _finished(tmp_path)
    generators = {name: (task, model) for name, task, model in read_finished(tmp_path).generators()}
    assert set(generators) == {"phantom_votes", "dcgan"}
    for task, model in generators.values():
        made = task.synthetic(model, 3, torch.Generator().manual_seed(0))
        assert [patient.images.shape[1:] for patient in made] == [(2, 32, 32)] * 3


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved = _finished(tmp_path)
    del saved.models["classify"][next(iter(saved.models["classify"]))]
    Vault(tmp_path).save(saved)
    with pytest.raises(ConfigError, match="weights must fit"):
        read_finished(tmp_path).trained()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run folder"):
        read_finished(tmp_path)


def test_a_run_is_read_back_though_plans_have_got_new_settings_since(tmp_path: Path) -> None:
    _finished(tmp_path)
    file = tmp_path / "plan.toml"
    lines = file.read_text("utf-8").splitlines()
    older = "\n".join(line for line in lines if not line.startswith("views"))
    assert len(older.splitlines()) < len(lines)
    file.write_text(older, encoding="utf-8")
    assert len(read_finished(tmp_path).trained()) == 2

"""`fedspine sheet` and `fedspine stress` on a run that has come to its end: what they write, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from client import hospital
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors
from fedspine.commands import audited, references, stressed
from fedspine.config import HELD_OUT, TRAIN, Plan, load_plan
from fedspine.evaluation.sheet import FORMAT
from fedspine.phantom.writer import write_consortium
from fedspine.tasks._task import Generative, Trained, make
from server import finished
from server.vault import Progress, Vault

from .conftest import Run

PLAN = """
name = "small"
seed = 1
[data]
contrasts = ["T1", "T2"]
classes = ["normal", "benign", "malignant"]
size = 32
slices = 3
held_out = 0.4
[[stage]]
task = "dcgan"
[stage.options]
size = 16
latent = 4
width = 4
[[stage]]
task = "segment"
[stage.options]
features = [4, 4, 4, 4]
[[stage]]
task = "classify"
[[stage]]
task = "levels"
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of networks that nobody has trained."""
    folder = tmp_path_factory.mktemp("judged") / "run"
    plan: Plan = load_plan(PLAN)
    vault = Vault(folder)
    vault.begin(plan)
    models = {}
    torch.manual_seed(2)  # an untrained generator that makes lesions, as not every one does
    for stage in plan.stage:
        task = make(plan, stage, {})
        assert isinstance(task, Trained)
        models[stage.name] = dict(task.build().state_dict())
    vault.save(Progress(stage=len(plan.stage), models=models))
    return folder


@pytest.fixture(autouse=True)
def _few_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by fewer than a person would want."""
    monkeypatch.setattr(references, "PHANTOMS", {TRAIN: 12, HELD_OUT: 9})
    monkeypatch.setattr(stressed, "RESCANNED", 3)


def test_a_run_without_data_is_judged_by_phantoms(fedspine: Run, run_folder: Path, tmp_path: Path) -> None:
    code, out, err = fedspine("sheet", run_folder, "--out", tmp_path, "--made", 16, "--steps", 1)
    assert (code, err) == (0, "")
    written = json.loads((tmp_path / "synthetic.json").read_text("utf-8"))
    assert (written["format"], written["source"]) == (FORMAT, "phantoms")
    assert list(written["generators"]) == ["dcgan"]
    page = (tmp_path / "synthetic.html").read_text("utf-8")
    assert "Judged by phantoms" in page
    assert "://" not in page
    for name in written["generators"]["dcgan"]["entries"]:
        assert name.replace(">", "&gt;") in page
    assert str(tmp_path) in out


def test_real_patients_enter_by_their_folds_and_nothing_of_one_of_them_is_written(
    fedspine: Run, run_folder: Path, tmp_path: Path
) -> None:
    write_consortium(tmp_path / "sites", sites=2, patients=9, shape=(3, 32, 32))
    code, _, err = fedspine(
        "sheet", run_folder, "--data", tmp_path / "sites", "--out", tmp_path, "--made", 16, "--steps", 1
    )
    assert (code, err) == (0, "")
    text = (tmp_path / "synthetic.json").read_text("utf-8")
    found = json.loads(text)["generators"]["dcgan"]
    assert found["trained"] + found["held out"] <= 18
    assert found["trained"] > found["held out"] > 0
    page = (tmp_path / "synthetic.html").read_text("utf-8")
    assert "stays where they are" in page
    names = [line.split(",")[0] for line in (tmp_path / "sites/site-1/patients.csv").read_text().splitlines()[1:]]
    assert not any(name in text or name in page for name in names)


def test_real_patients_are_harmonised_as_the_networks_met_them(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_consortium(tmp_path / "sites", sites=2, patients=5, shape=(3, 32, 32))
    plan, asked = load_plan(PLAN), list[bool]()

    def marked(patient: PatientTensors, shared: object, maps: object) -> PatientTensors:
        asked.append(patient.has_image)
        return replace(patient, images=patient.images + 5)

    monkeypatch.setattr(audited, "harmonised", marked)
    found = references.references(run_folder, plan, tmp_path / "sites")
    assert len(found.trained) + len(found.held_out) == len(asked) == 10
    assert all(float(one.images.min()) >= 5 for one in (*found.trained, *found.held_out))


def test_a_folder_of_another_name_than_its_site_had_is_refused(
    fedspine: Run, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_consortium(tmp_path / "sites", sites=2, patients=5, shape=(3, 32, 32))
    monkeypatch.setattr(audited, "record", lambda run: {"sites": {"Graz": {}, "site-1": {}}})
    code, _, err = fedspine("sheet", run_folder, "--data", tmp_path / "sites")
    assert code == 2
    assert "the run had: Graz, site-1" in err


def test_folders_whose_key_cannot_be_kept_are_refused_in_one_sentence(
    fedspine: Run, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_consortium(tmp_path / "sites", sites=2, patients=5, shape=(3, 32, 32))
    monkeypatch.setattr(
        hospital, "load_cohort", lambda *args, **more: replace(load_cohort(*args, **more), key_kept=False)
    )
    code, _, err = fedspine("sheet", run_folder, "--data", tmp_path / "sites")
    assert code == 2
    assert "who trained cannot be told" in err


def test_a_generator_that_makes_no_lesion_is_named_and_the_others_are_judged(
    fedspine: Run, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = finished.Finished.generators

    class Silent:
        def __init__(self, task: Generative) -> None:
            self.task = task

        def synthetic(self, model: nn.Module | None, count: int, draws: torch.Generator) -> list[PatientTensors]:
            return [replace(one, mask=None) for one in self.task.synthetic(model, count, draws)]

    def with_a_silent_one(self: finished.Finished) -> list[tuple[str, Generative, nn.Module | None]]:
        (_, task, model), *_ = every = found(self)
        return [("silent", Silent(task), model), *every]

    monkeypatch.setattr(finished.Finished, "generators", with_a_silent_one)
    code, said, err = fedspine("sheet", run_folder, "--steps", 1, "--made", 16, "--out", tmp_path / "sheet")
    assert (code, err) == (0, "")
    assert "silent is left out: " in said
    written = json.loads((tmp_path / "sheet" / "synthetic.json").read_text("utf-8"))
    assert written["too few lesions"] == {"silent": "0"}
    assert list(written["generators"]) == ["dcgan"]
    assert "too few lesions" in (tmp_path / "sheet" / "synthetic.html").read_text("utf-8")

    monkeypatch.setattr(finished.Finished, "generators", lambda self: with_a_silent_one(self)[:1])
    code, _, err = fedspine("sheet", run_folder, "--steps", 1, "--made", 16, "--out", tmp_path / "none")
    assert code == 2
    assert "one generator at least must make lesions" in err
    assert not (tmp_path / "none").exists()


def test_a_folder_without_a_finished_run_is_refused_in_one_sentence(
    fedspine: Run, run_folder: Path, tmp_path: Path
) -> None:
    code, _, err = fedspine("sheet", tmp_path)
    assert code == 2
    assert "run folder" in err
    code, _, err = fedspine("sheet", run_folder, "--data", tmp_path / "nowhere")
    assert code == 2
    assert "--data" in err
    vault = Vault(tmp_path / "begun")
    vault.begin(load_plan(PLAN))
    code, _, err = fedspine("sheet", tmp_path / "begun")
    assert code == 2
    assert "come to its end" in err


def test_networks_are_tried_on_harder_images_and_asked_where_they_look(
    fedspine: Run, run_folder: Path, tmp_path: Path
) -> None:
    code, _, err = fedspine("stress", run_folder, "--out", tmp_path)
    assert (code, err) == (0, "")
    written = json.loads((tmp_path / "stress.json").read_text("utf-8"))
    assert {name: one["score"] for name, one in written["networks"].items()} == {
        "segment": "Dice",
        "classify": "accuracy",
        "levels": "identification rate",
    }
    names = [curve["name"] for curve in written["networks"]["segment"]["curves"]]
    assert names == ["Rician noise", "bias field", "contrast scaling", "missing contrast", "scanner"]
    assert written["networks"]["classify"]["grad-cam"]["patients"] >= 4
    assert "grad-cam" not in written["networks"]["levels"], "what is decided of a level is no one number"
    scored = written["networks"]["levels"]["curves"][0]["points"][0]["score"]
    assert scored["value"] is not None, "phantoms know their levels"
    page = (tmp_path / "stress.html").read_text("utf-8")
    assert "Where it looks" in page
    assert "://" not in page

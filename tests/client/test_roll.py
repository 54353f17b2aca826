"""Scanners are numbered once, at enrolment: nobody moves another patient's term to another scanner."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from client.roll import read_roll, roll_of, write_roll
from fedspine.cohort.patient import Patient, Scanner, Volume
from fedspine.cohort.prepared import numbered
from fedspine.cohort.tensors import to_tensors
from fedspine.config import DataPlan

DATA = DataPlan(contrasts=("T1", "T2"), size=16, slices=2)


def _patient(name: str, model: str | None, contrast: str = "T1") -> Patient:
    voxels = np.arange(2 * 16 * 16).reshape(2, 16, 16)
    volume = Volume(voxels, np.diag([4.0, 1.0, 1.0, 1.0]), contrast, Scanner("Siemens", model, 3.0))
    return Patient(name, {} if model is None else {contrast: volume})


def test_scanners_are_numbered_by_how_many_lay_on_them_and_the_rest_share_the_last_number() -> None:
    models = ["Aera"] * 3 + ["Skyra"] * 4 + ["Vida", "Sola", "Prisma", "Verio"]
    train = [_patient(f"P{index}", model) for index, model in enumerate(models)]
    roll = roll_of({"train": [*train, _patient("omics alone", None)], "held-out": [_patient("H", "Aera")]}, DATA)
    assert roll.scanners[:2] == ("Siemens Aera 3 T", "Siemens Skyra 3 T")
    assert roll.patients == (3, 4, 1, 3)
    assert len(roll.scanners) == 4
    known = numbered(to_tensors(train[3], (), DATA), roll.scanners)
    other = numbered(to_tensors(_patient("new", "Lumina"), (), DATA), roll.scanners)
    assert (known.batch, other.batch) == (1, 3)
    assert numbered(to_tensors(_patient("bare", None), (), DATA), roll.scanners).batch == -1


def test_who_comes_later_changes_no_number(tmp_path: Path) -> None:
    file = tmp_path / "enrolled" / "roll.json"
    first = roll_of({"train": [_patient("A", "Aera"), _patient("B", "Skyra")], "held-out": []}, DATA)
    write_roll(file, first)
    many = [_patient(f"N{index}", "Vida", "T2") for index in range(5)]
    later = roll_of({"train": [_patient("B", "Skyra"), *many], "held-out": []}, DATA)
    assert later.scanners[0] == "Siemens Vida 3 T"
    assert read_roll(file, later) == first
    file.write_text(json.dumps({"train": ["A"], "held-out": []}))  # as it was kept before scanners were on it
    assert read_roll(file, later).folds == {"train": ("A",), "held-out": ()}


def test_a_plan_may_take_the_grade_as_an_omics_column() -> None:
    data = DataPlan(contrasts=("T1",), omics=("TP53", "grade"), size=16, slices=2)
    graded = replace(_patient("G", "Aera"), grade=3.0, omics=np.array([1.0]))
    tensors = to_tensors(graded, ("TP53",), data)
    assert tensors.omics.tolist() == np.arcsinh(np.array([1.0, 3.0], np.float32)).tolist()
    assert to_tensors(_patient("N", "Aera"), (), data).omics_present.tolist() == [0.0, 0.0]

"""A hospital's scanners as maps onto the reference scanner, from its released sums."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from client import aligning
from client.aligning import maps_of
from client.hospital import Hospital
from fedspine.config import PrivacyPlan, load_plan
from fedspine.errors import ConfigError
from fedspine.harmony import alignment
from fedspine.harmony.apply import harmonised
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from fedspine.tasks import align
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured, Site, make, public_values

PLAN = load_plan(
    """
name = "aligned"
[data]
contrasts = ["T1", "T2"]
size = 32
slices = 2
held_out = 0.0
[[stage]]
task = "align"
"""
)


def test_a_map_is_made_once_and_kept_and_changes_only_what_is_not_air(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align, "public_material", partial(alignment.public_material, fitted=26, checked=8))
    align._material.cache_clear()
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=6, seed=2, shape=(2, 32, 32))
    plan = replace(PLAN, data=phantom_data(PLAN.data), privacy=PrivacyPlan("none"))
    stage = plan.stage[0]
    hospital = Hospital(site, tmp_path / "state")
    enrolled = hospital.enrol(plan)
    assert set(enrolled.protocols[0].times) == {"T1", "T2"}
    shared = public_values(plan, stage, {})
    task = make(plan, stage, shared)
    assert isinstance(task, Measured)
    patients = list(enrolled.sides["train"])
    sums = measure(task, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
    outcome = task.finish({"one": Site(sums, len(patients), enrolled.scanners)}, 0.0)
    assert maps_of(hospital, plan, shared) == {}
    shared |= {f"align.{key}": value for part in (outcome.common, outcome.own["one"]) for key, value in part.items()}
    maps = maps_of(hospital, plan, shared)
    assert set(maps) == {one.batch for one in patients}
    monkeypatch.setattr(aligning, "alignment_of", None)  # a second start finds what was made
    again = maps_of(Hospital(site, tmp_path / "state"), plan, shared)
    assert all(torch.equal(maps[n][key], again[n][key]) for n in maps for key in maps[n])
    first = patients[0]
    moved = harmonised(first, shared, maps)
    assert torch.equal(moved.images == 0, first.images == 0)
    assert float((moved.images - first.images).abs().max()) > 0.01
    assert torch.isfinite(moved.images).all()
    align._material.cache_clear()


def test_a_reference_must_be_a_public_scanner_and_a_plan_one_of_spines() -> None:
    stage = replace(PLAN.stage[0], options={"reference": "Vida 3 T"})
    with pytest.raises(ConfigError, match="must be a public scanner; found 'Vida 3 T'"):
        make(PLAN, stage, {})
    with pytest.raises(ConfigError, match="knows spines and the contrasts"):
        make(replace(PLAN, data=replace(PLAN.data, body="brain")), PLAN.stage[0], {})

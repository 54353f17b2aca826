"""The map that hospitals share: its rounds, what it becomes under noise, and tokens whose names stay."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedspine.atlas.placing import place
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.towers import Towers
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Site, make, public_values
from fedspine.tasks.atlas import Atlas, phantom_latents, shared_atlas
from fedspine.tasks.encode import Encode
from fedspine.tasks.tokens import Tokens

from .conftest import DATA, random_patient

ROUNDS = 3
STAGES = (
    Stage("encode", "encode"),
    Stage("atlas", "atlas", of="encode", rounds=ROUNDS, options={"anchors": 12, "tokens": 3}),
    Stage("tokens", "tokens", of="encode"),
)


def _plan(mechanism: str) -> Plan:
    return Plan("map", data=DATA, privacy=PrivacyPlan(mechanism), stage=STAGES)


@pytest.fixture(scope="module")
def begun() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return public values of the encoder and its weights."""
    shared = public_values(_plan("none"), STAGES[0], {})
    torch.manual_seed(0)
    task = make(_plan("none"), STAGES[0], shared)
    assert isinstance(task, Encode)
    return shared, task.build().state_dict()


def _patients(count: int) -> list[PatientTensors]:
    generator = torch.Generator().manual_seed(1)
    return [random_patient(generator, complete=True) for _ in range(count)]


def _mapped(
    begun: tuple[dict[str, Tensor], dict[str, Tensor]], patients: list[PatientTensors], noise: float
) -> dict[str, Tensor]:
    """Return the released values after all rounds of the atlas, one site, noise of `noise` on every entry."""
    plan, weights = _plan("gaussian" if noise else "none"), begun[1]
    shared = {**begun[0], **public_values(plan, STAGES[1], begun[0], weights)}
    for number in range(ROUNDS):
        task = make(plan, STAGES[1], shared, weights)
        assert isinstance(task, Atlas)
        sums = measure(task, patients, Strength(1.0, noise), np.random.default_rng(number))
        outcome = task.finish({"one": Site(sums, len(patients))}, noise)
        shared |= {f"atlas.{key}": value for key, value in outcome.common.items()}
    return shared


def _tokens(shared: dict[str, Tensor], weights: dict[str, Tensor], stage: Stage = STAGES[2]) -> Tokens:
    task = make(_plan("none"), stage, shared, weights)
    assert isinstance(task, Tokens)
    return task


def test_without_noise_every_patient_is_counted_and_profiled(
    begun: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    patients = _patients(30)
    shared = _mapped(begun, patients, 0.0)
    task = _tokens(shared, begun[1])
    sums = measure(task, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
    table = task.finish({"one": Site(sums, len(patients))}, 0.0).numbers["tokens"]
    counted = sum(map(sum, table["counts"]["one"])) + table["unlike"]["one"]
    assert counted == pytest.approx(30, abs=1e-3)
    assert len(table["profiles"]) == task.number
    assert len(table["profiles"][0]) == len(table["columns"])
    assert all(0 <= row[-1] <= 1 for row in table["profiles"])  # the level
    placed = [task.placed(one) for one in patients]
    assert np.mean([one.unlike[0] for one in placed]) < 0.2
    assert all(abs(float(one.membership.sum()) - 1) < 1e-5 for one in placed)


def test_where_noise_outweighs_patients_the_map_is_one_of_phantoms(
    begun: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    shared = _mapped(begun, _patients(10), 6.0)
    task = _tokens(shared, begun[1])
    assert isinstance(task.model, Towers)
    unlike = place(phantom_latents(task.encoder, task.model), task.atlas).unlike
    assert unlike.mean() < 0.1
    assert shared_atlas(shared) is not None


def test_tokens_of_a_later_run_keep_their_names(begun: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    patients = _patients(30)
    shared = _mapped(begun, patients, 0.0)
    task = _tokens(shared, begun[1])
    sums = measure(task, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
    first = task.finish({"one": Site(sums, 30)}, 0.0)
    order = torch.tensor([2, 0, 1])
    turned = {**shared, "atlas.membership": shared["atlas.membership"][:, order]}
    turned["atlas.centres"] = shared["atlas.centres"][order]
    frozen = {f"frozen.tokens.{key}": value for key, value in first.common.items()}
    later = replace(STAGES[2], initial="tokens.safetensors")
    again = _tokens({**turned, **frozen}, begun[1], later)
    sums = measure(again, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
    names = again.finish({"one": Site(sums, 30)}, 0.0).numbers["tokens"]["names"]
    assert names == ["token-3", "token-1", "token-2"]
    with pytest.raises(ConfigError, match=r"must be models/tokens\.safetensors of an earlier run"):
        _tokens(shared, begun[1], later)


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("atlas", {"tokens": 1}, "tokens of stage 'atlas' must be 0, or 2 or more; found 1"),
        ("harmonise", {"settings": 1.5}, r"must lie in \[0, 1\)"),
        ("harmonise", {"covariates": ["diagnosis"]}, "never a label"),
        ("harmonise", {"lacking": -1.0}, "lacking of stage 'harmonise' must be 0 or more"),
        ("standardise", {"landmarks": 1.0}, "their squares under 1 together"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_spent(
    task: str, options: dict[str, object], said: str
) -> None:
    stage = Stage(task, task, of="encode" if task == "atlas" else "", options=options)
    with pytest.raises(ConfigError, match=said):
        check_tasks(replace(_plan("none"), stage=(STAGES[0], stage)))

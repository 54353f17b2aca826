"""What another stage's network sees of a patient, as inputs of the encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import COUNT
from fedspine.config import Plan, Stage, check_plan
from fedspine.errors import ConfigError
from fedspine.networks.towers import Towers
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._deep import Deep, Network, axes_of
from fedspine.tasks._task import Measured, Trained, make, public_values
from fedspine.tasks.encode import Encode

from .conftest import DATA, House, random_patient


def plan_of(kind: str, **options: object) -> Plan:
    """Return a plan whose encoder reads a network of this kind."""
    stages = (
        Stage(kind, kind, options=options),
        Stage("encode", "encode", of=kind, options={"axes": 3}),
        Stage("atlas", "atlas", of="encode", options={"anchors": 8, "tokens": 3}),
        Stage("tokens", "tokens", of="encode", options={"tokens": 3}),
        Stage("evaluate", "encode-test", of="encode"),
    )
    plan = check_plan(Plan("deep", data=DATA, stage=stages))
    check_tasks(plan)
    return plan


def house_of(plan: Plan) -> House:
    """Return the plan's tasks, fresh networks and shared values."""
    result = House(plan)
    torch.manual_seed(0)
    for stage in plan.stage:
        inner = result.models[stage.of].state_dict() if stage.of else None
        result.shared |= public_values(plan, stage, result.shared, inner)
        task = make(plan, stage, result.shared, inner)
        if isinstance(task, Trained):
            result.models[stage.name] = task.build()
        result.tasks[stage.name] = task
    return result


@pytest.fixture(scope="module")
def deep_house() -> House:
    """Return a house whose encoder reads a segmenter."""
    return house_of(plan_of("segment"))


def test_a_site_reads_the_network_that_the_server_read_from_shared_values_alone(deep_house: House) -> None:
    plan, stage = deep_house.plan, deep_house.plan.find("encode")
    own_weights = deep_house.models["encode"].state_dict()
    at_site = make(plan, stage, deep_house.shared, own_weights)
    at_server = deep_house.tasks["encode"]
    patient = random_patient(torch.Generator().manual_seed(1), complete=True)
    assert isinstance(at_site, Encode)
    assert isinstance(at_server, Encode)
    model = deep_house.models["encode"]
    assert torch.equal(at_site.embed(model, patient), at_server.embed(model, patient))
    assert isinstance(at_site.deep, Deep)
    assert at_site.deep.network.model is not deep_house.models["segment"]


def test_atlas_tokens_and_counts_work_with_such_an_encoder(deep_house: House) -> None:
    patient = random_patient(torch.Generator().manual_seed(2), complete=True)
    for name in ("atlas", "tokens", "encode-test"):
        task = deep_house.tasks[name]
        assert isinstance(task, Measured)
        term = task.term(patient)
        assert term is not None
        norm = torch.cat([value.flatten().double() for value in term.values()]).norm()
        assert 0 < float(norm) <= 1 + 1e-5


def test_anchors_and_patients_are_told_alike(deep_house: House) -> None:
    task = cast(Encode, deep_house.tasks["encode"])
    assert task.anchors_deep.shape == task.twins_deep.shape == (COUNT, 2 * 2 * 3)
    body = torch.cat([task.anchors_deep, task.twins_deep])[:, 3:6]
    assert body.mean(0).abs().max() < 0.1
    assert (body.std(0) - 1).abs().max() < 0.2
    assert task.deep is not None
    row = task.deep.row(random_patient(torch.Generator().manual_seed(3), complete=True))
    assert row.shape == (1, 12)
    assert row.abs().max() <= 3
    assert torch.equal(row[0, 6:], torch.ones(6))


def test_what_a_network_sees_changes_what_the_encoder_says(deep_house: House) -> None:
    task, model = cast(Encode, deep_house.tasks["encode"]), cast(Towers, deep_house.models["encode"])
    patient = random_patient(torch.Generator().manual_seed(4), complete=True)
    values, known = task.rows(patient)
    blind = torch.cat([task.image_rows(values, known), torch.zeros(1, 12)], dim=1)
    assert not torch.allclose(model.embed_image(blind)[0], task.embed(model, patient))


def test_without_a_mask_the_networks_own_is_taken_and_nobodys_lesion_is_unknown(deep_house: House) -> None:
    deep = cast(Encode, deep_house.tasks["encode"]).deep
    assert deep is not None
    patient = random_patient(torch.Generator().manual_seed(5), complete=True)
    found = deep.network.lesion(replace(patient, mask=None))
    assert patient.mask is not None
    assert found.shape == patient.mask.shape
    healthy = deep.row(replace(patient, mask=torch.zeros_like(patient.mask)))
    assert not bool(healthy[0, 6:9].any())
    assert not bool(healthy[0, :3].any())
    assert bool(healthy[0, 9:].all())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("segment", {"dimensions": 3}),
        ("segment", {"dimensions": 2.5, "presence": "modulation", "mirrored": True}),
        ("classify", {}),
        ("classify", {"dimensions": 3, "widths": [4, 4, 4, 4]}),
    ],
)
def test_every_kind_of_network_can_be_read(kind: str, options: dict[str, object]) -> None:
    plan = plan_of(kind, **options)
    source = make(plan, plan.find(kind), {})
    assert isinstance(source, Trained)
    network = Network(source, source.build().eval())  # type: ignore[arg-type]
    patient = random_patient(torch.Generator().manual_seed(6), complete=True)
    means, there = network.seen(patient)
    assert means.shape[0] == 2
    assert bool(there.all())
    assert bool(network.seen(replace(patient, mask=None))[0].isfinite().all())


def test_the_axes_are_those_in_which_two_examinations_agree() -> None:
    random = np.random.default_rng(0)
    person, scanner = random.normal(size=(200, 2)), 3 * random.normal(size=(2, 200, 2))
    rows = np.concatenate([np.concatenate([person, one], axis=1) for one in scanner])
    turn, _ = np.linalg.qr(random.normal(size=(4, 4)))
    centre, axes = axes_of(rows @ turn + 5, np.ones(400, dtype=bool), 2)
    told = (rows @ turn + 5 - centre) @ axes.T
    assert np.abs(told[:200] - told[200:]).mean() < 0.3
    assert np.allclose(told.std(0), 1)
    assert np.abs(told.mean(0)).max() < 1e-9


def test_of_must_name_a_network_that_can_be_read() -> None:
    stages = (Stage("gan", "gan"), Stage("encode", "encode", of="gan"))
    with pytest.raises(ConfigError, match="segment or classify"):
        check_tasks(check_plan(Plan("wrong", data=DATA, stage=stages)))


def test_a_foreign_network_among_shared_values_is_refused(deep_house: House) -> None:
    shared: dict[str, Tensor] = {
        k: v for k, v in deep_house.shared.items() if not k.endswith("down.0.conv1.conv.weight")
    }
    assert len(shared) < len(deep_house.shared)
    with pytest.raises(ConfigError, match="fit the stage's network"):
        make(deep_house.plan, deep_house.plan.find("encode"), shared)


def test_the_network_that_is_read_is_not_trained(deep_house: House) -> None:
    task, model = cast(Encode, deep_house.tasks["encode"]), deep_house.models["encode"]
    patient = random_patient(torch.Generator().manual_seed(7), complete=True)
    loss = task.patient_loss(model, patient, torch.Generator())
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    assert task.deep is not None
    assert isinstance(task.deep.network.model, nn.Module)
    assert all(weight.grad is None for weight in task.deep.network.model.parameters())

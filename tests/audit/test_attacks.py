"""Lines A9 to A12b on small runs, with controls that leak, and on planted faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedspine.atlas.anchors import phantoms
from fedspine.audit import attribute, inversion, linkage, membership, memorisation
from fedspine.audit.likeness import points
from fedspine.audit.line import Grade
from fedspine.audit.memorisation import recalled
from fedspine.audit.people import without_privacy
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import HELD_OUT, TRAIN, Plan, PrivacyPlan, load_plan
from fedspine.networks.dcgan import Generator
from fedspine.plans.default import phantom_data
from fedspine.privacy.accounting import Event
from fedspine.privacy.chain import extend
from fedspine.privacy.ledger import Entry, Ledger
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._federation import start, train
from fedspine.tasks._task import Trained, make, public_values

PLAN = """
name = "attacked"
seed = 3
[data]
size = 32
slices = 2
[[stage]]
task = "classify"
rounds = 1
steps = 4
sample_rate = 0.5
noise_multiplier = 4.0
[stage.options]
widths = [8, 8, 8, 8]
features = 8
[[stage]]
task = "encode"
rounds = 1
steps = 4
sample_rate = 0.5
noise_multiplier = 4.0
[[stage]]
task = "gan"
rounds = 1
steps = 2
noise_multiplier = 4.0
learning_rate = 5e-4
[stage.options]
size = 32
"""

MEMBERS, OTHERS = 28, 28


def plan_of(*stages: str, text: str = PLAN) -> Plan:
    plan = load_plan(text)
    return replace(
        plan, data=phantom_data(plan.data), stage=tuple(stage for stage in plan.stage if stage.name in stages)
    )


def run_of(plan: Plan, folder: Path, people: Sequence[PatientTensors], *, private: bool = True) -> Subject:
    """Return a run of one site whose first `MEMBERS` people trained; its ledger says what the plan demands."""
    shared: dict[str, torch.Tensor] = {}
    models = {}
    played = plan if private else replace(plan, privacy=PrivacyPlan("none"))
    for stage in plan.stage:
        shared |= public_values(plan, stage, shared)
        task = make(plan, stage, shared)
        assert isinstance(task, Trained)
        model = train(task, played, stage, [people[:MEMBERS]], start(task, stage, [], plan.seed), seed=1)
        models[stage.name] = dict(model.state_dict())
        event = Event(stage.noise_multiplier, stage.sample_rate, stage.steps)
        line = Entry(stage.name, 1, TRAIN, "0", event, stage.clip, plan.digest(), "os entropy")
        Ledger(folder / "ledger.jsonl").book(line, max_epsilon=float("inf"), delta=1e-5)
    site = SiteRecord("site", folder, {TRAIN: people[:MEMBERS], HELD_OUT: people[MEMBERS:]})
    return Subject(folder, plan, shared, models, (site,), True)


@pytest.fixture(scope="module")
def people() -> list[PatientTensors]:
    return phantoms(plan_of("classify"), MEMBERS + OTHERS, purpose=7)


@pytest.mark.slow
def test_members_of_an_honest_network_stay_hidden_and_those_of_one_without_noise_are_found(
    people: list[PatientTensors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "CONTROL_STEPS", 140)
    subject = run_of(plan_of("classify"), tmp_path, people)
    line = membership.membership(subject)
    assert line.grade is Grade.PASS, line.finding
    assert line.figures["control: area"] > 0.75
    stage = replace(subject.plan.stage[0], trained="all")
    task = make(subject.plan, stage, {})
    assert isinstance(task, Trained)
    weights = subject.models["classify"]
    leaking = without_privacy(task, stage, people[:MEMBERS], weights, steps=200, batch=8, rate=5e-3, seed=0)
    faulty = replace(subject, models={"classify": dict(leaking.state_dict())})
    found = membership.membership(faulty)
    assert found.grade is Grade.FAIL, found.finding


def test_without_patients_nothing_is_tested(tmp_path: Path, people: list[PatientTensors]) -> None:
    plan = plan_of("classify")
    subject = Subject(tmp_path, plan, {}, {}, (SiteRecord("site", tmp_path, {}),), True)
    lines = (
        membership.membership(subject),
        inversion.inversion(subject),
        memorisation.memorisation(subject),
        linkage.linkage(subject),
        attribute.attribute(subject),
    )
    assert [line.grade for line in lines] == [Grade.NOT_TESTED] * 5
    assert [line.check for line in lines] == ["A9", "A10", "A11", "A12", "A12b"]


@pytest.mark.slow
def test_links_and_mutations_are_hidden_by_an_honest_encoder_and_told_by_one_that_knows_its_patients_by_heart(
    people: list[PatientTensors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linkage, "CONTROL_STEPS", 100)
    subject = run_of(plan_of("encode"), tmp_path, people)
    for check in (linkage.linkage, attribute.attribute):
        line = check(subject)
        assert line.grade is Grade.PASS, line.finding
        assert line.figures["control: area"] > 0.8
    found = linkage.examined(subject)
    assert found is not None
    leaking = found.overfitted(np.arange(len(people)) < MEMBERS, seed=0)
    faulty = replace(subject, models={"encode": dict(leaking.state_dict())})
    assert linkage.linkage(faulty).grade is Grade.FAIL
    guessed = attribute.guesses(found, leaking, attribute.mutations(found))
    assert guessed.accuracy(np.arange(len(people)) < MEMBERS) > 0.75


def test_a_message_that_grows_with_the_number_of_patients_is_found(tmp_path: Path) -> None:
    plan = plan_of("classify")
    sites = []
    for name, size in (("one", 40), ("two", 44)):
        folder = tmp_path / name
        folder.mkdir()
        for number, bytes_sent in ((1, 100), (2, size)):
            line = {"stage": "classify", "round": number, "bytes": bytes_sent}
            extend(folder / "egress.jsonl", line, "the egress log")
        sites.append(SiteRecord(name, folder, {}))
    subject = Subject(tmp_path, plan, {}, {}, tuple(sites), True)
    assert linkage.uneven(subject) == ["classify"]
    assert linkage.linkage(subject).grade is Grade.FAIL
    assert linkage.uneven(replace(subject, sites=(sites[0],))) == []


@pytest.mark.slow
def test_without_noise_an_update_shows_the_patient_and_the_line_fails(
    people: list[PatientTensors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversion, "VICTIMS", 1)
    monkeypatch.setattr(inversion, "PUBLIC", 96)
    plan = plan_of("gan", text=PLAN.replace("size = 32", "size = 64"))
    task = make(plan, plan.stage[0], shared := public_values(plan, plan.stage[0], {}))
    assert isinstance(task, Trained)
    models = {"gan": dict(start(task, plan.stage[0], [], 0))}
    subject = Subject(tmp_path, plan, shared, models, (), True)
    honest = inversion.inversion(subject)
    assert honest.grade is Grade.PASS, honest.finding
    assert honest.figures["without privacy"] > inversion.SEEN
    faulty = replace(subject, plan=replace(plan, privacy=PrivacyPlan("none")))
    assert inversion.inversion(faulty).grade is Grade.FAIL


def overfitted_generator(patients: Sequence[PatientTensors], count: int) -> list[PatientTensors]:
    """Return what a generator makes that was trained, an image a code, to repeat these patients' slices and no other.

    Each code is a fixed one (Bojanowski 2018), so that what is made near a code is the patient.
    """
    torch.manual_seed(0)
    images = torch.cat([patient.images for patient in patients])
    codes = torch.randn(len(images), 16)
    generator: nn.Module = Generator(16, images.shape[1], images.shape[-1], 8)
    optimiser = torch.optim.Adam(generator.parameters(), lr=4e-3)
    for _ in range(400):
        optimiser.zero_grad()
        (generator(codes) - images).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        made = generator(codes[torch.arange(count) % len(codes)] + 0.05 * torch.randn(count, 16))
    return [patients[0].with_images(image[None], None) for image in made]


@pytest.mark.slow
def test_a_generator_overfitted_on_ten_patients_fails(
    people: list[PatientTensors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [patient for patient in people if bool(patient.present.all())]
    members, others = whole[:10], whole[10:40]
    site = SiteRecord("site", tmp_path, {TRAIN: members, HELD_OUT: others})
    subject = Subject(tmp_path, plan_of("gan"), {}, {}, (site,), True)
    made = overfitted_generator(members, 60)
    monkeypatch.setattr(memorisation, "made_images", lambda subject: {"gan": made})
    line = memorisation.memorisation(subject)
    assert line.grade is Grade.FAIL, line.finding


@pytest.mark.slow
def test_a_private_generator_that_began_with_phantoms_is_not_accused_in_twenty_seeds(
    people: list[PatientTensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memorisation, "EXCHANGES", 1499)
    plan = plan_of("gan")
    stage = plan.stage[0]
    shared = public_values(plan, stage, {})
    task = make(plan, stage, shared)
    assert isinstance(task, Adversarial)
    weights, small = start(task, stage, [], plan.seed), replace(task, for_use=None)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(people))
        members, others = ([people[i] for i in side] for side in (order[:MEMBERS], order[MEMBERS:]))
        model = train(task, plan, stage, [members[:14], members[14:]], weights, seed=seed)
        made = small.synthetic(model, 48, torch.Generator().manual_seed(seed))
        found = recalled(points(made), points([*members, *others]), MEMBERS, seed)
        assert not found.memorised, seed
        assert not found.copied, seed

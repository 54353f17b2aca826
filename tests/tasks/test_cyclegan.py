"""A translator fills a missing contrast and leaves what is there; one contrast is enough to take part."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.cyclegan import Translator
from fedspine.tasks import cyclegan
from fedspine.tasks._rounds import pretrain
from server.collapse import checked

DATA = DataPlan(contrasts=("T1", "T2", "STIR"), classes=("normal", "benign", "malignant"), size=32, slices=2)
SMALL = {"features": [8, 8, 8, 8, 8, 8], "width": 4}
PLAN = Plan("cycle", data=DATA, stage=(Stage("cyclegan", options=SMALL),))


def task_of(**options: object) -> cyclegan.Cycle:
    return cyclegan.task(PLAN, Stage("cyclegan", options={**SMALL, **options}), {})


def only(patient: PatientTensors, *present: float) -> PatientTensors:
    flags = torch.tensor(present)
    return replace(patient, present=flags, images=patient.images * flags[:, None, None])


@pytest.fixture(scope="module")
def people() -> list[PatientTensors]:
    return phantoms(PLAN, 40, purpose=1)


@pytest.mark.slow
def test_a_translator_trained_on_phantoms_beats_the_image_as_it_is(people: list[PatientTensors]) -> None:
    torch.manual_seed(0)
    task = task_of(source="T1", target="STIR")
    model = task.build()

    def error(patient: PatientTensors) -> Tensor:
        return (task.translate(model, only(patient, 1, 0, 0)).images[:, 2] - patient.images[:, 2]).abs().mean()

    stage = Stage("cyclegan", pretrain_steps=80, pretrain_rate=5e-3)
    pretrain(task, model, people[:32], stage, torch.Generator().manual_seed(0))
    unseen = people[32:]
    translated = torch.stack([error(patient) for patient in unseen]).mean()
    as_it_is = torch.stack([(p.images[:, 0] - p.images[:, 2]).abs().mean() for p in unseen]).mean()
    assert float(translated) < 0.92 * float(as_it_is)


def test_a_missing_contrast_is_filled_and_everything_else_stays(people: list[PatientTensors]) -> None:
    task = task_of()
    model = task.build()
    one = only(people[1], 1, 0, 0)
    filled = task.translate(model, one)
    assert filled.present.tolist() == [1, 1, 0]
    assert torch.equal(filled.images[:, 0], one.images[:, 0])
    assert bool(filled.images[:, 1].any())
    assert not bool(filled.images[:, 2].any())
    assert filled.mask is one.mask
    for complete in (people[1], only(people[1], 0, 0, 1)):
        assert task.translate(model, complete) is complete


def test_one_contrast_feeds_its_own_side_and_none_says_nothing(people: list[PatientTensors]) -> None:
    task = task_of(source="T1", target="T2")
    model = task.build()
    networks = dict(zip(("there", "back", "own", "other"), model.networks(), strict=True))
    loss = task.patient_loss(model, only(people[0], 1, 0, 0), torch.Generator())
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(any(bool(p.grad.any()) for p in n.parameters() if p.grad is not None) for n in networks.values())
    assert task.patient_loss(model, only(people[0], 0, 0, 1), torch.Generator()) is None


def test_translators_do_not_move_a_critic_the_way_that_pleases_them(people: list[PatientTensors]) -> None:
    patient = only(people[0], 1, 0, 0)
    gradients = []
    for adversarial in (0.0, 5.0):
        torch.manual_seed(1)
        task = task_of(adversarial=adversarial)
        model = task.build()
        loss = task.patient_loss(model, patient, torch.Generator())
        assert loss is not None
        critic = list(model.critic_target.parameters())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, critic)]))
    assert torch.allclose(gradients[0], gradients[1])


def test_without_pairs_no_loss_compares_with_the_true_image(people: list[PatientTensors]) -> None:
    torch.manual_seed(2)
    model = task_of().build()
    both, first, second = people[0], only(people[0], 1, 0, 0), only(people[0], 0, 1, 0)
    for pairs, alike in ((0.0, True), (1.0, False)):
        task = task_of(pairs=pairs)
        together, one, other = (task.patient_loss(model, p, torch.Generator()) for p in (both, first, second))
        assert together is not None
        assert one is not None
        assert other is not None
        assert bool(torch.isclose(together, one + other)) == alike


def test_made_patients_are_phantoms_with_one_contrast_translated(people: list[PatientTensors]) -> None:
    task = task_of()
    made = task.synthetic(task.build(), 3, torch.Generator().manual_seed(0))
    assert [patient.images.shape for patient in made] == [(2, 3, 32, 32)] * 3
    assert all(patient.mask is not None and bool(patient.present.all()) for patient in made)


def test_a_translator_that_makes_one_image_of_everybody_is_put_back_and_the_critics_go_on() -> None:
    task = task_of()
    torch.manual_seed(3)
    good = {key: value.clone() for key, value in task.build().state_dict().items()}
    went_on = checked(task, good, good, torch.Generator())
    assert went_on is not None
    assert not went_on.collapsed
    assert went_on.diversity > 0.6, "who changes little as yet leaves phantoms as different as they are"
    for direction in ("there", "back"):
        bad = {key: value + 0.1 * key.startswith("critic") for key, value in good.items()}
        bad[f"{direction}.body.final_conv.bias"] = torch.full((1,), 100.0)
        found = checked(task, good, bad, torch.Generator())
        assert found is not None
        assert found.collapsed
        assert found.diversity == 0.0, "white all over"
        for key, value in found.weights.items():
            assert torch.equal(value, (bad if key.startswith("critic") else good)[key])


def test_one_image_in_other_brightness_for_everybody_is_a_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of()
    model, template = task.build(), phantoms(PLAN, 1, purpose=2)[0].images[:1, :1]

    def brightened(self: Translator, images: Tensor) -> Tensor:
        return template * images.mean((1, 2, 3), keepdim=True)

    monkeypatch.setattr(Translator, "forward", brightened)
    found = task.diversity(model, torch.Generator())
    assert found is not None
    assert found < 0.05


def test_phantoms_of_one_contrast_tell_nothing(people: list[PatientTensors], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cyclegan, "phantoms", lambda *_, **__: [only(one, 1, 0, 0) for one in people])
    task = task_of()
    assert task.diversity(task.build(), torch.Generator()) is None


@pytest.mark.parametrize("options", [{"source": "T1", "target": "T1"}, {"target": "FLAIR"}])
def test_contrasts_that_are_not_two_of_the_plans_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="two of the plan's contrasts"):
        task_of(**options)

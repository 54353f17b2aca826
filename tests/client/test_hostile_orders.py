"""A server that asks for what it must not gets a code: nothing is booked, nothing leaves, nothing of it is kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor, nn

from client.policy import CODES
from fedspine.cohort.patient import Cohort
from fedspine.config import Plan, PrivacyPlan, load_plan, plan_text
from fedspine.wire import ARRAYS, ENROL, ORDER, SHARED, STAGE

from .conftest import Opened, order_record, round_of

SECURE = {"not-on-roster", "keys-refused", "attempt-used", "too-few-sites", "masks-missing"}
"""Codes of secure sums, which have tests of their own."""

Change = Callable[[RecordDict], None]


def order_with(**values: object) -> Change:
    def change(content: RecordDict) -> None:
        content[ORDER] = ConfigRecord({**content.config_records[ORDER], **values})  # type: ignore[dict-item]

    return change


def without(*records: str) -> Change:
    def change(content: RecordDict) -> None:
        for record in records:
            del content[record]

    return change


def array_with(data: bytes, kind: str = "numpy.ndarray") -> Change:
    def change(content: RecordDict) -> None:
        record = content.array_records[ARRAYS]
        record[next(iter(record))] = Array("float32", (1,), kind, data)

    return change


def saved(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text.encode() + b"\n"


def weights_with(change_of: Callable[[Tensor], Tensor]) -> Change:
    def change(content: RecordDict) -> None:
        weights = content.array_records[ARRAYS].to_torch_state_dict()
        first = next(iter(weights))
        content[ARRAYS] = ArrayRecord({**weights, first: change_of(weights[first])})

    return change


def more(name: str, record: ArrayRecord | ConfigRecord | MetricRecord) -> Change:
    return lambda content: content.update({name: record})


HOSTILE: list[tuple[str, Change]] = [
    ("order-unreadable", without(ORDER)),
    ("order-unreadable", without(ARRAYS)),
    ("order-unreadable", without(SHARED, ARRAYS)),
    ("order-unreadable", more("extra", ArrayRecord())),
    ("order-unreadable", more(SHARED, ConfigRecord({"a": 1}))),
    ("order-unreadable", more(ORDER, ConfigRecord({"format": 1, "plan": "x", "stage": "segment"}))),
    ("order-unreadable", order_with(extra="yes")),
    ("order-unreadable", order_with(plan=b"bytes")),
    ("order-unreadable", order_with(plan=7)),
    ("order-unreadable", order_with(stage=["segment"])),
    ("order-unreadable", order_with(round="1")),
    ("order-unreadable", order_with(round=1.0)),
    ("order-unreadable", order_with(round=True)),
    ("order-unreadable", array_with(b"")),
    ("order-unreadable", array_with(b"\x93NUMPY")),
    ("order-unreadable", array_with(saved(np.ones(3, np.float32))[:-1])),
    ("order-unreadable", array_with(saved(np.array([{"a": 1}], dtype=object)))),
    ("order-unreadable", array_with(saved(np.array(["text"])))),
    ("order-unreadable", array_with(saved(np.array([1j])))),
    ("order-unreadable", array_with(saved(np.ones(2, np.float32)), kind="pickle")),
    ("order-unreadable", array_with(header("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000,)}"))),
    ("order-unreadable", array_with(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4)}") + b"1" * 16)),
    ("order-unreadable", array_with(header("(" * 5000))),
    ("order-unreadable", weights_with(lambda w: w * float("nan"))),
    ("order-unreadable", weights_with(lambda w: w / 0)),
    ("order-unreadable", more(SHARED, ArrayRecord({"harmonise.alpha": torch.tensor([float("inf")])}))),
    ("order-too-large", order_with(plan="#" * 50_000_000)),
    ("order-too-large", order_with(stage="s" * 1000)),
    ("order-too-large", more(SHARED, ArrayRecord({"a" * 1000: torch.zeros(1)}))),
    ("order-too-large", more(SHARED, ArrayRecord({"a": torch.zeros(600_000)}))),
    ("format-unknown", order_with(format=2)),
    ("format-unknown", order_with(format="1")),
    ("stage-unknown", order_with(stage="tokens")),
    ("stage-unknown", order_with(stage="../../etc")),
    ("round-unknown", order_with(round=3)),
    ("round-unknown", order_with(round=0)),
    ("round-unknown", order_with(round=-1)),
    ("round-unknown", order_with(round=2**62)),
    ("plan-unusable", order_with(plan="")),
    ("plan-unusable", order_with(plan="a = " + "[" * 20_000)),
    ("plan-unusable", order_with(plan="seed = 1" + "0" * 10_000)),
    ("plan-unusable", order_with(plan="name = 1")),
    ("plan-unusable", order_with(plan="x" * 500_000 + " = 1")),
    ("plan-unusable", weights_with(lambda w: w.double())),
    ("plan-unusable", weights_with(lambda w: w.reshape(-1))),
    ("plan-unusable", weights_with(lambda w: torch.zeros(0))),
    ("plan-unusable", more(ARRAYS, ArrayRecord())),
    ("plan-unusable", more(ARRAYS, ArrayRecord({"weihgt": torch.zeros(1)}))),
]


@pytest.mark.parametrize(("code", "change"), HOSTILE)
def test_a_malformed_order_is_a_code(opened: Opened, plan: Plan, code: str, change: Change) -> None:
    post = opened("max_message_bytes = 2_000_000", enrolled=plan)
    content = round_of(plan)
    change(content)
    reply = post.send(content, STAGE)
    assert (reply.has_content(), reply.error.reason) == (False, code)
    assert post.booked() == 0
    assert [line["mechanism"] for line in post.left()] == ["public", "refusal"]
    assert post.left()[1]["cost"] == code
    assert sum(file.stat().st_size for file in post.hospital.state.glob("*.jsonl")) < 10_000


@pytest.mark.parametrize("change", [without(ORDER), more(ARRAYS, ArrayRecord()), order_with(round="x")])
def test_a_malformed_enrolment_is_a_code_too(opened: Opened, plan: Plan, change: Change) -> None:
    post = opened()
    content = RecordDict({ORDER: order_record(plan)})
    change(content)
    assert post.send(content, ENROL).error.reason == "order-unreadable"
    assert post.hospital.approvals.plans() == {}


def changed(plan: Plan, **values: object) -> Plan:
    return replace(plan, stage=(replace(plan.stage[0], **values),))  # type: ignore[arg-type]


PLANS: list[tuple[str, str, Callable[[Plan], Plan]]] = [
    ("plan-not-approved", "approved_only = true", lambda plan: plan),
    ("plan-not-approved", f"plans = ['{'0' * 64}']", lambda plan: plan),
    ("task-not-allowed", "tasks = ['classify']", lambda plan: plan),
    ("privacy-off", "", lambda plan: replace(plan, privacy=PrivacyPlan(mechanism="none"))),
    ("noise-missing", "", lambda plan: changed(plan, noise_multiplier=0.0)),
    ("noise-too-low", "min_noise_multiplier = 2.5", lambda plan: plan),
    ("epsilon-too-large", "", lambda plan: changed(plan, noise_multiplier=0.1)),
    ("epsilon-too-large", "", lambda plan: changed(plan, steps=10**15)),
    ("epsilon-too-large", "", lambda plan: changed(plan, rounds=10**15)),
    ("epsilon-too-large", "", lambda plan: replace(plan, privacy=PrivacyPlan(epsilon=0.1))),
    ("epsilon-too-large", "max_epsilon = 1.0", lambda plan: plan),
    ("epsilon-too-large", "max_epsilon_plan = 1.0", lambda plan: plan),
    ("delta-too-large", "max_delta = 1e-7", lambda plan: plan),
    ("cohort-too-small", "minimum_cohort = 9", lambda plan: plan),
    ("plan-unusable", "", lambda plan: changed(plan, options={"features": "many"})),
    ("plan-unusable", "", lambda plan: replace(plan, data=replace(plan.data, contrasts=("PATIENT",)))),
]


@pytest.mark.parametrize(("code", "policy", "change"), PLANS)
def test_a_plan_beyond_the_policy_is_a_code(
    opened: Opened, plan: Plan, code: str, policy: str, change: Callable[[Plan], Plan]
) -> None:
    post, asked = opened(policy), change(plan)
    reply = post.enrol(asked)
    if code == "task-not-allowed":  # the site takes part in what else the plan may have
        reply = post.send(round_of(asked), STAGE)
    else:
        assert post.hospital.approvals.plans() == {}
    assert reply.error.reason == code
    assert post.booked() == 0


def test_a_plan_that_was_never_enrolled_is_refused(opened: Opened, plan: Plan) -> None:
    post = opened()
    assert post.ask(plan).error.reason == "not-enrolled"
    assert post.booked() == 0


@pytest.mark.parametrize("values", [{"steps": 3}, {"rounds": 3}, {"noise_multiplier": 1.9}, {"clip": 2.0}])
def test_a_changed_plan_under_the_same_name_is_refused(opened: Opened, plan: Plan, values: dict[str, object]) -> None:
    post = opened(enrolled=plan)
    other = changed(plan, **values)
    assert post.enrol(other).error.reason == "plan-changed"
    assert post.ask(other).error.reason == "plan-changed"
    assert post.booked() == 0
    post.hospital.approvals.approve(other, by="officer", booked=0, cost={})
    assert post.enrol(other).has_content()
    assert post.ask(plan).error.reason == "plan-changed"
    assert post.enrol(replace(plan, name="another")).error.reason == "plan-not-approved"


def test_a_withdrawn_plan_is_refused_in_the_middle_of_its_run(opened: Opened, plan: Plan) -> None:
    post = opened(enrolled=plan)
    assert post.ask(plan).has_content()
    post.hospital.approvals.revoke(plan.digest()[:8], by="officer")
    assert post.ask(plan, 2).error.reason == "plan-revoked"
    assert post.enrol(plan).error.reason == "plan-revoked"
    assert post.booked() == 1


def test_a_plan_listed_in_the_policy_runs_and_no_other(opened: Opened, plan: Plan) -> None:
    post = opened(f"plans = ['{plan.digest()}']", enrolled=plan)
    assert post.ask(plan).has_content()
    assert post.enrol(replace(plan, name="another")).error.reason == "plan-not-approved"


def test_rounds_may_be_asked_for_again_a_few_times_each_at_its_price_and_an_approval_begins_anew(
    opened: Opened, plan: Plan
) -> None:
    post = opened("max_repeats = 1\nmax_epsilon = 50.0", enrolled=plan)
    assert [post.ask(plan, number).has_content() for number in (1, 1, 2)] == [True] * 3
    assert [post.ask(plan, number).error.reason for number in (2, 1)] == ["round-repeated"] * 2
    assert post.booked() == 3
    assert post.hospital.ledger.entries()[0] == post.hospital.ledger.entries()[1]
    post.hospital.approvals.approve(plan, by="officer", booked=post.booked(), cost={})
    assert post.ask(plan, 1).has_content()
    assert post.booked() == 4


def test_a_crash_between_booking_and_sending_costs_its_round_and_the_next_try_is_booked_again(
    opened: Opened, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: object) -> float:
        raise RuntimeError("P-001 lies in /data/JANE_DOE")

    post = opened(enrolled=plan)
    with monkeypatch.context() as broken:
        broken.setattr("client.rounds.train_round", crash)
        assert post.ask(plan).error.reason == "failed"
    assert post.booked() == 1
    assert post.ask(plan).has_content()
    assert post.booked() == 2
    assert b"JANE_DOE" not in b"".join(file.read_bytes() for file in post.hospital.state.glob("*.jsonl"))


def test_a_days_releases_are_counted_from_the_ledger(opened: Opened, plan: Plan) -> None:
    post = opened("max_rounds_a_day = 1", enrolled=plan)
    assert post.ask(plan).has_content()
    assert post.ask(plan, 2).error.reason == "too-many-rounds"
    assert post.booked() == 1


def test_a_plans_own_cap_is_kept_over_repeats(opened: Opened, plan: Plan) -> None:
    post = opened("max_epsilon = 50.0\nmax_epsilon_plan = 3.0", enrolled=plan)
    replies = [post.ask(plan, number) for number in (1, 2, 2)]
    assert [reply.has_content() for reply in replies] == [True, True, False]
    assert replies[2].error.reason == "budget-spent"
    assert post.booked() == 2


def test_a_broken_book_stops_the_site(opened: Opened, plan: Plan) -> None:
    post = opened(enrolled=plan)
    book = post.hospital.state / "approvals.jsonl"
    book.write_text(book.read_text().replace('"booked": 0', '"booked": 9'))
    assert post.ask(plan).error.reason == "ledger-broken"


def test_a_site_that_cannot_keep_its_key_says_so(opened: Opened, plan: Plan, cohort: Cohort) -> None:
    post = opened(cohort=replace(cohort, key_kept=False))
    assert post.enrol(plan).error.reason == "pseudonyms-not-kept"


def raw(patient: Tensor) -> Callable[[str, nn.Module], dict[str, Tensor]]:
    """Return what puts a patient's pixels in the place of the first weights that are large enough."""

    def leaking(own: str, model: nn.Module) -> dict[str, Tensor]:
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        largest = max(weights, key=lambda key: weights[key].numel())
        weights[largest].view(-1)[: patient.numel()] = patient.view(-1)[: weights[largest].numel()]
        return weights

    return leaking


def test_pixels_in_the_place_of_weights_are_stopped_and_the_server_hears_a_code(
    opened: Opened, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = opened(enrolled=plan)
    patient = next(iter(post.hospital.patients(plan)["train"])).images
    leaking = raw(patient.flatten()[:200].contiguous())
    monkeypatch.setattr("client.rounds._kept_at_home", lambda hospital, order, task, model: leaking("", model))
    assert post.ask(plan).error.reason == "egress-blocked"
    assert [line["mechanism"] for line in post.left()] == ["public", "stopped", "refusal"]
    assert post.left()[1]["ledger"] != ""


def test_every_code_of_the_list_is_tried() -> None:
    tried = {code for code, _ in HOSTILE} | {code for code, *_ in PLANS}
    tried |= {"not-enrolled", "plan-changed", "plan-revoked", "round-repeated", "too-many-rounds", "budget-spent"}
    tried |= {"ledger-broken", "pseudonyms-not-kept", "egress-blocked", "failed"}
    assert tried | SECURE == set(CODES)


def test_the_honest_order_is_answered_and_names_what_paid_for_it(opened: Opened, plan: Plan) -> None:
    post = opened(enrolled=plan)
    assert load_plan(plan_text(plan)).digest() == plan.digest()
    assert post.ask(plan).has_content()
    (line,) = [line for line in post.left() if line["mechanism"] == "gaussian"]
    assert (line["stage"], line["round"], line["plan"]) == ("segment", 1, plan.digest())
    assert len(line["ledger"]) == 64

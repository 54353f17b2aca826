"""An order from the server, admitted and made ready; booking it; and the gate that its answer leaves by. No Flower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from client.aligning import maps_of
from client.egress import Gate
from client.hospital import Hospital
from client.limits import Limit
from client.policy import admit, booking
from fedspine.cohort.prepared import Lazily, mapped
from fedspine.config import Plan, Stage
from fedspine.errors import ConfigError, Refused
from fedspine.harmony.apply import harmonised
from fedspine.privacy.accounting import Event
from fedspine.privacy.books import cost_in_words, mechanism_of
from fedspine.privacy.ledger import Entry
from fedspine.site_file import Site
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Measured, Trained, load_weights, make
from fedspine.tasks._together import dimension_of
from fedspine.wire import Schema


@dataclass(frozen=True)
class Order:
    """What the server asks for.

    Args:
        plan: the agreed plan.
        stage: the stage's name.
        round: counted from 1.
        arrays: weights, by name.
        shared: released and public values, by name.
    """

    plan: Plan
    stage: str
    round: int
    arrays: Mapping[str, Tensor]
    shared: Mapping[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """What may leave: arrays and numbers that have passed the gate."""

    arrays: Mapping[str, Tensor]
    numbers: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Work:
    """An order that the site's policy admits, and all that its answer is made of; nothing is booked yet.

    Args:
        order: as sent.
        stage: asked for.
        policy: the site's.
        counted_from: how many lines of the ledger are older than the plan's approval or enrolment.
        task: of the stage.
        strength: clip and noise.
        patients: of the stage's fold, harmonised.
        model: of a trained stage, with the order's weights.
        seed: of the noise; `None` in production.
        note: told of a patient who could not be reckoned with.
    """

    order: Order
    stage: Stage
    policy: Site
    counted_from: int
    task: Trained | Measured
    strength: Strength
    patients: Lazily
    model: nn.Module | None
    seed: int | None
    note: Callable[[Exception], None]

    @property
    def dimension(self) -> int:
        """How many entries the stage's sum has."""
        return dimension_of(self.task, self.model)


def prepare(hospital: Hospital, order: Order) -> Work:
    """Return what an order asks for, ready to be booked and computed, or raise why it is refused."""
    plan, policy = order.plan, hospital.policy()
    hospital.approvals.permit(plan, policy)
    counted_from = hospital.approvals.counted_from(plan)
    stage = stage_of(order)
    check_tasks(plan)
    hospital.use_threads(policy)
    sides = hospital.patients(plan)
    admit(plan, stage, policy, sum(map(len, sides.values())))
    task, device = _task(order, policy)
    maps = maps_of(hospital, plan, order.shared)

    def note(error: Exception) -> None:
        hospital.note_error(stage.name, "patient-skipped", error)

    return Work(
        order=order,
        stage=stage,
        policy=policy,
        counted_from=counted_from,
        task=task,
        strength=Strength.of(plan, stage),
        patients=mapped(sides[stage.fold], lambda patient: harmonised(patient, order.shared, maps)),
        model=_loaded(hospital, task, order, device) if isinstance(task, Trained) else None,
        seed=hospital.noise_seed(policy, plan),
        note=note,
    )


def stage_of(order: Order) -> Stage:
    """Return the stage that the server asks for.

    Raises:
        Refused: `stage-unknown` or `round-unknown`.
    """
    stage = next((one for one in order.plan.stage if one.name == order.stage), None)
    if stage is None:
        raise Refused("stage-unknown")
    if not 1 <= order.round <= stage.rounds:
        raise Refused("round-unknown")
    return stage


def _task(order: Order, policy: Site) -> tuple[Trained | Measured, torch.device]:
    """Return the stage's task and where it trains: the site's device, for networks of images.

    Raises:
        ConfigError: if `site.toml` names a device that is not here.
    """
    plan, stage = order.plan, order.plan.find(order.stage)
    task, device = make(plan, stage, order.shared, order.arrays), torch.device(policy.device)
    if device.type == "cpu" or not isinstance(task, Trained) or getattr(task, "on_cpu", False):
        return task, torch.device("cpu")
    if (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError("device in site.toml must be here", "no such device", 'write device = "cpu", or mend CUDA')
    moved = {key: value.to(device) for key, value in order.shared.items()}
    return make(plan, stage, moved, order.arrays), device


def _loaded(hospital: Hospital, task: Trained, order: Order, device: torch.device) -> nn.Module:
    """Return the stage's network with the order's weights; what cannot be carried out fails before it costs."""
    model = task.build().to(device)
    load_weights(model, {**order.arrays, **_own_weights(hospital, order)})
    task.private_parameters(model)
    return model


def _own_weights(hospital: Hospital, order: Order) -> dict[str, Tensor]:
    """Return the weights that this site kept for itself in the round before, such as its critic's."""
    file = hospital.own_file(order.plan, order.stage)
    if order.round == 1 or not file.exists():
        return {}
    kept: dict[str, Tensor] = torch.load(file, weights_only=True)
    return kept


def book(hospital: Hospital, work: Work, event: Event, coalition: Event | None = None) -> str:
    """Book the release and return the hash of the ledger's line, or raise what `policy.booking` raises.

    Args:
        hospital: whose ledger.
        work: what is released.
        event: what the mechanism does.
        coalition: of a secure sum, what is left of the noise against all others together.
    """
    plan, stage, order = work.order.plan, work.stage, work.order
    entry = Entry(
        stage=stage.name,
        round=order.round,
        fold=stage.fold,
        split=hospital.division(plan),
        event=event,
        clip=stage.clip,
        plan=plan.digest(),
        noise="os entropy" if work.seed is None else "fixed seed",
        coalition=coalition,
    )
    cap = float("inf") if plan.privacy.mechanism == "none" else work.policy.max_epsilon
    also = booking(plan, stage, order.round, event, work.policy, work.counted_from, entry.split)
    return hospital.ledger.book(entry, max_epsilon=cap, delta=plan.privacy.delta, also=also)


def pass_gate(
    hospital: Hospital,
    work: Work,
    kind: str,
    schema: Schema,
    arrays: Mapping[str, Tensor],
    numbers: Mapping[str, float],
    event: Event,
    paid: str,
    limit: Limit,
) -> None:
    """Return if an answer of message type `kind` may leave, after its line is in the log."""
    fields = asdict(event)
    Gate(hospital.egress_log).pass_through(
        arrays,
        numbers,
        kind=kind,
        schema=schema,
        stage=work.stage.name,
        round_number=work.order.round,
        mechanism=mechanism_of(fields),
        cost=cost_in_words(fields),
        plan=work.order.plan.digest(),
        ledger=paid,
        limit=limit,
        largest=work.policy.max_message_bytes,
    )

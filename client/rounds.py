"""One order from the server, carried out: admit, book, compute, release. Knows no Flower."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from client.aligning import maps_of
from client.egress import Gate
from client.hospital import Hospital
from client.policy import admit
from fedspine.cohort.prepared import mapped
from fedspine.config import Plan, Stage
from fedspine.errors import ConfigError
from fedspine.harmony.apply import harmonised
from fedspine.privacy.accounting import Event
from fedspine.privacy.ledger import Entry
from fedspine.privacy.patient_sum import noise_generator, public_generator
from fedspine.site_file import Site
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._rounds import Strength, measure, optimiser_of, set_rate, train_round
from fedspine.tasks._task import Measured, Trained, load_weights, make, travels
from fedspine.wire import ENROL, SCANNERS, STAGE, Schema, schema_of


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


def enrol(hospital: Hospital, plan: Plan) -> Answer:
    """Return how many patients the site brings to each fold; these counts are public by agreement."""
    check_tasks(plan)
    policy = hospital.policy()
    enrolment = hospital.enrol(plan)
    sides = enrolment.sides
    for stage in plan.stage:
        if stage.task in policy.tasks:
            admit(plan, stage, policy, sum(map(len, sides.values())))
    numbers = {fold: float(len(members)) for fold, members in sides.items()}
    numbers |= dict(zip(SCANNERS, map(float, enrolment.scanners), strict=True))
    if hospital.partition is not None:
        numbers["partition"] = float(hospital.partition)
    gate = Gate(hospital.egress_log)
    gate.pass_through({}, numbers, kind=ENROL, schema={}, stage="", round_number=0, mechanism="public", cost="none")
    return Answer({}, numbers)


def answer(hospital: Hospital, order: Order) -> Answer:
    """Carry out one round of a stage.

    The release is booked before it is computed, and it is computed once: what leaves is the noised sum or the network
    that noised steps made.
    """
    check_tasks(order.plan)
    plan, stage = order.plan, order.plan.find(order.stage)
    policy = hospital.policy()
    hospital.use_threads(policy)
    sides = hospital.patients(plan)
    admit(plan, stage, policy, sum(map(len, sides.values())))
    if not 1 <= order.round <= stage.rounds:
        raise ConfigError("a round must be one of the stage's", "another", "send the rounds that the plan names")
    task, device = _task(order, policy)
    strength = Strength.of(plan, stage)
    maps = maps_of(hospital, plan, order.shared)
    patients = mapped(sides[stage.fold], lambda patient: harmonised(patient, order.shared, maps))
    model = _loaded(hospital, task, order, device) if isinstance(task, Trained) else None
    schema = schema_of(task, model)
    seed = hospital.noise_seed(policy, plan)
    noise = noise_generator(seed, "noise", hospital.name, plan.digest(), stage.name, order.round)

    def note(error: Exception) -> None:
        hospital.note_error(stage.name, "patient-skipped", error)

    _book(hospital, order, strength, policy, seed)
    numbers = {"patients": float(len(patients))}
    if isinstance(task, Trained) and model is not None:
        optimiser = _optimiser(hospital, order, task, model)
        draws = public_generator(plan.seed, "draws", hospital.name, stage.name, order.round)
        numbers["loss"] = train_round(task, model, optimiser, patients, stage, strength, noise, draws, note)
        _keep_optimiser(hospital, order, optimiser)
        arrays = _kept_at_home(hospital, order, task, model)
    else:
        assert isinstance(task, Measured)
        arrays = measure(task, patients, strength, noise, note)
    _pass_gate(hospital, order, schema, arrays, numbers)
    return Answer(arrays, numbers)


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


def _kept_at_home(hospital: Hospital, order: Order, task: Trained, model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that travel, after the others are kept for the next round; the last round ends them."""
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    own = {key: value for key, value in weights.items() if not travels(task, key)}
    file = hospital.own_file(order.plan, order.stage)
    if own and order.round < order.plan.find(order.stage).rounds:
        _write(file, own)
    else:
        file.unlink(missing_ok=True)
    return {key: value for key, value in weights.items() if key not in own}


def _optimiser(hospital: Hospital, order: Order, task: Trained, model: nn.Module) -> torch.optim.Adam:
    """Return the stage's optimiser as the last round left it."""
    stage = order.plan.find(order.stage)
    optimiser = optimiser_of(task, model, stage.learning_rate)
    file = hospital.optimiser_file(order.plan, stage.name)
    if order.round > 1 and file.exists():
        optimiser.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    set_rate(optimiser, stage, order.round)
    return optimiser


def _keep_optimiser(hospital: Hospital, order: Order, optimiser: torch.optim.Adam) -> None:
    """Keep the optimiser for the next round, or throw it away after the last."""
    stage = order.plan.find(order.stage)
    file = hospital.optimiser_file(order.plan, stage.name)
    if order.round < stage.rounds:
        _write(file, optimiser.state_dict())
    else:
        file.unlink(missing_ok=True)


def _write(file: Path, state: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, file)


def _event(stage: Stage, strength: Strength) -> Event:
    return Event(strength.noise_multiplier, stage.sample_rate, stage.steps)


def _book(hospital: Hospital, order: Order, strength: Strength, policy: Site, seed: int | None) -> None:
    plan, stage = order.plan, order.plan.find(order.stage)
    entry = Entry(
        stage=stage.name,
        round=order.round,
        fold=stage.fold,
        split=hospital.division(plan),
        event=_event(stage, strength),
        clip=stage.clip,
        plan=plan.digest(),
        noise="os entropy" if seed is None else "fixed seed",
    )
    cap = float("inf") if plan.privacy.mechanism == "none" else policy.max_epsilon
    hospital.ledger.book(entry, max_epsilon=cap, delta=plan.privacy.delta)


def _pass_gate(
    hospital: Hospital,
    order: Order,
    schema: Schema,
    arrays: Mapping[str, Tensor],
    numbers: Mapping[str, float],
) -> None:
    stage = order.plan.find(order.stage)
    event = _event(stage, Strength.of(order.plan, stage))
    Gate(hospital.egress_log).pass_through(
        arrays,
        numbers,
        kind=STAGE,
        schema=schema,
        stage=stage.name,
        round_number=order.round,
        mechanism=order.plan.privacy.mechanism,
        cost=f"σ={event.noise_multiplier:g}, q={event.sample_rate:g}, {event.count} times",
    )

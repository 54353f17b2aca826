"""One order from the server, carried out: admit, book, compute, release. Knows no Flower."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from client.egress import Gate
from client.hospital import Hospital
from client.identity import identity
from client.limits import sum_limit, weights_limit
from client.policy import admit
from client.work import Answer, Order, book, pass_gate, prepare
from fedspine.config import Plan
from fedspine.errors import Refused
from fedspine.privacy.accounting import Event
from fedspine.privacy.patient_sum import noise_generator, public_generator
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._rounds import measure, optimiser_of, set_rate, train_round
from fedspine.tasks._task import Measured, Trained, travels
from fedspine.tasks._together import is_one_sum
from fedspine.wire import ENROL, SCANNERS, STAGE, schema_of


def enrol(hospital: Hospital, plan: Plan) -> Answer:
    """Return how many patients the site brings to each fold; these counts are public by agreement."""
    policy = hospital.policy()
    hospital.approvals.permit(plan, policy)
    check_tasks(plan)
    enrolment = hospital.enrol(plan)
    sides = enrolment.sides
    for stage in plan.stage:
        if stage.task in policy.tasks:
            admit(plan, stage, policy, sum(map(len, sides.values())))
    numbers = {fold: float(len(members)) for fold, members in sides.items()}
    numbers |= dict(zip(SCANNERS, map(float, enrolment.scanners), strict=True))
    if hospital.partition is not None:
        numbers["partition"] = float(hospital.partition)
    elif hospital.noise_seed(policy, plan) is not None:
        numbers["rehearsal"] = 1.0
    if plan.privacy.sums == "secure":
        numbers["roster"] = float(identity(hospital).number)
    hospital.approvals.enrol(plan, len(hospital.ledger.entries()))
    Gate(hospital.egress_log).pass_through(
        {},
        numbers,
        kind=ENROL,
        schema={},
        stage="",
        round_number=0,
        mechanism="public",
        cost="none",
        plan=plan.digest(),
        largest=policy.max_message_bytes,
    )
    return Answer({}, numbers)


def answer(hospital: Hospital, order: Order) -> Answer:
    """Carry out one round of a stage.

    The release is booked before it is computed, and it is computed once: what leaves is the noised sum or the network
    that noised steps made.

    Raises:
        Refused: `masks-missing`, if by the plan the server is to see no site's sum; see `client.masked`.
    """
    work = prepare(hospital, order)
    plan, stage, task, model = order.plan, work.stage, work.task, work.model
    if is_one_sum(plan, stage, task):
        raise Refused("masks-missing")
    strength, patients = work.strength, work.patients
    noise = noise_generator(work.seed, "noise", hospital.name, plan.digest(), stage.name, order.round)
    if isinstance(task, Trained) and model is not None:
        optimiser = _optimiser(hospital, order, task, model)
        limit = weights_limit(task, model, optimiser, stage, strength, len(patients))
    else:
        limit = sum_limit(strength, len(patients))
    schema, event = schema_of(task, model), Event(strength.noise_multiplier, stage.sample_rate, stage.steps)
    paid = book(hospital, work, event)
    numbers = {"patients": float(len(patients))}
    if isinstance(task, Trained) and model is not None:
        draws = public_generator(plan.seed, "draws", hospital.name, stage.name, order.round)
        numbers["loss"] = train_round(
            task, model, optimiser, patients, stage, strength, noise, draws, work.note, number=order.round
        )
        _keep_optimiser(hospital, order, optimiser)
        arrays = _kept_at_home(hospital, order, task, model)
    else:
        assert isinstance(task, Measured)
        arrays = measure(task, patients, strength, noise, work.note)
    pass_gate(hospital, work, STAGE, schema, arrays, numbers, event, paid, limit)
    return Answer(arrays, numbers)


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

"""The sites as the server sees them: nodes of a `Grid` with names, asked and answered with bounded waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from fedspine.config import HELD_OUT, TRAIN, Plan, plan_text
from fedspine.errors import FedspineError
from fedspine.wire import ARRAYS, ENROL, FORMAT, NUMBERS, ORDER, SCANNERS, SHARED, STAGE


@dataclass(frozen=True)
class Enrolled:
    """A site that takes part.

    Args:
        name: the node's registered name, or the site's folder in a simulation.
        node: Flower's id.
        patients: fold to number of patients, public by agreement.
        scanners: training patients on each of the site's scanners, by number, public too.
        partition: the site's number in a simulation, else `None`.
        place: of a plan with secure sums, the site's in the roster that all sites hold.
        rehearsal: whether the site's noise comes from a fixed seed, for it has no patients.
    """

    name: str
    node: int
    patients: Mapping[str, int]
    scanners: tuple[int, ...]
    partition: int | None = None
    place: int | None = None
    rehearsal: bool = False


@dataclass(frozen=True)
class Reply:
    """One site's answer: arrays and numbers, or a code."""

    arrays: Mapping[str, Tensor]
    numbers: Mapping[str, float]
    code: str = ""


def enrol(
    grid: Grid, plan: Plan, *, expected: int, names: Sequence[str], wait_s: float
) -> tuple[list[Enrolled], dict[str, str]]:
    """Return the sites that take part, by name, and the refusals of the others.

    Args:
        grid: Flower's.
        plan: sent along, so that a site can refuse it now.
        expected: nodes to wait for.
        names: of a simulation's sites, by partition; empty otherwise.
        wait_s: the longest wait for nodes, and then for their answers.

    Raises:
        FedspineError: if fewer nodes than expected come in time, or nobody takes part.
    """
    deadline = time.monotonic() + wait_s
    while len(nodes := {node.node_id: node.name for node in grid.get_nodes()}) < expected:
        if time.monotonic() > deadline:
            raise FedspineError(
                f"{expected} sites must be connected; found {len(nodes)} after {wait_s:g} s; start the missing ones."
            )
        time.sleep(0.5)
    order = order_of(plan)
    messages = {node: RecordDict({ORDER: order}) for node in nodes}
    enrolled, refused = [], {}
    for index, (node, reply) in enumerate(sorted(ask(grid, messages, ENROL, wait_s).items())):
        try:
            partition = int(reply.numbers["partition"]) if "partition" in reply.numbers else None
            place = int(reply.numbers["roster"]) if "roster" in reply.numbers else None
            counts = {fold: int(reply.numbers[fold]) for fold in (TRAIN, HELD_OUT)} if not reply.code else {}
            scanners = tuple(int(reply.numbers[one]) for one in SCANNERS) if not reply.code else ()
        except (KeyError, ValueError, OverflowError):
            partition, place, counts, scanners, reply = None, None, {}, (), Reply({}, {}, "unreadable")
        number = index if partition is None else partition
        name = nodes[node] or (names[number] if 0 <= number < len(names) else f"site-{number + 1}")
        if reply.code or min(*counts.values(), *scanners) < 0:
            refused[name] = reply.code or "unreadable"
            continue
        rehearsal = reply.numbers.get("rehearsal", 0.0) != 0.0
        enrolled.append(Enrolled(name, node, counts, scanners, partition, place, rehearsal))
    if not enrolled:
        codes = ", ".join(sorted(set(refused.values()))) or "no answer"
        raise FedspineError(f"at least one site must take part; found none ({codes}); see the sites' errors.jsonl.")
    return sorted(enrolled, key=lambda site: site.name), refused


def ask_stage(
    grid: Grid,
    sites: Iterable[Enrolled],
    plan: Plan,
    stage: str,
    round_number: int,
    arrays: Mapping[str, Tensor],
    shared: Mapping[str, Mapping[str, Tensor]],
    timeout_s: float,
) -> dict[str, Reply]:
    """Send one round of a stage to `sites` and return their answers by name; `shared` is per site."""
    order = order_of(plan, stage, round_number)
    weights = ArrayRecord(dict(arrays))
    by_node = {site.node: site.name for site in sites}
    messages = {
        node: RecordDict({ARRAYS: weights, SHARED: ArrayRecord(dict(shared[name])), ORDER: order})
        for node, name in by_node.items()
    }
    replies = ask(grid, messages, STAGE, timeout_s, ttl=timeout_s)
    return {by_node[node]: reply for node, reply in sorted(replies.items(), key=lambda item: by_node[item[0]])}


def order_of(plan: Plan, stage: str = "", round_number: int = 0) -> ConfigRecord:
    """Return the record that says what is asked for."""
    return ConfigRecord({"format": FORMAT, "plan": plan_text(plan), "stage": stage, "round": round_number})


def ask(
    grid: Grid, contents: Mapping[int, RecordDict], kind: str, timeout_s: float, ttl: float | None = None
) -> dict[int, Reply]:
    """Return an answer per node; silence within `timeout_s` is the code `no-answer`."""
    messages = [Message(content, dst_node_id=node, message_type=kind, ttl=ttl) for node, content in contents.items()]
    replies: dict[int, Reply] = {node: Reply({}, {}, "no-answer") for node in contents}
    for message in grid.send_and_receive(messages, timeout=timeout_s):
        replies_to = next(
            (m.metadata.dst_node_id for m in messages if m.metadata.message_id == message.metadata.reply_to_message_id),
            message.metadata.src_node_id,
        )
        if replies_to in replies:
            replies[replies_to] = _unpacked(message)
    return replies


def _unpacked(message: Message) -> Reply:
    if message.has_error():
        reason = message.error.reason or ""
        return Reply({}, {}, reason if reason.replace("-", "").isalpha() else "no-answer")
    try:
        arrays = message.content.array_records[ARRAYS].to_torch_state_dict()
        numbers = {key: float(str(value)) for key, value in message.content.metric_records[NUMBERS].items()}
    except (KeyError, ValueError, TypeError):
        return Reply({}, {}, "unreadable")
    return Reply(arrays, numbers)

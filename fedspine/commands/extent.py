"""What every stage of a plan would send, found without any patient: the names and shapes of its messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.config import Plan, Stage
from fedspine.errors import FedspineError
from fedspine.tasks._task import Shared, Site, Trained, make, public_values
from fedspine.tasks._together import dimension_of, is_one_sum
from fedspine.wire import Schema, masked_schema, schema_of

PATIENTS = 10
"""Of the site that is played here; no shape depends on it."""

BITS = 32
"""Of a word of a secure sum; very many patients would need 64. The 96 bytes of its key are not counted."""


@dataclass(frozen=True)
class Extent:
    """The size of a stage's message.

    Args:
        numbers: how many leave a round.
        size: bytes a round.
    """

    numbers: int
    size: int


def extents(plan: Plan, tell: Callable[[str], None]) -> dict[str, Extent]:
    """Return the message of every stage, by stage; draws the plan's phantoms, which takes up to some minutes.

    Every stage is made as the server makes it, from public values and from empty sums in the place of earlier releases.
    One that needs more, such as another run's file, is left out.

    Args:
        plan: noise solved.
        tell: told each stage's name before it is looked at.
    """
    shared: dict[str, Tensor] = {}
    found = {}
    for stage in plan.stage:
        tell(stage.name)
        try:
            with torch.random.fork_rng(devices=[]):
                schema, more, numbers = _opened(plan, stage, shared)
        except FedspineError:
            continue
        shared |= more
        entries = sum(math.prod(shape) for _, shape in schema.values())
        size = sum(math.prod(shape) * kind.itemsize for kind, shape in schema.values())
        found[stage.name] = Extent(entries + numbers, size + 8 * numbers)
    return found


def _opened(plan: Plan, stage: Stage, shared: Shared) -> tuple[Schema, dict[str, Tensor], int]:
    """Return the arrays that the stage sends, what later stages find, and how many numbers go beside the arrays."""
    inner = _fresh(plan, stage, shared)
    public = public_values(plan, stage, shared, inner)
    task = make(plan, stage, {**shared, **public}, inner)
    if isinstance(task, Trained):
        model = task.build()
        if is_one_sum(plan, stage, task):
            return masked_schema(dimension_of(task, model), BITS), public, 1
        return schema_of(task, model), public, 2
    scanners = (PATIENTS, *[0] * (MOST_SCANNERS - 1))
    outcome = task.finish({"site": Site(task.zeros(), PATIENTS, scanners)}, 1.0)
    released = {**outcome.common, **outcome.own.get("site", {})}
    schema = masked_schema(dimension_of(task, None), BITS) if is_one_sum(plan, stage, task) else schema_of(task, None)
    return schema, {**public, **{f"{stage.task}.{key}": value for key, value in released.items()}}, 1


def _fresh(plan: Plan, stage: Stage, shared: Shared) -> dict[str, Tensor] | None:
    """Return fresh weights of the network that `stage` measures."""
    if not stage.of:
        return None
    task = make(plan, plan.find(stage.of), shared)
    assert isinstance(task, Trained)
    return {key: value.detach() for key, value in task.build().state_dict().items()}

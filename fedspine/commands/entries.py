"""How many numbers one release of each stage of a plan holds, counted without any patient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.config import Plan
from fedspine.tasks._checks import check_tasks
from fedspine.tasks._task import Shared, Site, Trained, make, public_values
from server.starting import frozen

PATIENTS = 40
"""Of the made-up site. No count of entries depends on it."""


def entries(plan: Plan, folder: Path, progress: Callable[[int, int], None]) -> dict[str, int]:
    """Return stage to the numbers that one release of it holds: weights that patients train, or parts of a term.

    What a stage measures can follow from earlier results, so the plan's public parts are played from beginning to end,
    with one site whose every sum is zero and networks with fresh weights.

    Args:
        plan: its lists of contrasts, classes and omics columns filled.
        folder: where the stages' `initial` files lie.
        progress: told of (done, all).
    """
    check_tasks(plan)
    found: dict[str, int] = {}
    shared: dict[str, Tensor] = {}
    weights: dict[str, Shared] = {}
    for number, stage in enumerate(plan.stage):
        progress(number, len(plan.stage))
        inner = weights.get(stage.of)
        shared |= public_values(plan, stage, shared, inner) | frozen(stage, folder)
        task = make(plan, stage, shared, inner)
        if isinstance(task, Trained):
            model = task.build()
            weights[stage.name] = model.state_dict()
            found[stage.name] = sum(map(Tensor.numel, task.private_parameters(model)))
            continue
        zeros = task.zeros()
        found[stage.name] = sum(map(Tensor.numel, zeros.values()))
        site = Site(zeros, PATIENTS, (PATIENTS, *[0] * (MOST_SCANNERS - 1)))
        outcome = task.finish({"": site}, 1.0)
        shared |= {f"{stage.task}.{key}": value for key, value in {**outcome.common, **outcome.own.get("", {})}.items()}
    progress(len(plan.stage), len(plan.stage))
    return found

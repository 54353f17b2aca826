"""A run's stages opened for an audit: the real task and network, in double precision where rounding must not count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedspine.audit.subject import SiteRecord, Subject
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Stage
from fedspine.tasks._task import Measured, Trained, load_weights, make


@dataclass(frozen=True, eq=False)
class Opened:
    """A stage of the run.

    Args:
        stage: of the plan.
        task: made of the run's released values.
        model: with the run's final weights; `None` where the stage measures.
    """

    stage: Stage
    task: Trained | Measured
    model: nn.Module | None


def opened(subject: Subject, stage: Stage, site: SiteRecord | None = None, double: bool = False) -> Opened:
    """Return a stage with its task and network.

    Args:
        subject: the run.
        stage: one of the plan's.
        site: whose own released values count.
        double: in float64, inside `double_precision`.
    """
    shared = {**subject.shared, **(site.own if site is not None else {})}
    inner, weights = subject.models.get(stage.of), subject.models.get(stage.name)
    if double and inner is not None:
        inner = _cast(inner)
    task = make(subject.plan, stage, _cast(shared) if double else shared, inner)
    if not isinstance(task, Trained):
        return Opened(stage, task, None)
    model = task.build().double() if double else task.build()
    if weights is not None:
        load_weights(model, _cast(weights) if double else weights)
    return Opened(stage, task, model)


@contextmanager
def double_precision() -> Iterator[None]:
    """Make new tensors float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def doubled(patient: PatientTensors) -> PatientTensors:
    """Return the patient in float64."""
    held: dict[str, Any] = {
        f.name: value.double() for f in fields(patient) if isinstance(value := getattr(patient, f.name), Tensor)
    }
    for name in ("harmonised", "measured"):
        pair = getattr(patient, name)
        held[name] = None if pair is None else tuple(value.double() for value in pair)
    return replace(patient, **held)


def some_patients(subject: Subject, fold: str, most: int) -> tuple[SiteRecord, Sequence[PatientTensors]] | None:
    """Return the site with most patients of `fold` at hand, and `most` of them at most; `None` where there are none."""
    sites = [site for site in subject.sites if len(site.patients.get(fold, ()))]
    if not sites:
        return None
    site = max(sites, key=lambda one: len(one.patients[fold]))
    return site, [site.patients[fold][index] for index in range(min(most, len(site.patients[fold])))]


def _cast(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.double() if value.is_floating_point() else value for key, value in arrays.items()}

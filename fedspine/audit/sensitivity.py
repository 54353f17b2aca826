"""A4 and A5: what one patient can move a release by, and whether a patient's gradient is that patient's alone.

A4 leaves patients out one at a time. The real round runs with and without the patient, without noise, at the run's own
weights, in float64, with the clip at quantiles of the patients' norms; the two sums, of gradients and losses together,
may differ by the clip at most. A loss that mixes patients moves others' terms as well, and shows as more. Randomness is
coupled: every patient meets the same seed in both runs, as in the proof of `tasks._rounds.train_round`.

What becomes a secure sum is looked at as a plain one: clip and accumulation are the same code before it is rounded.

FAIL where the ratio is above 1 + 10⁻⁶ (where a task can be computed in float32 only: 1 + 10⁻⁴, for its rounding).

A5 takes one real step of all patients together, unclipped, and compares it with the sum of gradients of each patient
alone on a fresh copy of the network. FAIL where they differ by more than 10⁻⁸ of their norm (10⁻⁴ in float32).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.stages import Opened, double_precision, doubled, opened, some_patients
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.audit.watched import Watched, divisor, watch
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Stage
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured, Trained

MOST = 8
"""Patients of a stage who are left out in turn."""

QUANTILES = (0.0, 0.5, 0.9)
"""Of the patients' norms: where the clip is set."""

ROUNDING = {True: (1e-6, 1e-8), False: (1e-4, 1e-4)}
"""Whether in float64: what A4's ratio may exceed 1 by, and A5's relative error be."""

SENSITIVITY_MEANS = (
    "Noise hides one patient only if one patient cannot move the sum by more than the bound that the noise was made "
    "for. Here patients are taken out, one at a time, and it is measured how far the sum moves."
)
ALONE_MEANS = (
    "The proof needs that what a patient adds is computed from that patient alone. Here the sum over all patients is "
    "compared with what each gives when nobody else is there."
)


@dataclass(frozen=True)
class Found:
    """What was measured of one stage.

    Args:
        stage: its name.
        value: the largest ratio of a difference to the clip, or the relative error.
        most: what it may be.
        patients: who took part.
        double: whether in float64.
    """

    stage: str
    value: float
    most: float
    patients: int
    double: bool


class Same:
    """Stands where the round expects its generator, without noise: everybody is taken and meets the same seed."""

    def integers(self, high: int) -> int:
        """Return a seed, always the same."""
        return 7

    def random(self, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return zeros, below any sampling rate."""
        return np.zeros(count)


def sensitivity(subject: Subject) -> Line:
    """Return line A4; see this file's head."""
    found = _each(subject, sensitivity_of)
    worst = max(found, key=lambda one: one.value / one.most, default=None)
    if worst is None:
        return _untested("A4", "One patient's influence on a sum", SENSITIVITY_MEANS)
    words = (
        f"Of {len(found)} stages, a patient left out moved a sum by {worst.value:.6f} times its bound at most "
        f"(stage {worst.stage}); 1 is allowed."
    )
    return Line(
        "A4",
        "One patient's influence on a sum",
        Level.MECHANISM,
        Grade.FAIL if worst.value > worst.most else Grade.PASS,
        words,
        bound="" if worst.value > worst.most else _scope(found, "the patients and weights tried"),
        means=SENSITIVITY_MEANS,
        figures={one.stage: one.value for one in found},
    )


def alone(subject: Subject) -> Line:
    """Return line A5; see this file's head."""
    found = _each(subject, error_of)
    worst = max(found, key=lambda one: one.value / one.most, default=None)
    if worst is None:
        return _untested("A5", "A patient's gradient is the patient's alone", ALONE_MEANS)
    failed = worst.value > worst.most
    return Line(
        "A5",
        "A patient's gradient is the patient's alone",
        Level.MECHANISM,
        Grade.FAIL if failed else Grade.PASS,
        f"Over {len(found)} trained stages the sum differs from that of patients alone by a share of {worst.value:.1e} "
        f"at most (stage {worst.stage}).",
        bound="" if failed else _scope(found, "one step at the run's final weights"),
        means=ALONE_MEANS,
        figures={one.stage: one.value for one in found},
    )


def _untested(check: str, title: str, means: str) -> Line:
    return Line(check, title, Level.MECHANISM, Grade.NOT_TESTED, "No patients are at hand (--data).", means=means)


def _scope(found: Sequence[Found], what: str) -> str:
    single = [one.stage for one in found if not one.double]
    rounded = f"; in float32, to 10⁻⁴: {', '.join(single)}" if single else ""
    return f"Holds for {what}: up to {max(one.patients for one in found)} patients a stage{rounded}."


def _each(subject: Subject, look: Any) -> list[Found]:
    """Return what `look` finds of every stage: in float64, or in float32 where the task cannot do otherwise."""
    found: list[Found] = []
    for stage in subject.plan.stage:
        chosen = some_patients(subject, stage.fold, MOST)
        if chosen is None:
            continue
        site, patients = chosen
        one = _in_precision(subject, stage, site, patients, look, double=True)
        if one is None:
            one = _in_precision(subject, stage, site, patients, look, double=False)
        if one is not None and one.patients:
            found.append(one)
    return found


def _in_precision(
    subject: Subject, stage: Stage, site: SiteRecord, patients: Sequence[PatientTensors], look: Any, double: bool
) -> Found | None:
    """Return what is found; `None` where a patient's term could not be computed in this precision."""
    with double_precision() if double else nullcontext():
        try:
            one = opened(subject, stage, site, double)
            found = look(one, [doubled(patient) if double else patient for patient in patients], double)
        except (RuntimeError, TypeError):  # two kinds of numbers met
            if not double:
                raise
            return None
    return cast("Found | None", found)


def sensitivity_of(one: Opened, patients: Sequence[PatientTensors], double: bool) -> Found | None:
    """Return the largest ratio over left-out patients and clips; `None` where some term could not be computed."""
    norms = []
    for patient in patients:
        term = _sum(one, [patient], math.inf)
        if term is None:
            return None
        norms.append(float(term.norm()))
    speaking = [patient for patient, norm in zip(patients, norms, strict=True) if norm > 0]
    known = [norm for norm in norms if norm > 0]
    worst = 0.0
    for clip in dict.fromkeys(np.quantile(known, QUANTILES).tolist()) if known else ():
        whole = _sum(one, speaking, clip)
        for index in range(len(speaking)):
            rest = _sum(one, [*speaking[:index], *speaking[index + 1 :]], clip)
            if whole is None or rest is None:
                return None
            worst = max(worst, float((whole - rest).norm()) / clip)
    return Found(one.stage.name, worst, 1 + ROUNDING[double][0], len(speaking), double)


def error_of(one: Opened, patients: Sequence[PatientTensors], double: bool) -> Found | None:
    """Return the relative difference of A5; `None` where some gradient could not be computed."""
    if not isinstance(one.task, Trained) or one.model is None:
        return Found(one.stage.name, 0.0, 1.0, 0, double)
    met: list[tuple[PatientTensors, Tensor]] = []
    task = Watched(one.task, before=lambda patient, draws: met.append((patient, draws.get_state())))
    together = _gradient(one, patients, math.inf, task)
    if together is None:
        return None
    apart = torch.zeros_like(together[:-1])
    for patient, state in met:
        model, draws = copy.deepcopy(one.model).train(), torch.Generator()
        draws.set_state(state)
        loss = one.task.patient_loss(model, patient, draws)
        if loss is None:
            continue
        loss.backward()  # type: ignore[no-untyped-call]
        own = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in one.task.private_parameters(model)]
        apart += torch.cat([gradient.flatten() for gradient in own]) / one.stage.views
    size = max(float(apart.norm()), 1e-30)
    return Found(
        one.stage.name, float((together[:-1] - apart).norm()) / size, ROUNDING[double][1], len(patients), double
    )


def _sum(one: Opened, patients: Sequence[PatientTensors], clip: float) -> Tensor | None:
    """Return the clipped sum, flat, without noise; at infinite clip of one patient, its term."""
    if isinstance(one.task, Trained):
        return _gradient(one, patients, clip, Watched(one.task))
    failed: list[Exception] = []
    task = cast(Measured, Precise(one.task))
    released = measure(task, patients, Strength(clip, 0.0), cast(np.random.Generator, Same()), failed.append)
    return None if failed else torch.cat([value.flatten() for value in released.values()])


class Precise:
    """A measuring task whose terms are added up in the precision in force: a term's last digits stay its own."""

    def __init__(self, task: Measured) -> None:
        self.task = task

    def zeros(self) -> dict[str, Tensor]:
        """Return what the task returns."""
        return {key: value.to(torch.get_default_dtype()) for key, value in self.task.zeros().items()}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return what the task returns."""
        term = self.task.term(patient)
        return None if term is None else {k: v.to(torch.get_default_dtype()) for k, v in term.items()}


def _gradient(one: Opened, patients: Sequence[PatientTensors], clip: float, task: Watched) -> Tensor | None:
    """Return one real step's sum of (gradient, scaled loss), flat; without a clip the loss is left out (0)."""
    assert one.model is not None
    stage = replace(one.stage, steps=1, sample_rate=1.0)
    noise = cast(np.random.Generator, Same())
    seen = watch(task, copy.deepcopy(one.model), patients, stage, Strength(clip, 0.0), noise)
    if seen.failures:
        return None
    count = divisor(stage, len(patients))
    loss = seen.loss * count * LOSS_NORM * clip / task.loss_bound if math.isfinite(clip) else 0.0
    gradients = torch.cat([gradient.flatten() * count for gradient in seen.steps[0].released[:-1]])
    if not math.isfinite(clip):
        return torch.cat([gradients, gradients.new_zeros(1)])
    return torch.cat([gradients, gradients.new_tensor([loss])])

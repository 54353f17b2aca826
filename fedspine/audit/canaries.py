"""A8: fake patients, in or out by the flip of a coin, and what their traces say about epsilon.

Half of `CANARIES` fake patients take part in every round of a trained stage; each moves one dummy coordinate as far as
the clip allows (see `watched`). Whoever adds up what was released on that coordinate has the best score there is for
"was it in?". Two estimates of epsilon follow (`estimates`): the Gaussian one, which must stay below what these rounds
cost by the plan, and the one-run bound, reported with the most that it could say at all.

FAIL where the Gaussian estimate is above the stage's epsilon. It alarms on an honest system once in 10,000 audits
at most. It sees too little noise, a patient who counts more than once, or a cost booked too low, not a loss that mixes
patients, which A4 is for. Noise halved is found; noise 10 % low is not, which A7 is for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.audit.alarms import ALARM
from fedspine.audit.estimates import ceiling, gaussian_epsilon, one_run_epsilon
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.loss_distribution import Release, epsilon
from fedspine.audit.stages import Opened, opened
from fedspine.audit.subject import Subject
from fedspine.audit.watched import Watched, divisor, gradient_share, watch
from fedspine.audit.watched import canaries as fake_patients
from fedspine.config import Plan
from fedspine.privacy.patient_sum import noise_generator
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Trained

CANARIES = 1000

CONFIDENCE = 0.05
"""Significance of the one-run bound, as its authors report it."""

TITLE = "Canaries: epsilon as it was measured"
MEANS = (
    "Epsilon is a promise about how surely anybody can tell whether one patient took part. Here 500 of 1,000 made-up "
    "patients take part, made to be as easy to find as the method allows, and an attacker who sees every step guesses "
    "which. The better the guesses, the larger the epsilon that they prove."
)


@dataclass(frozen=True)
class Estimated:
    """What canaries say of one stage.

    Args:
        stage: its name.
        claim: epsilon of its rounds, by the audit's own accountant.
        gaussian: the lower estimate, at a confidence of 99.99 % over all stages.
        one_run: the one-run bound at 95 %.
        most: what that bound can say at most.
    """

    stage: str
    claim: float
    gaussian: float
    one_run: float
    most: float


def canary_epsilon(subject: Subject) -> Line:
    """Return line A8; see this file's head."""
    plan = subject.plan
    if plan.privacy.mechanism == "none":
        return Line("A8", TITLE, Level.MECHANISM, Grade.NOT_TESTED, "The plan promises no epsilon.", means=MEANS)
    stages = [one for stage in plan.stage if isinstance((one := opened(subject, stage)).task, Trained)]
    if not stages:
        return Line("A8", TITLE, Level.MECHANISM, Grade.NOT_TESTED, "The plan trains nothing.", means=MEANS)
    found = [estimated(plan, one, subject.seed, ALARM / len(stages)) for one in stages]
    worst = max(found, key=lambda one: one.gaussian / one.claim)
    failed = worst.gaussian > worst.claim
    told = ", ".join(f"{one.stage} {one.gaussian:.2f} of {one.claim:.2f}" for one in found)
    weak = max(found, key=lambda one: one.one_run)
    finding = (
        f"Estimated of claimed epsilon: {told}. The one-run bound says {weak.one_run:.2f} at most, and could not say "
        f"more than {weak.most:.2f}."
    )
    return Line(
        "A8",
        TITLE,
        Level.MECHANISM,
        Grade.FAIL if failed else Grade.PASS,
        f"More than was promised: {finding}" if failed else finding,
        bound="" if failed else f"{CANARIES} canaries find noise that is half as large as booked, not 10 % less.",
        means=MEANS,
        figures=_figures(found),
    )


def estimated(plan: Plan, one: Opened, seed: int, significance: float) -> Estimated:
    """Return what canaries say of a trained stage."""
    inside, outside = scores(plan, one, seed)
    delta, stage = plan.privacy.delta, one.stage
    claim = epsilon([Release(stage.noise_multiplier, stage.sample_rate, stage.rounds * stage.steps)], delta)
    return Estimated(
        stage.name,
        claim,
        gaussian_epsilon(inside, outside, delta, significance),
        one_run_epsilon(inside, outside, delta, CONFIDENCE),
        ceiling(CANARIES, delta, CONFIDENCE),
    )


def scores(plan: Plan, one: Opened, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scores of canaries that took part in all rounds of the stage, and of those that did not.

    A score is the sum of what was released on the canary's coordinate, in units of what one appearance adds.
    """
    assert isinstance(one.task, Trained)
    assert one.model is not None
    inside = np.random.default_rng(seed).permutation(CANARIES) < CANARIES // 2
    cohort = fake_patients(plan, np.flatnonzero(inside).tolist())
    strength, total = Strength.of(plan, one.stage), np.zeros(CANARIES)
    unit = divisor(one.stage, len(cohort)) / gradient_share(strength.clip)
    for _ in range(one.stage.rounds):
        task = Watched(one.task, whole=False)
        seen = watch(task, copy.copy(one.model), cohort, one.stage, strength, noise_generator(None), CANARIES)
        total += unit * sum(step.released[-1].double().numpy() for step in seen.steps)
    return total[inside], total[~inside]


def _figures(found: Sequence[Estimated]) -> dict[str, float]:
    parts = ("claim", "gaussian", "one_run", "most")
    return {f"{one.stage}: {part}": float(getattr(one, part)) for one in found for part in parts}

"""A6: whether patients are sampled as the ledger says: each on its own with the stage's rate, step by step.

Canaries stand for patients and the real round runs without noise; which of them took part in a step is read off. Under
Poisson sampling all of these are independent coin flips. Tested are the rate, each patient's own count, the spread of
the sample's size (a loader of fixed size has none), pairs of patients, and successive steps (a shuffled loader takes
nobody twice in an epoch). Beyond chance: the sum must be divided by the same constant at every step, and a step without
anybody must be taken, with its noise.

FAIL where a test alarms (see `alarms`), or where the constant or the empty step is wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from fedspine.audit.alarms import Test, alarms, chi_square, figures, smallest, spread
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.stages import opened
from fedspine.audit.subject import Subject
from fedspine.audit.watched import Seen, Watched, canaries, divisor, gradient_share, watch
from fedspine.config import Plan, Stage
from fedspine.privacy.patient_sum import noise_generator
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Trained

PATIENTS, STEPS = 32, 256
"""Canaries, and steps of a stage."""

EMPTY_STEPS = 64
"""Steps over a single canary, some of which find nobody."""

MEANS = (
    "The privacy bound counts on chance: in each step every patient takes part, or does not, by an independent coin "
    "flip. Common data loaders shuffle instead; booked as coin flips, their cost is stated far too low."
)


def sampling(subject: Subject) -> Line:
    """Return line A6; see this file's head."""
    tests: list[Test] = []
    faults: list[str] = []
    tried = 0
    for stage in subject.plan.stage:
        task = opened(subject, stage).task
        if not isinstance(task, Trained):
            continue
        tried += 1
        seen = _seen(subject.plan, stage, task, PATIENTS, STEPS, 0.0)
        tests += _tests(stage, _indicators(seen))
        faults += _constant(stage, seen)
        faults += _empty(subject.plan, stage, task, tests)
    if not tried:
        return Line("A6", "Sampling", Level.MECHANISM, Grade.NOT_TESTED, "The plan trains nothing.", means=MEANS)
    loud = alarms(tests)
    failed = bool(loud or faults)
    least = smallest(tests) if tests else None
    honest = f"{tried} stages, {len(tests)} tests"
    honest += f"; the least likely result has p = {least.p:.2g} ({least.what})." if least else "."
    wrong = "; ".join([*faults, *(f"{test.what}: p = {test.p:.1e}" for test in loud[:4])])
    return Line(
        "A6",
        "Sampling",
        Level.MECHANISM,
        Grade.FAIL if failed else Grade.PASS,
        f"Not as booked: {wrong}." if failed else honest,
        bound="" if failed else f"Of {PATIENTS} fake patients over {STEPS} steps of each stage; rarer faults may hide.",
        means=MEANS,
        figures=figures(tests),
    )


def _seen(plan: Plan, stage: Stage, task: Trained, patients: int, steps: int, noise: float) -> Seen:
    """Return a long round over canaries, on the dummy coordinates alone."""
    longer = replace(stage, steps=steps, augment="none", views=1)
    fakes = canaries(plan, range(patients))
    generator = noise_generator(None)
    return watch(
        Watched(task, whole=False), torch.nn.Identity(), fakes, longer, Strength(1.0, noise), generator, patients
    )


def _indicators(seen: Seen) -> NDArray[np.float64]:
    """Return (step, patient), 1 where the patient took part."""
    inside = np.zeros((len(seen.steps), PATIENTS))
    for number, step in enumerate(seen.steps):
        inside[number, list(step.canaries)] = 1
    return inside


def _tests(stage: Stage, inside: NDArray[np.float64]) -> list[Test]:
    """Return the tests of one stage's indicators (step, patient)."""
    rate, name = stage.sample_rate, stage.name
    if rate >= 1:
        return [Test(f"{name}: everybody takes part", float(bool(inside.all())))]
    steps, patients = inside.shape
    variance = rate * (1 - rate)
    excess = (1 - 6 * variance) / variance  # of one coin flip; a sum of n has 1/n of it
    unit = (inside - rate) / np.sqrt(variance)
    sizes, counts = unit.sum(1) / np.sqrt(patients), unit.sum(0) / np.sqrt(steps)
    # of a product of two, and of squares of products that share a patient, which are not independent
    tails = ((3 + excess) ** 2 - 3 + 2 * (patients - 2) * (2 + excess)) / steps
    pairs = (unit.T @ unit / np.sqrt(steps))[np.triu_indices(patients, 1)]
    later = float((unit[1:] * unit[:-1]).sum() / np.sqrt((steps - 1) * patients))
    return [
        Test(f"{name}: rate", float(stats.binomtest(int(inside.sum()), inside.size, rate).pvalue)),
        Test(f"{name}: size of the sample", spread(float((sizes**2).sum()), steps, excess / patients)),
        Test(f"{name}: count of each patient", spread(float((counts**2).sum()), patients, excess / steps)),
        Test(f"{name}: pairs of patients", spread(float((pairs**2).sum()), len(pairs), tails)),
        Test(f"{name}: successive steps", float(2 * stats.norm.sf(abs(later)))),
    ]


def _constant(stage: Stage, seen: Seen) -> list[str]:
    """Return a fault where the sum was not divided by the expected size of the sample."""
    right = divisor(stage, PATIENTS)
    expected = gradient_share(1.0) / right
    for step in seen.steps:
        values = step.released[-1][list(step.canaries)]
        if not torch.allclose(values, torch.full_like(values, expected), rtol=1e-4):
            return [f"{stage.name}: a sum is not divided by the constant {right:g}, or a patient counts otherwise"]
    return []


def _empty(plan: Plan, stage: Stage, task: Trained, tests: list[Test]) -> list[str]:
    """Return a fault where steps without anybody were not taken; test the noise of those that were."""
    if stage.sample_rate >= 1:
        return []
    seen = _seen(plan, stage, task, 1, EMPTY_STEPS, 1.0)
    if len(seen.steps) != EMPTY_STEPS:
        return [f"{stage.name}: a step is left out"]
    empty = [float(step.released[-1][0]) for step in seen.steps if not step.canaries]
    if empty:
        scaled = np.array(empty) * divisor(stage, 1)
        tests.append(Test(f"{stage.name}: noise of empty steps", chi_square(float((scaled**2).sum()), len(empty))))
    return []

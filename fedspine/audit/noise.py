"""A7: whether the noise is as large as booked, without pattern, and known to nobody.

The real round of every trained stage, and the real sum of every measured one, run with the run's own clip and noise
over fake patients who touch a few dummy coordinates; every other entry of what is released, the network's own weights
among them, is then nothing but noise. It must be Gaussian of standard deviation σC: chi-square of all entries together,
of each array, and of the released losses; Kolmogorov-Smirnov; correlation of successive steps and of rounds, which
would let noise be taken off again. Of a secure sum it is one site's share, in whole numbers. 80,000 entries a stage
find a deviation of 2 %.

FAIL where a test alarms (see `alarms`); too much noise is one too, for the books are wrong then.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from fedspine.audit.alarms import ALARM, Test, alarms, centred, chi_square, figures, smallest
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.stages import Opened, opened
from fedspine.audit.subject import Subject
from fedspine.audit.watched import Watched, canaries, divisor, watch
from fedspine.config import Plan
from fedspine.privacy.integer_sum import steps_for
from fedspine.privacy.patient_sum import noise_generator
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Trained
from fedspine.tasks._together import dimension_of, is_one_sum, share_of_gradient, share_of_terms

ENTRIES = 80_000
"""Entries of noise that are drawn of each stage, at least, unless that takes more than `MOST_ROUNDS` rounds."""

MOST_ROUNDS = 12_000
SURE = 1e-3
"""How likely the deviation that a PASS excludes may have been overlooked."""

MOST_KEPT = 4096
"""Entries that are looked at of one array."""

FAKES, COORDINATES = 8, 72
"""Fake patients, and dummy coordinates; those beyond the fakes receive noise alone."""

MEANS = (
    "Noise is what protects a patient; too little of it, or noise that can be subtracted again, protects nobody. Here "
    "the program's own noise is drawn many thousand times and measured."
)
TITLE = "Noise: how much"


@dataclass(frozen=True)
class Drawn:
    """Noise of one stage in units of what was booked.

    Args:
        entries: name of an array to (round, step, entry).
        losses: (round,); empty where the stage measures.
    """

    entries: dict[str, NDArray[np.float64]]
    losses: NDArray[np.float64]


def noise(subject: Subject) -> Line:
    """Return line A7; see this file's head."""
    plan = subject.plan
    if plan.privacy.mechanism == "none":
        return Line("A7", TITLE, Level.MECHANISM, Grade.NOT_TESTED, "The plan adds no noise at all.", means=MEANS)
    tests: list[Test] = []
    sizes: dict[str, float] = {}
    counts: dict[str, int] = {}
    for stage in plan.stage:
        drawn = _drawn(plan, opened(subject, stage))
        everything = np.concatenate([values.ravel() for values in drawn.entries.values()])
        sizes[stage.name] = float(np.sqrt((everything**2).mean()))
        counts[stage.name] = everything.size
        tests += _tests(stage.name, drawn, everything)
    loud = alarms(tests)
    low, high = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
    if loud:
        finding = "; ".join(f"{test.what}: p = {test.p:.1e}" for test in loud[:4])
        finding = (
            f"Noise is not as booked: {finding}; from {sizes[low]:.3f} ({low}) to {sizes[high]:.3f} times as large."
        )
    else:
        finding = (
            f"Over {len(sizes)} stages noise is {sizes[low]:.3f} to {sizes[high]:.3f} times as large as booked; of "
            f"{len(tests)} tests the least likely result has p = {smallest(tests).p:.2g}."
        )
    return Line(
        "A7",
        TITLE,
        Level.MECHANISM,
        Grade.FAIL if loud else Grade.PASS,
        finding,
        bound="" if loud else _bound(min(counts.values()), len(tests)),
        means=MEANS,
        figures={**figures(tests), **{f"{name}: size": size for name, size in sizes.items()}},
    )


def _bound(entries: int, tests: int) -> str:
    """Return how far off noise of so many entries would have been seen to be: the variance of χ²/n is 2/n."""
    level = float(stats.norm.isf(ALARM / tests / 2) + stats.norm.isf(SURE))
    least = level / math.sqrt(2 * entries)
    return f"Noise {least:.1%} off would have been seen in any stage with near certainty ({entries:,} draws or more)."


def _drawn(plan: Plan, one: Opened) -> Drawn:
    """Return the noise of one stage."""
    strength = Strength.of(plan, one.stage)
    scale = strength.noise_multiplier * strength.clip
    if is_one_sum(plan, one.stage, one.task):
        return _shares(one, strength, plan.privacy.least_sites - plan.privacy.colluding)
    if not isinstance(one.task, Trained):
        task, sums = one.task, []
        size = sum(value.numel() for value in task.zeros().values())
        for _ in range(min(max(math.ceil(ENTRIES / size), 4), MOST_ROUNDS)):
            released = measure(task, [], strength, noise_generator(None))
            sums.append({key: value.double().flatten()[:MOST_KEPT].numpy() / scale for key, value in released.items()})
        return Drawn({key: np.stack([each[key] for each in sums])[:, None] for key in sums[0]}, np.zeros(0))
    assert one.model is not None
    fakes = canaries(plan, range(FAKES))
    count = divisor(one.stage, FAKES)
    rounds: list[list[list[NDArray[np.float64]]]] = []
    losses: list[float] = []
    drawn = 0
    while (drawn < ENTRIES and len(rounds) < MOST_ROUNDS) or len(rounds) < 4:
        watched = Watched(one.task)
        seen = watch(watched, copy.copy(one.model), fakes, one.stage, strength, noise_generator(None), COORDINATES)
        rounds.append(
            [
                [
                    _noise_in(value, index == len(step.released) - 1, count / scale)
                    for index, value in enumerate(step.released)
                ]
                for step in seen.steps
            ]
        )
        one_loss = seen.loss * count * LOSS_NORM * strength.clip / one.task.loss_bound
        losses.append(one_loss / scale * math.sqrt(one.stage.steps))
        drawn += sum(value.size for step in rounds[-1] for value in step)
    names = [f"array {number + 1}" for number in range(len(rounds[0][0]))]
    entries = {
        name: np.stack([np.stack([step[index] for step in each]) for each in rounds])
        for index, name in enumerate(names)
    }
    return Drawn(entries, np.array(losses))


def _shares(one: Opened, strength: Strength, parts: int) -> Drawn:
    """Return shares of a secure sum's noise, without any patient, in units of what one of `parts` sites must add."""
    size = dimension_of(one.task, one.model)
    scale = strength.noise_multiplier * steps_for(size) / math.sqrt(parts)
    shares = []
    for _ in range(min(max(math.ceil(ENTRIES / size), 4), MOST_ROUNDS)):
        generator = noise_generator(None)
        if isinstance(one.task, Trained):
            assert one.model is not None
            share = share_of_gradient(one.task, one.model, [], one.stage, strength, parts, generator)
        else:
            share = share_of_terms(one.task, [], strength, parts, generator)
        shares.append(share[:MOST_KEPT].astype(float) / scale)
    return Drawn({"share": np.stack(shares)[:, None]}, np.zeros(0))


def _noise_in(released: torch.Tensor, dummy: bool, scale: float) -> NDArray[np.float64]:
    """Return entries that no fake patient touches, in units of what was booked."""
    values = released.double().flatten()[FAKES if dummy else 0 :][:MOST_KEPT]
    return np.asarray(values.numpy() * scale)


def _tests(name: str, drawn: Drawn, everything: NDArray[np.float64]) -> list[Test]:
    """Return the tests of one stage's noise."""
    arrays = [chi_square(float((each**2).sum()), each.size) for each in drawn.entries.values()]
    joined = np.concatenate(list(drawn.entries.values()), axis=2)
    thinned = everything[:: max(everything.size // 20_000, 1)]
    tests = [
        Test(f"{name}: size", chi_square(float((everything**2).sum()), everything.size)),
        Test(f"{name}: size, array by array", min(1.0, min(arrays) * len(arrays))),
        Test(f"{name}: Gaussian", float(stats.kstest(thinned, "norm").pvalue)),
        Test(f"{name}: mean", centred(everything)),
        Test(f"{name}: rounds", centred((joined[1:] * joined[:-1]).ravel())),
    ]
    if joined.shape[1] > 1:
        tests.append(Test(f"{name}: successive steps", centred((joined[:, 1:] * joined[:, :-1]).ravel())))
    if drawn.losses.size:
        tests.append(Test(f"{name}: losses", chi_square(float((drawn.losses**2).sum()), drawn.losses.size)))
    return tests

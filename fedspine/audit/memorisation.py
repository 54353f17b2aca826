"""A11: do made images repeat the patients that their generator was trained on?

Training and held-out patients were told apart by a hash of their names, so before training they are alike, and whatever
made images know of one side and not of the other they have from training. Two rules, in pixels and in a feature space
that was trained on phantoms alone:

1. *Nearer.* Two statistics: the probability that a training patient lies nearer to the made images than a held-out one,
   and the share of made images that are not authentic: nearer to their nearest training patient than that one is to the
   next one (Alaa et al. 2022). Patients' sides are exchanged at random; each statistic is measured in its own
   deviations, and the largest of the four is compared with the largest of each exchange (Westfall and Young 1993). So
   all four together accuse an honest generator with probability `ACCUSED` at most: 2 % over 20 runs, where p < 0.05 for
   each would accuse most of them.
2. *Copies.* Which patient lies nearest says little, for with more training than held-out patients it mostly is one of
   them. A copy is a made image that comes nearer to a training patient than `COPY` of the least distance of any
   held-out patient. Distances in many dimensions are all about alike, and in honest runs this ratio stays near 1.

To pass, the line has to find what is planted: one training patient repeated with a little noise (by rule 2), and images
that are all training patients with noise (by rule 1). Where it does not, it reads NOT TESTED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from fedspine.audit.likeness import SPACES, Points, distances, points
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.people import FEWEST, people
from fedspine.audit.subject import Subject
from fedspine.cohort.tensors import PatientTensors
from fedspine.privacy.patient_sum import public_generator
from fedspine.tasks._task import Generative, rebuilt

MADE = 240
"""Images asked of a generator."""

EXCHANGES, ACCUSED, COPY = 4999, 1e-3, 1 / 3

GRAIN = 0.05
"""Deviation of the noise on a planted copy, in units of the images."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Memory:
    """What made images know of training patients.

    Args:
        chance: how probable such statistics are where sides do not matter.
        nearer: by space, probability that a training patient lies nearer than a held-out one.
        authentic: by space, share of made images that are.
        closest: by space, least distance of a training patient over the least of a held-out one.
    """

    chance: float
    nearer: dict[str, float]
    authentic: dict[str, float]
    closest: dict[str, float]

    @property
    def memorised(self) -> bool:
        """Whether rule 1 accuses."""
        return self.chance <= ACCUSED

    @property
    def copied(self) -> bool:
        """Whether rule 2 accuses."""
        return min(self.closest.values()) < COPY


def memorisation(subject: Subject) -> Line:
    """Return the line, of every stage that makes patients."""
    known = people(subject)
    members, others = ([p for p in side if p.has_image] for side in (known.every_member, known.every_other))
    if min(len(members), len(others)) < FEWEST:
        return _untested("too few patients of the run are at hand, or none")
    made = made_images(subject)
    if not made:
        return _untested("the plan makes no images")
    everybody = points([*members, *others])
    return judged(
        {name: recalled(points(images), everybody, len(members), subject.seed) for name, images in made.items()},
        planted_copy=recalled(
            points([*next(iter(made.values())), *_repeated(members[:1], 1)]), everybody, len(members), subject.seed
        ),
        planted_memory=recalled(points(_repeated(members, MADE)), everybody, len(members), subject.seed),
        patients=(len(members), len(others)),
    )


def made_images(subject: Subject) -> dict[str, list[PatientTensors]]:
    """Return what each stage that makes patients makes."""
    found = {}
    for stage in subject.plan.stage:
        if stage.of:
            continue
        task, model = rebuilt(subject.plan, stage, subject.shared, subject.models)
        if isinstance(task, Generative):
            found[stage.name] = task.synthetic(model, MADE, public_generator(subject.seed, "audit", stage.name))
    return found


def _repeated(patients: Sequence[PatientTensors], count: int) -> list[PatientTensors]:
    """Return `count` planted images: patients in turn, with noise."""
    draws = torch.Generator().manual_seed(11)
    return [
        p.with_images(
            p.images + GRAIN * torch.randn(p.images.shape, generator=draws) * p.present[:, None, None], p.mask
        )
        for p in islice(cycle(patients), count)
    ]


def recalled(made: Points, everybody: Points, members: int, seed: int) -> Memory:
    """Return what made images know of the first `members` of everybody."""
    random = np.random.default_rng([seed, 11])
    count = int(everybody.whose.max()) + 1
    truth = np.arange(count) < members
    orders = [truth, *(random.permutation(truth) for _ in range(EXCHANGES))]
    columns, nearer, authentic, closest = [], {}, {}, {}
    for space in SPACES:
        to_made = distances(made, everybody, space)
        apart = distances(everybody, everybody, space)
        begins = np.flatnonzero(np.diff(everybody.whose.numpy(), prepend=-1))
        between = np.minimum.reduceat(apart, begins, axis=0)
        np.fill_diagonal(between, np.inf)
        near = to_made.min(0)
        areas = _areas(near, np.stack(orders))
        copied = np.array([_not_authentic(to_made, between, order) for order in orders])
        columns += [areas, copied]
        nearer[space], authentic[space] = float(areas[0]), 1 - float(copied[0])
        closest[space] = float(near[truth].min() / max(near[~truth].min(), 1e-12))
    return Memory(_chance(np.stack(columns)), nearer, authentic, closest)


def _areas(near: Array, orders: NDArray[np.bool_]) -> Array:
    """Return, for each order (order, patient), the probability that a member is nearer than another, ties halved."""
    ranks = rankdata(near)
    inside = int(orders[0].sum())
    outside = len(near) - inside
    below = (orders * ranks).sum(1) - inside * (inside + 1) / 2
    return np.asarray(1 - below / (inside * outside))


def _not_authentic(to_made: Array, between: Array, inside: NDArray[np.bool_]) -> float:
    """Return the share of made images nearer to their nearest member than that one is to its nearest."""
    near = to_made[:, inside]
    which = near.argmin(1)
    own = between[np.ix_(inside, inside)].min(1)
    return float((near[np.arange(len(near)), which] < own[which]).mean())


def _chance(statistics: Array) -> float:
    """Return the probability of the largest of several statistics (statistic, order), the true order first."""
    spread = statistics.std(1, keepdims=True)
    scaled = (statistics - statistics.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    largest = scaled.max(0)
    return float((largest >= largest[0] - 1e-9).mean())


def judged(found: dict[str, Memory], planted_copy: Memory, planted_memory: Memory, patients: tuple[int, int]) -> Line:
    """Return the line of what was found in each generator and in what was planted."""
    worst = min(found, key=lambda name: (not found[name].copied, found[name].chance))
    memory = found[worst]
    figures = {
        "training patients": float(patients[0]),
        "held-out patients": float(patients[1]),
        "p": memory.chance,
        **{f"nearer, {space}": memory.nearer[space] for space in SPACES},
        **{f"authentic, {space}": memory.authentic[space] for space in SPACES},
        **{f"closest, {space}": memory.closest[space] for space in SPACES},
        "planted copy: closest": min(planted_copy.closest.values()),
        "planted memory: p": planted_memory.chance,
    }
    told = (
        f"a training patient lies nearer to the images of '{worst}' than a held-out one with probability "
        f"{memory.nearer['features']:.2f} (features) and {memory.nearer['pixels']:.2f} (pixels), "
        f"{memory.authentic['features']:.0%} of images are authentic, p = {memory.chance:.2g}; the nearest training "
        f"patient is {min(memory.closest.values()):.2f} times as far as the nearest held-out one"
    )
    said = told[0].upper() + told[1:] + "."
    if any(one.memorised or one.copied for one in found.values()):
        return _line(Grade.FAIL, said, "", figures)
    if not planted_copy.copied or not planted_memory.memorised:
        return _untested(f"planted copies were not found, so nothing else would be; {told}", figures)
    bound = (
        f"One patient repeated with noise of {GRAIN:.0%}, and images that are all patients with noise, were found when "
        f"planted. Memory that makes training patients nearer with a probability below about "
        f"{0.5 + _detectable(*patients):.2f} would not be noticed. An honest generator is accused once in "
        f"{1 / ACCUSED:.0f} runs by the first rule. {MADE} images a generator."
    )
    return _line(Grade.PASS, said, bound, figures)


def _detectable(members: int, others: int) -> float:
    """Return how far from 0.5 a probability must be to be noticed: 3.7 deviations, for the largest of four."""
    return 3.7 * float(np.sqrt((members + others + 1) / (12 * members * others)))


def _line(grade: Grade, finding: str, bound: str, figures: dict[str, float]) -> Line:
    return Line(
        check="A11",
        title="made images against training patients",
        level=Level.EXPOSURE,
        grade=grade,
        finding=finding,
        bound=bound,
        means="A generator that has learned patients by heart would show them to whoever gets its images. Made images "
        "must lie no nearer to patients who trained than to patients who did not.",
        figures=figures,
    )


def _untested(why: str, figures: dict[str, float] | None = None) -> Line:
    return _line(Grade.NOT_TESTED, f"Not tested: {why}.", "", figures or {})

"""A13: what privacy left of use, and for whom: reported beside it, without a verdict.

Noise hits small groups hardest, so a mean hides who pays. Each network that can be scored a patient at a time is scored
on the held-out patients at hand, all together and by sex, age, class and site. There is no right answer to compare
with, so the line is always NOT TESTED; it says so, and gives the numbers. They carry no noise: they stay where the
patients are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.stages import opened
from fedspine.audit.subject import Subject
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import HELD_OUT
from fedspine.tasks._task import Rated

OLD = 50.0
"""Years that part the younger from the older."""

FEWEST = 5
"""Patients of a group whose mean is told."""

TITLE = "Use, and for whom"
MEANS = (
    "Privacy costs accuracy, and it costs small groups most. This line has no verdict: it puts the accuracy of the "
    "networks on patients who were kept from training beside their privacy, group by group."
)
NO_VERDICT = "Reported, without a verdict"


def utility(subject: Subject) -> Line:
    """Return line A13; see this file's head."""
    figures: dict[str, float] = {}
    told = []
    for stage in subject.plan.stage:
        one = opened(subject, stage)
        if not isinstance(one.task, Rated) or one.model is None:
            continue
        score = partial(one.task.score, one.model.eval())
        people = [(site.name, p) for site in subject.sites for p in site.patients.get(HELD_OUT, ())]
        scored = [(name, p, value) for name, p in people if (value := score(p)) is not None]
        if not scored:
            continue
        values = np.array([value for *_, value in scored])
        name = one.task.measure
        figures |= {f"{stage.name}: {name}": float(values.mean()), f"{stage.name}: patients": float(len(values))}
        groups = dict(_groups([(site, p) for site, p, _ in scored], subject.plan.data.classes))
        means = {group: float(values[chosen].mean()) for group, chosen in groups.items() if chosen.sum() >= FEWEST}
        figures |= {f"{stage.name}: {name}, {group}": mean for group, mean in means.items()}
        told.append(f"{stage.name} {name} {values.mean():.2f} over {len(values)} held-out patients{_worst(means)}")
    finding = f"{NO_VERDICT}: {'; '.join(told)}." if told else "No held-out patients are at hand (--data)."
    return Line("A13", TITLE, Level.GUARANTEE, Grade.NOT_TESTED, finding, means=MEANS, figures=figures)


def _worst(means: dict[str, float]) -> str:
    if len(means) < 2:
        return ""
    low, high = min(means, key=lambda group: means[group]), max(means, key=lambda group: means[group])
    return f", from {means[low]:.2f} ({low}) to {means[high]:.2f} ({high})"


def _groups(
    people: list[tuple[str, PatientTensors]], classes: tuple[str, ...]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield a group's name and who is in it, (person,)."""
    tests: dict[str, Callable[[str, PatientTensors], bool]] = {
        "women": lambda site, p: p.person.sex == "F",
        "men": lambda site, p: p.person.sex == "M",
        "younger than 50": lambda site, p: p.person.age is not None and p.person.age < OLD,
        "50 or older": lambda site, p: p.person.age is not None and p.person.age >= OLD,
    }
    for number, label in enumerate(classes):
        tests[label] = lambda site, p, number=number: p.label == number  # type: ignore[misc]
    for name in sorted({site for site, _ in people}):
        tests[name] = lambda site, p, name=name: site == name  # type: ignore[misc]
    for group, test in tests.items():
        yield group, np.array([test(site, p) for site, p in people])

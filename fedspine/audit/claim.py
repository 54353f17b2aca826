"""A1: whether the run states a whole claim. An epsilon without its terms promises nothing.

What must be told: the unit; the neighbour relation; delta, and that it is below 1/N of every site; the sampling; noise,
clip and steps of each release; accountant and version; the releases, one by one; and who sees what.

FAIL where one is missing, where a stage has no noise, or where delta is no smaller than 1/N: then (ε, δ) is kept by
whoever publishes one patient in N.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedspine.audit.books import record
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.subject import Subject

TITLE = "The claim"
MEANS = (
    "Differential privacy promises that nobody can tell surely whether one patient took part. The promise is a number, "
    "epsilon, and a number alone is worth nothing: it must be said for whom, against whom, and for which releases."
)


def claim(subject: Subject) -> Line:
    """Return line A1; see this file's head."""
    told = record(subject.run)
    if not told:
        why = "The coordinator's metrics.json is not at hand, so it cannot be read what was claimed."
        return Line("A1", TITLE, Level.GUARANTEE, Grade.NOT_TESTED, why, means=MEANS)
    faults = list(_missing(subject, told))
    privacy, smallest = told.get("privacy", {}), _smallest(told)
    costs = [
        one for site in told.get("epsilon", {}).values() for key in ("train", "held-out") if (one := site.get(key))
    ]
    most = max((cost["pld"] for cost in costs if cost.get("pld") is not None), default=None)
    stages = subject.plan.stage
    finding = (
        f"For each patient, added or removed: epsilon {most or 0:.2f} at most at delta {subject.plan.privacy.delta:g} "
        f"(1/{round(1 / subject.plan.privacy.delta):,}; the smallest fold has {smallest} patients); "
        f"{len(stages)} stages, {sum(stage.rounds for stage in stages)} releases a site; "
        f"{privacy.get('accountant', '')}."
    )
    return Line(
        "A1",
        TITLE,
        Level.GUARANTEE,
        Grade.FAIL if faults else Grade.PASS,
        f"No whole claim: {'; '.join(faults)}." if faults else finding,
        bound="" if faults else "That a claim is whole does not make it true; the lines below look at that.",
        means=MEANS,
        figures={}
        if most is None
        else {"epsilon": most, "delta": subject.plan.privacy.delta, "smallest fold": smallest},
    )


def _missing(subject: Subject, told: Mapping[str, Any]) -> Iterator[str]:
    plan, privacy = subject.plan, told.get("privacy", {})
    if plan.privacy.mechanism == "none":
        yield "the plan trains without privacy"
        return
    if privacy.get("unit") != "patient":
        yield "the unit of privacy is not said to be the patient"
    assumption = str(privacy.get("assumption", ""))
    for word, what in (("neighbours", "the neighbour relation"), ("sampling", "the sampling")):
        if word not in assumption:
            yield f"{what} is not told"
    if not privacy.get("delta") or privacy.get("delta") != plan.privacy.delta:
        yield "delta is not told as the plan has it"
    for key, what in (("accountant", "the accountant and its version"), ("seen_by", "who sees what")):
        if not privacy.get(key):
            yield f"{what} is not told"
    yield from _stages(subject, told)
    smallest = _smallest(told)
    if not smallest:
        yield "the number of patients is not told"
    elif plan.privacy.delta * smallest >= 1:
        yield f"delta {plan.privacy.delta:g} is no smaller than 1/{smallest}"


def _stages(subject: Subject, told: Mapping[str, Any]) -> Iterator[str]:
    named = {stage.get("name"): stage for stage in told.get("stages", [])}
    for stage in subject.plan.stage:
        if stage.noise_multiplier <= 0:
            yield f"stage {stage.name} has no noise"
        entry = named.get(stage.name, {})
        if any(entry.get(key) != getattr(stage, key) for key in ("noise_multiplier", "clip", "sample_rate", "steps")):
            yield f"the releases of stage {stage.name} are not told as the plan has them"


def _smallest(told: Mapping[str, Any]) -> int:
    counts = [int(count) for site in told.get("sites", {}).values() for count in site.values() if count]
    return min(counts, default=0)

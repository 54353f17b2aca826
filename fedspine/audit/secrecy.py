"""A7, second part: whether anybody could know the noise and subtract it.

At a hospital noise must come from the operating system's entropy. A seed in a plan is known to the coordinator, one in
a file to whoever reads it. Three looks:

- two generators made as a hospital makes them must differ;
- the ledger must say "os entropy" of every release;
- and it must not be lying: sums that left are computed again from the patients at hand, with noise from every seed that
  a plan or `site.toml` could give away. If the digest is the one in the egress log, the noise was no secret.

FAIL where one of them says so. In a simulation noise is seeded on purpose, so that runs can be repeated, and patients
are played; there the line reads NOT TESTED, and the third look must succeed, which shows that it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.stages import opened
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.config import Stage
from fedspine.errors import FedspineError, PrivacyError
from fedspine.privacy.chain import Line as Logged
from fedspine.privacy.chain import read
from fedspine.privacy.ledger import Entry, Ledger
from fedspine.privacy.patient_sum import noise_generator
from fedspine.site_file import load_site
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured
from fedspine.tasks._together import is_one_sum
from fedspine.wire import digest

ENTROPY = "os entropy"
DRAWS = 64
Sent = dict[tuple[str, int], set[str]]
MOST_STAGES = 2
"""Stages whose sums are computed again."""

TITLE = "Noise: a secret"
MEANS = (
    "Noise that somebody can compute is no noise: whoever knows the seed subtracts it and sees the patients' sum. At a "
    "hospital the seed must come from the operating system, fresh for each release, and be kept by nobody."
)


def secrecy(subject: Subject) -> Line:
    """Return the line A7 on where noise comes from; see this file's head."""
    if subject.plan.privacy.mechanism == "none":
        return Line("A7", TITLE, Level.MECHANISM, Grade.NOT_TESTED, "The plan adds no noise at all.", means=MEANS)
    faults = [] if _fresh() else ["two generators made one after the other give the same noise"]
    booked = seeded = tried = known = 0
    for site in subject.sites:
        try:
            entries = [entry for entry in Ledger(site.state / "ledger.jsonl").entries() if entry.plan == subject.digest]
            left = sent_by(subject, read(site.state / "egress.jsonl", "it"))
        except PrivacyError:
            continue  # that is line A2's to tell
        booked += len(entries)
        seeded += sum(entry.noise != ENTROPY for entry in entries)
        found = list(_computed_again(subject, site, entries, left))
        tried, known = tried + len(found), known + sum(found)
    if subject.simulated:
        return _simulated(faults, booked, tried, known)
    if not booked and not faults:
        return Line("A7", TITLE, Level.MECHANISM, Grade.NOT_TESTED, "No site's ledger is at hand.", means=MEANS)
    if seeded:
        faults.append(f"{seeded} of {booked} releases were made with noise from a fixed seed")
    if known:
        faults.append(f"the noise of {known} of {tried} releases follows from a seed in the plan or the site's file")
    again = f"; {tried} sums were computed again, and no known seed gives their noise" if tried else ""
    return Line(
        "A7",
        TITLE,
        Level.MECHANISM,
        Grade.FAIL if faults else Grade.PASS,
        "; ".join(faults) + "." if faults else f"{booked} releases, all with noise from the system's entropy{again}.",
        bound="" if faults else _bound(tried),
        means=MEANS,
        figures={"releases": booked, "seeded": seeded, "computed again": tried, "known": known},
    )


def sent_by(subject: Subject, log: Sequence[Logged]) -> Sent:
    """Return the digests of what left for this plan, by stage and round; there are several where it was repeated."""
    sent: Sent = {}
    for line in log:
        if line.get("plan", subject.digest) == subject.digest and line["digest"]:
            sent.setdefault((line["stage"], line["round"]), set()).add(line["digest"])
    return sent


def _simulated(faults: Sequence[str], booked: int, tried: int, known: int) -> Line:
    """Return the line of a run that was played on one machine."""
    control = f" The noise of {known} of {tried} sums was computed again from the plan's seed." if tried else ""
    finding = f"Played on one machine with noise from a fixed seed, as simulations are.{control}"
    return Line(
        "A7",
        TITLE,
        Level.MECHANISM,
        Grade.FAIL if faults else Grade.NOT_TESTED,
        "; ".join(faults) + "." if faults else finding,
        means=MEANS,
        figures={"releases": booked, "computed again": tried, "known": known},
    )


def _bound(tried: int) -> str:
    if not tried:
        return "By the ledger's word; nobody's patients are at hand to compute a sum again."
    return "A seed that nobody wrote down is not found, and on another kind of processor the last digits may differ."


def _fresh() -> bool:
    first, second = (noise_generator(None).standard_normal(DRAWS) for _ in range(2))
    return bool((first != second).all())


def _computed_again(subject: Subject, site: SiteRecord, entries: Sequence[Entry], left: Sent) -> Iterator[bool]:
    """Yield, for some sums that left a site, whether a known seed gives the very same one."""
    # the last stages saw the patients, and the released values, as they are at hand now
    stages = [stage for stage in reversed(subject.plan.stage) if stage.rounds == 1 and stage.name not in subject.models]
    stages = [stage for stage in stages if len(site.patients.get(stage.fold, ())) and (stage.name, 1) in left]
    for stage in stages[:MOST_STAGES]:
        if is_one_sum(subject.plan, stage, opened(subject, stage, site).task):
            continue  # what leaves is masked: no seed of the noise gives it
        if any(entry.stage == stage.name for entry in entries):
            sent = left[stage.name, 1]
            yield any(_digest(subject, site, stage, seed) in sent for seed in _known_seeds(subject, site))


def _known_seeds(subject: Subject, site: SiteRecord) -> Iterator[int]:
    yield subject.plan.seed
    if subject.plan.seed:
        yield 0
    try:
        seed = load_site(site.folder).seed if site.folder is not None else None
    except FedspineError:
        return
    if seed is not None:
        yield seed


def _digest(subject: Subject, site: SiteRecord, stage: Stage, seed: int) -> str:
    """Return the digest of what a site would send of a stage with noise from `seed`, named as `client.rounds` does."""
    task = opened(subject, stage, site).task
    assert isinstance(task, Measured)
    noise = noise_generator(seed, "noise", site.name, subject.digest, stage.name, 1)
    with torch.random.fork_rng():
        released = measure(task, site.patients[stage.fold], Strength.of(subject.plan, stage), noise, lambda error: None)
    return digest(released)[0]

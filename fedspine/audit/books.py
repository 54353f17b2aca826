"""A2: whether the ledgers hold the whole run, unbroken, and whether their price is right.

Every ledger must be a whole chain; hold a line for each round that the coordinator has an answer of, with the plan's
noise, sampling, steps and clip; and say no more than the plan promises and the site allows. Its epsilon is computed
again by an accountant that shares no code with the ledger's (`loss_distribution`). Of secure sums there is no exact
accountant; there, the ledger must not say less than Gaussian noise of the same size would cost.

FAIL where a ledger is broken or lacks a round, the two accountants differ by more than 1 %, the Rényi bound is below
the tight one, or a cap is passed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.loss_distribution import Release, epsilon
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.config import HELD_OUT, TRAIN, Plan
from fedspine.errors import FedspineError, PrivacyError
from fedspine.privacy.accounting import Event, epsilon_pld, epsilon_rdp
from fedspine.privacy.ledger import Entry, Ledger, paid_by
from fedspine.site_file import load_site
from fedspine.tasks._rounds import Strength

TOLERANCE, LEAST = 0.01, 1e-3
"""How far accountants may differ: a share of epsilon, or so much, which is what the ledger's grid rounds up."""

TITLE = "The ledgers"
MEANS = (
    "Every site keeps a book of what it released and of what that cost a patient's privacy. Here it is checked that no "
    "page is missing and that the sum is right."
)


@dataclass(frozen=True)
class Price:
    """What a ledger says of one fold under this plan.

    Args:
        fold: whose patients.
        pld, rdp: epsilon by the project's accountants.
        again: by the audit's own.
        secure: whether secure sums are among them, of whose cost there is no exact figure but bounds.
        once: epsilon by RDP without rounds that were asked for again, which the plan's epsilon does not cover and the
            site's own limits do; 0 where nothing says.
        repeated: how many those are.
    """

    fold: str
    pld: float
    rdp: float
    again: float
    secure: bool = False
    once: float = 0.0
    repeated: int = 0


def ledgers(subject: Subject) -> Line:
    """Return line A2; see this file's head."""
    faults: list[str] = []
    figures: dict[str, float] = {}
    priced: list[Price] = []
    booked, read = 0, 0
    for site in subject.sites:
        path = site.state / "ledger.jsonl"
        if not path.exists() and not answered(subject.run, site.name):
            continue
        try:
            entries = Ledger(path).entries()
        except PrivacyError:
            faults.append(f"{site.name}: the ledger is broken or cut off")
            continue
        read, booked = read + 1, booked + len(entries)
        faults += [f"{site.name}: {fault}" for fault in missing(subject, site, entries)]
        own = prices(subject, entries)
        priced += own
        for price in own:
            faults += [f"{site.name}: {fault}" for fault in mispriced(subject.plan, price)]
            figures |= {f"{site.name}, {price.fold}: {name}": getattr(price, name) for name in ("pld", "rdp", "again")}
        faults += [f"{site.name}: {fault}" for fault in beyond_cap(subject, site, entries)]
    if not read and not faults:
        return Line("A2", TITLE, Level.GUARANTEE, Grade.NOT_TESTED, "No site's ledger is at hand.", means=MEANS)
    apart = max((abs(price.pld / price.again - 1) for price in priced if not price.secure), default=0.0)
    second = f"a second accountant differs by {apart:.2%} at most"
    if priced and all(price.secure for price in priced):
        second = "of secure sums a second accountant knows a lower limit, which holds"
    rounds = f"one for each round that was answered{_again(priced)}"
    finding = f"{booked} releases in {read} ledgers, unbroken, {rounds}; {second}."
    return Line(
        "A2",
        TITLE,
        Level.GUARANTEE,
        Grade.FAIL if faults else Grade.PASS,
        _told(faults) if faults else finding,
        bound=""
        if faults
        else "A site that writes book and mark anew from the start is not found out; compare with a backup.",
        means=MEANS,
        figures={key: value for key, value in figures.items() if math.isfinite(value)},
    )


def missing(subject: Subject, site: SiteRecord, entries: Sequence[Entry]) -> list[str]:
    """Return what the ledger lacks of the rounds that the coordinator has answers of, or has otherwise."""
    plan, digest = subject.plan, subject.digest
    rounds = answered(subject.run, site.name)
    faults = []
    for stage in plan.stage:
        lines = [entry for entry in entries if entry.plan == digest and entry.stage == stage.name]
        lacking = rounds.get(stage.name, 0) - len({entry.round for entry in lines})
        if lacking > 0:
            faults.append(f"{lacking} of {rounds[stage.name]} rounds of stage {stage.name} are not booked")
        strength = Strength.of(plan, stage)
        wanted = strength.noise_multiplier, stage.sample_rate, stage.steps  # of a secure sum, one step
        others = [e for e in lines if (e.event.noise_multiplier, e.event.sample_rate, e.event.count) != wanted]
        if others or any(entry.fold != stage.fold or entry.clip != stage.clip for entry in lines):
            faults.append(f"stage {stage.name} is booked otherwise than it was planned")
    return faults


def answered(run: Path, site: str) -> Mapping[str, int]:
    """Return stage to rounds that the coordinator has this site's answer of; nothing where no record is at hand."""
    return {str(stage["name"]): int(stage["answered"].get(site, 0)) for stage in record(run).get("stages", [])}


def record(run: Path) -> Mapping[str, Any]:
    """Return the coordinator's `metrics.json`, empty where there is none."""
    try:
        found: Mapping[str, Any] = json.loads((run / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def prices(subject: Subject, entries: Sequence[Entry]) -> list[Price]:
    """Return what the plan cost the patients of each fold, by three accountants."""
    found, plan, digest = [], subject.plan, subject.digest
    for fold in (TRAIN, HELD_OUT):
        own = [entry for entry in entries if entry.plan == digest and entry.fold == fold]
        events = [entry.event for entry in own]
        first = [entry.event for entry in {(one.stage, one.round): one for one in own}.values()]
        if events and plan.privacy.mechanism != "none":
            delta = plan.privacy.delta
            secure = any(event.mechanism != "gaussian" for event in events)
            three = epsilon_pld(events, delta), epsilon_rdp(events, delta), again(events, delta)
            found.append(Price(fold, *three, secure, epsilon_rdp(first, delta), len(events) - len(first)))
    return found


def again(events: Sequence[Event], delta: float) -> float:
    """Return epsilon by the audit's own accountant; of secure sums, of Gaussian noise over the same sensitivity."""
    return epsilon([_release(event, times) for event, times in Counter(events).items()], delta)


def _release(event: Event, times: int) -> Release:
    sigma = event.noise_multiplier
    if event.mechanism != "gaussian":
        sigma *= event.scale / math.sqrt(event.scale**2 + event.dimension / 4)  # rounding lengthens a patient's term
    return Release(sigma, event.sample_rate, event.count * times)


def mispriced(plan: Plan, price: Price) -> list[str]:
    """Return where the accountants contradict each other or the plan."""
    faults = []
    slack = max(TOLERANCE * price.again, LEAST)
    if not price.again - slack <= price.pld <= (math.inf if price.secure else price.again + slack):
        faults.append(f"epsilon {price.pld:.3f} in {price.fold} is {price.again:.3f} by a second accountant")
    if price.rdp < price.pld * (1 - 1e-3):
        faults.append(f"the Rényi bound {price.rdp:.3f} in {price.fold} is below the tight one, {price.pld:.3f}")
    if price.once > plan.privacy.epsilon * (1 + 1e-6):
        faults.append(f"{price.fold} cost {price.once:.3f}, more than the plan's epsilon {plan.privacy.epsilon:g}")
    return faults


def beyond_cap(subject: Subject, site: SiteRecord, entries: Sequence[Entry]) -> list[str]:
    """Return whether all that the site ever released costs a patient more than the site's own policy allows."""
    if subject.plan.privacy.mechanism == "none" or site.folder is None:
        return []
    if subject.simulated and not (site.folder / "site.toml").exists():
        return []
    try:
        cap = load_site(site.folder).max_epsilon
    except FedspineError:
        return ["site.toml cannot be read, so nothing says what is allowed"]
    delta = subject.plan.privacy.delta
    paid = {epsilon_rdp(paid_by(entries, entry.fold, entry.split), delta) for entry in entries}
    return [f"a patient paid {max(paid):.3f}, more than the site's {cap:g}"] if paid and max(paid) > cap else []


def _again(priced: Sequence[Price]) -> str:
    """Return how many rounds were asked for again, each at its price, where some were."""
    repeated = sum(price.repeated for price in priced)
    return f", {repeated} of them for a round asked for again" if repeated else ""


def _told(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
    return "; ".join(faults[:4]) + more + "."

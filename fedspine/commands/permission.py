"""What a hospital is asked to permit: a plan's releases, their cost alone and together with what was spent before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.policy import CODES, admit
from fedspine.audit.trade_off import FALSE_ALARMS, largest_found
from fedspine.commands.extent import Extent, extents
from fedspine.config import HELD_OUT, TRAIN, Plan, Stage
from fedspine.errors import Refused
from fedspine.privacy.accounting import ASSUMPTION, Event, epsilon_pld, epsilon_rdp
from fedspine.privacy.calibrate import stage_event
from fedspine.privacy.ledger import Entry
from fedspine.site_file import Site
from fedspine.tasks._task import module_of

FOLDS = {TRAIN: "a training patient", HELD_OUT: "a patient held out for testing"}


@dataclass(frozen=True)
class Row:
    """A stage in the table.

    Args:
        stage: of the plan.
        extent: of its message; `None` where it was not counted.
        epsilon: that it costs alone, by PLD.
    """

    stage: Stage
    extent: Extent | None
    epsilon: float

    def cells(self, *, counted: bool) -> tuple[str, ...]:
        """Return the row as texts, with the size of messages where some stages' were `counted`."""
        stage, extent = self.stage, self.extent
        patients = "held-out patients" if stage.fold == HELD_OUT else "training patients"
        drawn = f", each with chance {stage.sample_rate:g}" if stage.sample_rate < 1 else ""
        numbers = f"{extent.numbers:,}" if extent else "not counted"
        size = f"{extent.size * stage.rounds:,}" if extent else "not counted"
        times = f"{stage.rounds} x {stage.steps}" if stage.steps > 1 else f"{stage.rounds}"
        sizes = (numbers, size) if counted else ()
        return stage.name, patients + drawn, times, *sizes, _epsilon(self.epsilon)


@dataclass(frozen=True)
class Bill:
    """What one fold's patient pays.

    Args:
        plan: events of the plan.
        before: events that the ledger holds already, which may count for the same patient.
        delta: at which epsilon is stated.
    """

    plan: tuple[Event, ...]
    before: tuple[Event, ...]
    delta: float

    def epsilons(self, before: bool) -> tuple[float, float]:
        """Return epsilon by PLD and by RDP, of the plan alone or with what was spent `before`."""
        events = [*self.plan, *(self.before if before else ())]
        return epsilon_pld(events, self.delta), epsilon_rdp(events, self.delta)

    def found(self) -> float:
        """Return the largest share of patients that an attack finds at 1 % false alarms, the earlier releases too."""
        events = (*self.plan, *self.before)
        if any(event.noise_multiplier == 0 for event in events):
            return 1.0
        return largest_found(events, FALSE_ALARMS) if events else FALSE_ALARMS


@dataclass(frozen=True)
class Permission:
    """All of it.

    Args:
        rows: one a stage.
        bills: by fold.
        refusals: code to the stages that `site.toml` would refuse with it, whoever approves.
        limit: the site's `max_epsilon`.
    """

    rows: tuple[Row, ...]
    bills: Mapping[str, Bill]
    refusals: Mapping[str, tuple[str, ...]]
    limit: float

    def cost(self) -> dict[str, Any]:
        """Return what is written down beside an approval."""
        return {
            fold: dict(zip(("pld", "rdp"), map(_finite, bill.epsilons(before=False)), strict=True))
            for fold, bill in self.bills.items()
        }


def look_at(plan: Plan, site: Site, entries: Sequence[Entry], tell: Callable[[str], None] | None) -> Permission:
    """Return what permitting `plan` means.

    Args:
        plan: noise solved.
        site: the hospital's policy.
        entries: of its ledger.
        tell: told each stage's name while its message is counted; `None` counts nothing.
    """
    none = plan.privacy.mechanism == "none"
    events = {s.name: Event(0.0) if none else stage_event(s, plan.privacy.sums) for s in plan.stage}
    sizes = extents(plan, tell) if tell is not None else {}
    return Permission(
        rows=tuple(
            Row(stage, sizes.get(stage.name), epsilon_pld([events[stage.name]], plan.privacy.delta))
            for stage in plan.stage
        ),
        bills={
            fold: Bill(
                tuple(events[s.name] for s in plan.stage if s.fold == fold),
                _spent(plan, entries, fold),
                plan.privacy.delta,
            )
            for fold in FOLDS
        },
        refusals=_refusals(plan, site),
        limit=site.max_epsilon,
    )


def _spent(plan: Plan, entries: Sequence[Entry], fold: str) -> tuple[Event, ...]:
    """Return what may count for the same patient: all but what the other fold paid under the plan's own division."""
    own = f"{plan.seed}/{plan.data.held_out!r}/"
    return tuple(e.event for e in entries if e.fold == fold or not e.split.startswith(own))


def _refusals(plan: Plan, site: Site) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for stage in plan.stage:
        try:
            admit(plan, stage, site, site.minimum_cohort)
        except Refused as refusal:
            found[refusal.code] = (*found.get(refusal.code, ()), stage.name)
    return found


def words_on(plan: Plan, found: Permission) -> list[str]:
    """Return what the numbers mean, a sentence each."""
    said = [f"{stage.name}: {_summed(stage)}" for stage in plan.stage]
    if plan.privacy.mechanism == "none":
        said.append("NO PRIVACY: what leaves carries no noise, and nothing bounds what it tells of a patient")
    for fold, bill in found.bills.items():
        if not bill.plan:
            continue
        (pld, rdp), (all_pld, all_rdp) = bill.epsilons(before=False), bill.epsilons(before=True)
        said.append(
            f"{FOLDS[fold]} pays epsilon {_epsilon(pld)} (PLD; {_epsilon(rdp)} by RDP) at delta {bill.delta:g}; "
            f"with what the ledger holds already {_epsilon(all_pld)} ({_epsilon(all_rdp)}), of {found.limit:g} that "
            "site.toml allows by RDP"
        )
        said.append(
            f"with all of it at hand, whoever wants to tell that {FOLDS[fold]} was there, and is wrong about 1 in 100 "
            f"who were not, is right about at most {100 * bill.found():.1f} in 100 who were"
        )
        if all_rdp > found.limit:
            said.append("THE BUDGET DOES NOT COVER THE PLAN: it would stop on the way, with the code budget-spent")
    if plan.privacy.sums == "secure":
        said.append(
            "of stages that are one secure sum the server sees the total of all hospitals; these costs are against "
            f"it and {plan.privacy.colluding} of the others. Should all others and the server pool what they know, "
            "only this hospital's own share of the noise is left, and they learn more: fedspine egress verify has "
            "that price too, once it is known how many hospitals took part"
        )
    said += [
        f"site.toml refuses {', '.join(stages)}: {CODES[code]}, whoever approves"
        for code, stages in found.refusals.items()
    ]
    return [*said, f"{ASSUMPTION}"]


def _summed(stage: Stage) -> str:
    """Return the first line of what the stage's task says of itself."""
    first = (module_of(stage).__doc__ or "").strip().splitlines()[0]
    return first.partition(": ")[2]


def _epsilon(value: float) -> str:
    return "unbounded" if value == float("inf") else f"{value:.2f}"


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value

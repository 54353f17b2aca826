"""How an attack that tells members from others is judged against what the ledger promises.

A ledger's releases bound every attack: whoever accepts a share α of false alarms finds at most a share T(α) of those
who were there. T follows exactly from the privacy-loss distribution of the releases (Kulynych et al. 2024; `riskcal`),
and is far tighter than what (ε, δ) alone would give.

Every person gets a score, made without knowing whether they were there. Two rules, for an attack may tell a few people
surely or many a little; either accuses.

1. *Found.* The threshold is the (k+1)-th highest score among the `n` who were not there, k the whole part of α·n: the
   false alarms of that threshold are then Beta(k+1, n-k) distributed, whatever the scores' law, so their upper limit is
   exact though the threshold was picked from these scores. Members above it are counted, with the exact binomial limit
   (Clopper and Pearson 1934). The claim is contradicted where the lower limit exceeds T at the upper limit.
2. *Area.* No attack's area under the curve is above that under T. The claim is contradicted where the area measured
   lies too far above it, by the variance that an area of this size has among so few (Hanley and McNeil 1982; Newcombe
   2006).

Together they accuse an honest run at most once in 200 runs (the best attack on honest Gaussian releases, drawn 4,000
times, was accused 0 to 3 times). Both treat people as independent; those of one network share its noise, so they are no
closer than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import riskcal
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from numpy.typing import NDArray
from scipy.stats import beta, mannwhitneyu, norm

from fedspine.audit.subject import Subject
from fedspine.config import TRAIN, Stage
from fedspine.privacy.accounting import GAUSSIAN, Event, epsilon_pld, loss_distribution
from fedspine.privacy.ledger import Ledger

Scores = NDArray[np.float64]

FALSE_ALARMS = 0.01
"""α: the share of false alarms at which attacks are compared."""

UNSURE = 0.005
"""How often an honest run may be accused by one attack: half by either rule, a quarter by each limit of the first."""

_GRID = 200

LEAKS, CHANCE = 0.7, 1e-3
"""A control leaks clearly where its area is at least `LEAKS`, with a probability by chance of at most `CHANCE`."""

_DELTAS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Rates:
    """How an attack did.

    Args:
        members: how many were there.
        others: how many were not.
        area: probability that a member scores above another; 0.5 by chance.
        chance: how probable such an area or a larger one is if scores tell nothing.
        found: members above the threshold.
        alarms: others above it.
    """

    members: int
    others: int
    area: float
    chance: float
    found: int
    alarms: int

    @property
    def rate(self) -> float:
        """The share of members found."""
        return self.found / self.members

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `rate`."""
        return _lower(self.found, self.members, 0.025), _upper(self.found, self.members, 0.025)

    @property
    def leaks(self) -> bool:
        """Whether scores tell members from others clearly."""
        return self.area >= LEAKS and self.chance <= CHANCE

    @property
    def most_alarms(self) -> float:
        """The upper limit of the share of false alarms."""
        return _upper(self.alarms, self.others, UNSURE / 4)

    def beyond(self, claim: Promise) -> bool:
        """Return whether the attack contradicts the claim, by either rule."""
        return self._too_many(self.found, claim) or self.area > self.least_area(claim)

    def _too_many(self, found: int, claim: Promise) -> bool:
        return _lower(found, self.members, UNSURE / 4) > claim.largest(self.most_alarms)

    def least_found(self, claim: Promise) -> float:
        """Return the smallest share of members found that would contradict the claim; NaN where none would."""
        enough = (found for found in range(self.members + 1) if self._too_many(found, claim))
        return next(enough, math.nan) / self.members

    def least_area(self, claim: Promise) -> float:
        """Return the area above which the claim is contradicted; above 1 where none contradicts it."""
        allowed = claim.area
        pairs = (self.members + self.others) / 2 - 1
        rest = 1 + pairs * (1 - allowed) / (2 - allowed) + pairs * allowed / (1 + allowed)
        spread = math.sqrt(allowed * (1 - allowed) * rest / (self.members * self.others))
        return allowed + float(norm.isf(UNSURE / 2)) * spread

    def could_contradict(self, claim: Promise) -> bool:
        """Return whether any result of so many people could."""
        return not math.isnan(self.least_found(claim)) or self.least_area(claim) < 1


def rates(members: Scores, others: Scores) -> Rates:
    """Return how well scores tell `members` (person,) from `others` (person,), high for members."""
    allowed = int(FALSE_ALARMS * len(others))
    threshold = np.sort(others)[::-1][allowed]
    test = mannwhitneyu(members, others, alternative="greater", method="asymptotic")
    return Rates(
        members=len(members),
        others=len(others),
        area=float(test.statistic) / (len(members) * len(others)),
        chance=float(test.pvalue),
        found=int((members > threshold).sum()),
        alarms=int((others > threshold).sum()),
    )


def unnoticed(found: Rates, claim: Promise) -> str:
    """Return what an attack on so many people could do without contradicting the claim, in a few words."""
    least, area = found.least_found(claim), found.least_area(claim)
    parts = [] if math.isnan(least) else [f"finding fewer than {least:.0%} of members"]
    parts += [f"an area below {area:.2f}"] if area < 1 else []
    return " and ".join(parts) or "anything"


def in_words(found: Rates) -> str:
    """Return the attack's success in a few words."""
    low, high = found.interval
    return (
        f"{found.rate:.0%} ({low:.0%} to {high:.0%}) at {found.alarms} false alarms of {found.others} others, area "
        f"{found.area:.2f}"
    )


def _upper(count: int, total: int, tail: float) -> float:
    return 1.0 if count >= total else float(beta.ppf(1 - tail, count + 1, total - count))


def _lower(count: int, total: int, tail: float) -> float:
    return 0.0 if count == 0 else float(beta.ppf(tail, count, total - count + 1))


@dataclass(frozen=True)
class Promise:
    """What a ledger promises of a network: the largest share of members that any attack finds.

    Args:
        sites: each site's releases that the network depends on; empty where a site has booked none.
    """

    sites: tuple[tuple[Event, ...], ...] = field(repr=False)

    @property
    def made(self) -> bool:
        """Whether there is a promise at all: releases, all of them with noise."""
        return bool(self.sites) and all(
            events and all(event.noise_multiplier > 0 for event in events) for events in self.sites
        )

    def largest(self, alarms: float) -> float:
        """Return T(`alarms`) of the site that promises least; 1 where nothing is promised."""
        if not self.made:
            return 1.0
        return max(largest_found(events, alarms) for events in dict.fromkeys(self.sites))

    @cached_property
    def area(self) -> float:
        """The area under T, from above: T rises, so each strip counts by its right side."""
        return sum(self.largest((strip + 1) / _GRID) for strip in range(_GRID)) / _GRID


def promise(subject: Subject, *stages: Stage) -> Promise:
    """Return what is promised of what `stages` made, all of them together.

    A patient's part in a network comes by the stage's own releases, by those of measuring stages before it (patients
    are scaled and harmonised by what these released), and by those of the stage that makes patients for it. Only sites
    whose patients are at hand count: others' ledgers promise them nothing.

    Raises:
        PrivacyError: if a ledger is no whole chain.
    """
    names = {one.name for stage in stages for one in behind(subject, stage)}
    digest = subject.digest
    return Promise(
        tuple(
            tuple(
                entry.event
                for entry in Ledger(site.state / "ledger.jsonl").entries()
                if entry.plan == digest and entry.fold == TRAIN and entry.stage in names
            )
            for site in subject.sites
            if len(site.patients.get(TRAIN, ()))
        )
    )


def behind(subject: Subject, stage: Stage) -> list[Stage]:
    """Return the stages whose releases a stage's result depends on, itself included, in the plan's order."""
    before = subject.plan.stage[: subject.plan.stage.index(stage)]
    named = [deeper for one in before if one.name in (stage.of, stage.synthetic) for deeper in behind(subject, one)]
    measured = [one for one in before if one.name not in subject.models and one.fold == TRAIN]
    return [one for one in subject.plan.stage if one in (*measured, *named, stage)]


@lru_cache(maxsize=4096)
def largest_found(events: tuple[Event, ...], alarms: float) -> float:
    """Return the largest share of members found by any attack at a share `alarms` of false alarms.

    Of Gaussian releases by their privacy-loss distribution (pessimistic: never below the truth). Other mechanisms have
    none here, and the bound is the best of what (ε, δ) gives at several δ, which is looser.
    """
    if all(event.mechanism == GAUSSIAN for event in events):
        return 1 - float(riskcal.analysis.get_beta_from_pld(_losses(events), alpha=alarms))
    pairs = [(epsilon_pld(events, delta), delta) for delta in _DELTAS]
    return 1 - max(float(riskcal.analysis.get_beta_for_epsilon_delta(*pair, alarms)) for pair in pairs)


@lru_cache(maxsize=16)
def _losses(events: tuple[Event, ...]) -> PrivacyLossDistribution:
    return loss_distribution(events)

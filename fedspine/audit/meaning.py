"""What an epsilon means: how well the best conceivable attack can do.

The releases' privacy-loss distribution bounds every test of "was this patient there?" (Kulynych et al. 2024,
`riskcal`): the share of those who were there that is found at most while 1 % of the others are accused wrongly, and the
largest balanced accuracy, 0.5 being a guess. These are limits for an attacker who knows everything but the one patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import riskcal

from fedspine.audit.subject import Subject
from fedspine.audit.trade_off import FALSE_ALARMS, largest_found
from fedspine.config import HELD_OUT, TRAIN
from fedspine.errors import PrivacyError
from fedspine.privacy.accounting import Event, epsilon_pld, loss_distribution
from fedspine.privacy.ledger import Ledger


@dataclass(frozen=True)
class Meaning:
    """What a site's releases of this plan let an attacker do at most.

    Args:
        site: its name.
        fold: whose patients.
        epsilon: at the plan's delta.
        found: share of patients found at 1 % false alarms, at most.
        accuracy: the largest balanced accuracy.
    """

    site: str
    fold: str
    epsilon: float
    found: float
    accuracy: float


def meanings(subject: Subject) -> list[Meaning]:
    """Return the limits for every site and fold whose ledger is at hand; nothing where the plan has no noise."""
    if subject.plan.privacy.mechanism == "none":
        return []
    found = []
    for site in subject.sites:
        try:
            entries = Ledger(site.state / "ledger.jsonl").entries()
        except PrivacyError:
            continue
        for fold in (TRAIN, HELD_OUT):
            events = tuple(e.event for e in entries if e.plan == subject.digest and e.fold == fold)
            if events and all(event.noise_multiplier > 0 for event in events):
                epsilon = epsilon_pld(events, subject.plan.privacy.delta)
                rate = largest_found(events, FALSE_ALARMS)
                found.append(Meaning(site.name, fold, epsilon, rate, accuracy(events)))
    return found


def accuracy(events: Sequence[Event]) -> float:
    """Return the largest balanced accuracy of an attack: (1 + δ(0)) / 2, δ(0) being the total variation distance."""
    if all(event.mechanism == "gaussian" for event in events):
        return (1 + float(riskcal.analysis.get_advantage_from_pld(loss_distribution(events)))) / 2
    pairs = [(epsilon_pld(events, delta), delta) for delta in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)]
    return (1 + min(float(riskcal.analysis.get_advantage_for_epsilon_delta(*pair)) for pair in pairs)) / 2

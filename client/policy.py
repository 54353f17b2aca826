"""The hospital's word on a plan: it is the last one. The server learns a code and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from fedspine.config import HELD_OUT, TRAIN, Plan, Stage
from fedspine.errors import BudgetSpent, Refused
from fedspine.privacy.accounting import Event, epsilon_rdp
from fedspine.privacy.calibrate import plan_epsilon
from fedspine.privacy.chain import Line
from fedspine.site_file import Site

CODES = {
    "order-unreadable": "the order lacks something, holds something else, or an array that is none",
    "order-too-large": "the order is larger than the site takes",
    "format-unknown": "the order is written in a format that this site's version does not know",
    "plan-not-approved": "the site runs only plans that a person approved, and this is not one of them",
    "plan-changed": "the site knows another plan of this name",
    "plan-revoked": "the site has withdrawn this plan",
    "not-enrolled": "the site was not asked to enrol for this plan",
    "stage-unknown": "the plan has no such stage",
    "round-unknown": "the stage has no such round",
    "round-repeated": "rounds of the plan were asked for again more often than the site allows",
    "too-many-rounds": "the site has released as much in 24 hours as it allows",
    "task-not-allowed": "the site's policy does not list this task",
    "privacy-off": "the plan asks for training without privacy and the site does not allow that",
    "noise-missing": "the plan asks for privacy but a stage has no noise",
    "noise-too-low": "a stage of the plan has less noise than the site demands",
    "epsilon-too-large": "the plan costs more than the site allows, or than it says",
    "delta-too-large": "the plan states its epsilon at a larger delta than the site allows",
    "pseudonyms-not-kept": "the site cannot keep its pseudonym key, so its training and held-out patients would change",
    "cohort-too-small": "the site has fewer patients than its minimum",
    "budget-spent": "the site's budget does not cover this release",
    "ledger-broken": "one of the site's books is not an unbroken chain",
    "plan-unusable": "the plan or its weights cannot be used",
    "egress-blocked": "the answer did not fit the stage's schema or bounds and was not sent",
    "not-on-roster": "the site has no roster of keys, or is not on it",
    "keys-refused": "the keys or participants of a secure sum are not those that the site knows",
    "attempt-used": "there has been this attempt at the secure sum, or as many as the site allows",
    "too-few-sites": "fewer sites take part in the secure sum than the plan demands",
    "masks-missing": "the stage is a secure sum, and the order asks for the site's own, or the other way round",
    "failed": "the site could not compute an answer",
}
"""Everything that a site ever says of why it gives no answer."""

DAY = timedelta(hours=24)


def admit(plan: Plan, stage: Stage, site: Site, patients: int) -> None:
    """Return if the site takes part in `stage`; the stricter of plan and site wins.

    Args:
        plan: checked.
        stage: the one asked for.
        site: the hospital's policy.
        patients: in the whole cohort.

    Raises:
        Refused: with one of `CODES`.
    """
    if stage.task not in site.tasks:
        raise Refused("task-not-allowed")
    if patients < site.minimum_cohort:
        raise Refused("cohort-too-small")
    if plan.privacy.mechanism == "none":
        if not site.allow_no_privacy:
            raise Refused("privacy-off")
        return
    if any(s.noise_multiplier <= 0 for s in plan.stage):
        raise Refused("noise-missing")
    if any(s.noise_multiplier < site.min_noise_multiplier for s in plan.stage):
        raise Refused("noise-too-low")
    if plan.privacy.delta > site.max_delta:
        raise Refused("delta-too-large")
    dearest = max(plan_epsilon(plan, TRAIN), plan_epsilon(plan, HELD_OUT))
    if dearest > min(site.max_epsilon, _plan_cap(site), plan.privacy.epsilon * (1 + 1e-6)):
        raise Refused("epsilon-too-large")


def booking(
    plan: Plan, stage: Stage, round_number: int, event: Event, site: Site, counted_from: int, split: str
) -> Callable[[Sequence[Line]], None]:
    """Return what must be true of the ledger's lines before one more release is booked.

    It is asked under the ledger's lock, so that two clients at once cannot both be the last that fits.

    A server may honestly ask for a round twice: it lost the answer, or was restarted. The first answer may have been
    seen all the same, so the second is another release: it is booked and paid again, and only `max_repeats` of a plan's
    rounds may be, counted from its approval. So a plan costs at most that many rounds more than it says.

    Args:
        plan: checked and admitted.
        stage: the one asked for.
        round_number: counted from 1.
        event: the release.
        site: the hospital's policy.
        counted_from: how many lines are older than the plan's approval or enrolment.
        split: of patients into folds, as the ledger has it; under another one they may have been in the other fold.

    Raises (the result does):
        Refused: `round-repeated` or `too-many-rounds`.
        BudgetSpent: if the plan's own cap does not cover the release.
    """
    digest = plan.digest()

    def allowed(lines: Sequence[Line]) -> None:
        since = (datetime.now(UTC) - DAY).isoformat(timespec="seconds")
        if sum(line["time"] >= since for line in lines) >= site.max_rounds_a_day:
            raise Refused("too-many-rounds")
        rounds = Counter((line["stage"], line["round"]) for line in lines[counted_from:] if line["plan"] == digest)
        rounds[stage.name, round_number] += 1
        repeated = rounds.total() - len(rounds)
        if rounds[stage.name, round_number] > 1 and repeated > site.max_repeats:
            raise Refused("round-repeated")
        own = [line for line in lines if line["plan"] == digest]
        paid = [Event(**one["event"]) for one in own if one["split"] != split or one["fold"] == stage.fold]
        private = plan.privacy.mechanism != "none" and site.max_epsilon_plan is not None
        if private and epsilon_rdp([*paid, event], plan.privacy.delta) > _plan_cap(site):
            raise BudgetSpent("the site's max_epsilon_plan must cover a release; the next one would not fit")

    return allowed


def _plan_cap(site: Site) -> float:
    return float("inf") if site.max_epsilon_plan is None else site.max_epsilon_plan

"""The hospital's word on a plan: it is the last one. The server learns a code and nothing else."""

from __future__ import annotations

from fedspine.config import HELD_OUT, TRAIN, Plan, Stage
from fedspine.errors import Refused
from fedspine.privacy.calibrate import plan_epsilon
from fedspine.site_file import Site

CODES = {
    "task-not-allowed": "the site's policy does not list this task",
    "privacy-off": "the plan asks for training without privacy and the site does not allow that",
    "noise-missing": "the plan asks for privacy but a stage has no noise",
    "epsilon-too-large": "the plan costs more than the site allows, or than it says",
    "delta-too-large": "the plan states its epsilon at a larger delta than the site allows",
    "pseudonyms-not-kept": "the site cannot keep its pseudonym key, so its training and held-out patients would change",
    "cohort-too-small": "the site has fewer patients than its minimum",
    "budget-spent": "the site's budget does not cover this release",
    "ledger-broken": "the site's privacy ledger is not an unbroken chain",
    "plan-unusable": "the plan or its weights cannot be used",
    "egress-blocked": "the answer did not fit the stage's schema and was not sent",
    "failed": "the site could not compute an answer",
}
"""Everything that a site ever says of why it gives no answer."""


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
    if plan.privacy.delta > site.max_delta:
        raise Refused("delta-too-large")
    dearest = max(plan_epsilon(plan, TRAIN), plan_epsilon(plan, HELD_OUT))
    if dearest > min(site.max_epsilon, plan.privacy.epsilon * (1 + 1e-6)):
        raise Refused("epsilon-too-large")

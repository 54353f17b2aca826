"""Which plans a hospital knows: a chained record of those that were approved, withdrawn, or enrolled without a word.

Three kinds of lines in `approvals.jsonl`. A person writes `approved` and `revoked` (`fedspine site approve`); the
client writes `enrolled` when it first admits a plan. A plan is known by the digest of its text, so whatever changes in
it makes another plan; under a name that is known, that is refused until a person approves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedspine.config import Plan, plan_text
from fedspine.errors import InputError, Refused
from fedspine.privacy.chain import Line, extend, read
from fedspine.site_file import Site

WHAT = "the record of approvals"
APPROVED, REVOKED, ENROLLED = "approved", "revoked", "enrolled"


@dataclass(frozen=True)
class Known:
    """A plan as the hospital knows it.

    Args:
        name: the plan calls itself so.
        digest: SHA-256 of its text.
        state: `approved`, `revoked` or `enrolled`, whatever was said last.
        by: who said it; empty where the client did.
        time: when, UTC.
        booked: lines of the privacy ledger at that moment; repeated rounds are counted from there.
    """

    name: str
    digest: str
    state: str
    by: str
    time: str
    booked: int


class Approvals:
    """A site's record of plans.

    Args:
        path: the file, `approvals.jsonl`; made with mode 0600 at the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def plans(self) -> dict[str, Known]:
        """Return what is known, by digest, in the order in which it became known."""
        return _known(read(self._path, WHAT))

    def approve(self, plan: Plan, *, by: str, booked: int, cost: Mapping[str, Any]) -> None:
        """Write down that a person approved `plan`, with its text and what it was said to cost."""
        line = _line(APPROVED, plan.name, plan.digest(), by, booked)
        extend(self._path, {**line, "cost": dict(cost), "text": plan_text(plan)}, WHAT)

    def revoke(self, digest: str, *, by: str) -> Known:
        """Write down that a person withdrew the plan whose digest begins with `digest`, and return it.

        Raises:
            InputError: if no plan, or more than one, begins so, or it is withdrawn already.
        """
        found = [one for one in self.plans().values() if digest and one.digest.startswith(digest)]
        if len(found) != 1 or found[0].state == REVOKED:
            rule = "DIGEST must be the beginning of one known plan's that is not withdrawn"
            raise InputError(rule, f"{len(found)} plans", "see fedspine site approvals")
        extend(self._path, _line(REVOKED, found[0].name, found[0].digest, by, found[0].booked), WHAT)
        return found[0]

    def enrol(self, plan: Plan, booked: int) -> None:
        """Write down that `plan` was admitted, unless it is known."""
        digest = plan.digest()
        if digest not in self.plans():
            extend(self._path, _line(ENROLLED, plan.name, digest, "", booked), WHAT)

    def permit(self, plan: Plan, site: Site) -> None:
        """Return if `plan` may run here as far as its text goes.

        Once a person has approved a plan, or named one in `site.toml`, only such plans run; with `approved_only` from
        the beginning. Before that the first plan of a name may run, and stands for the name from then on.

        Raises:
            Refused: `plan-revoked`, `plan-changed` or `plan-not-approved`.
        """
        digest, plans = plan.digest(), self.plans()
        said = plans[digest].state if digest in plans else ""
        if said == REVOKED:
            raise Refused("plan-revoked")
        if said == APPROVED or digest in site.plans:
            return
        if any(one.name == plan.name and one.digest != digest for one in plans.values()):
            raise Refused("plan-changed")
        if site.approved_only or site.plans or self._ever_approved():
            raise Refused("plan-not-approved")

    def counted_from(self, plan: Plan) -> int:
        """Return how many lines of the ledger are older than the plan's last approval, or its enrolment.

        Raises:
            Refused: `not-enrolled`.
        """
        known = self.plans().get(plan.digest())
        if known is None:
            raise Refused("not-enrolled")
        return known.booked

    def _ever_approved(self) -> bool:
        return any(line["action"] == APPROVED for line in read(self._path, WHAT))


def _line(action: str, name: str, digest: str, by: str, booked: int) -> Line:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"action": action, "name": name, "plan": digest, "by": by, "booked": booked, "time": now}


def _known(lines: Iterable[Line]) -> dict[str, Known]:
    return {
        line["plan"]: Known(line["name"], line["plan"], line["action"], line["by"], line["time"], line["booked"])
        for line in lines
    }

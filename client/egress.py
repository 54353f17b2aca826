"""The gate: nothing leaves but what the stage's schema names, and every message leaves a line in a chained log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from client.limits import Limit
from fedspine.errors import EgressBlocked
from fedspine.privacy.chain import extend
from fedspine.wire import NUMBERS_OF, Schema, check, digest

WHAT = "the egress log"


class Gate:
    """Checks and logs what leaves one site.

    Args:
        log: the site's egress log, JSON lines; made with mode 0600.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    def pass_through(
        self,
        arrays: Mapping[str, Tensor],
        numbers: Mapping[str, float],
        *,
        kind: str,
        schema: Schema,
        stage: str,
        round_number: int,
        mechanism: str,
        cost: str,
        plan: str = "",
        ledger: str = "",
        limit: Limit | None = None,
        largest: int | None = None,
    ) -> None:
        """Return if the message may leave, after its line is on disk.

        Args:
            arrays: what would leave.
            numbers: what would leave beside them.
            kind: message type, one of `wire.NUMBERS_OF`.
            schema: what the stage may send.
            stage: name.
            round_number: counted from 1; 0 at enrolment.
            mechanism: such as `gaussian`, `none`, or `public` for what tells of no patient.
            cost: the ledger's event in words.
            plan: its digest.
            ledger: hash of the ledger's line that paid for the release; empty for what tells of no patient.
            limit: what the mechanism can have made; see `client.limits`.
            largest: the most bytes that a message may have.

        Raises:
            EgressBlocked: if anything is not in the schema, or beyond a limit; the log says that a message was stopped.
        """
        line = {"stage": stage, "round": round_number, "plan": plan, "ledger": ledger}
        fingerprint, size = digest(arrays)
        size += 8 * len(numbers)
        try:
            check(arrays, schema)
            _check_numbers(numbers, kind)
            if largest is not None and size > largest:
                raise EgressBlocked("a message must not be larger than the site allows; found more; nothing was sent")
            if limit is not None:
                limit(arrays, numbers)
        except EgressBlocked:
            self._write({**line, "digest": "", "bytes": 0, "mechanism": "stopped", "cost": ""})
            raise
        self._write({**line, "digest": fingerprint, "bytes": size, "mechanism": mechanism, "cost": cost})

    def refuse(self, stage: str, code: str) -> None:
        """Log that a code left in place of an answer."""
        line = {"stage": stage, "round": 0, "plan": "", "ledger": "", "digest": "", "bytes": 0}
        self._write({**line, "mechanism": "refusal", "cost": code})

    def _write(self, line: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        extend(self._log, {**line, "time": now}, WHAT)


def _check_numbers(numbers: Mapping[str, float], kind: str) -> None:
    if not numbers.keys() <= NUMBERS_OF[kind]:
        raise EgressBlocked("a message may hold only the numbers of its kind; found another; nothing was sent")
    if any(type(value) is not float or value != value or abs(value) == float("inf") for value in numbers.values()):
        raise EgressBlocked("a number must be a finite one; found something else; nothing was sent")

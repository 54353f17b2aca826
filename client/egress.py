"""The gate: nothing leaves but what the stage's schema names, and every message leaves a line in a chained log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from fedspine.errors import EgressBlocked
from fedspine.privacy.chain import FIRST, append, chained, locked, read_chain
from fedspine.wire import NUMBERS_OF, Schema, check, digest


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

        Raises:
            EgressBlocked: if anything is not in the schema; the log then says that a message was stopped.
        """
        line = {"stage": stage, "round": round_number, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            check(arrays, schema)
            if not numbers.keys() <= NUMBERS_OF[kind]:
                raise EgressBlocked("a message may hold only the numbers of its kind; found another; nothing was sent")
            if any(value != value or abs(value) == float("inf") for value in numbers.values()):
                raise EgressBlocked("a number must be finite; found another; nothing was sent")
        except EgressBlocked:
            self._write({**line, "digest": "", "bytes": 0, "mechanism": "stopped", "cost": ""})
            raise
        fingerprint, size = digest(arrays)
        size += 8 * len(numbers)
        self._write({**line, "digest": fingerprint, "bytes": size, "mechanism": mechanism, "cost": cost})

    def refuse(self, stage: str, code: str) -> None:
        """Log that a code left in place of an answer."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"stage": stage, "round": 0, "time": now, "digest": "", "bytes": 0}
        self._write({**line, "mechanism": "refusal", "cost": code})

    def _write(self, line: dict[str, object]) -> None:
        with locked(self._log) as file:
            file.seek(0)
            lines = read_chain(file.read(), "the egress log")
            append(file, chained(line, lines[-1]["hash"] if lines else FIRST))

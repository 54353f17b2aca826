"""A site's two books against each other: what was paid for, and what left.

The ledger has a line for every release, the egress log one for every message. Every message that carries a release
names, by hash, the ledger's line that paid for it. So the two must match both ways: no release without its payment, no
payment for two releases. A payment without a message is no fault: the site stopped between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspine.privacy.chain import Line

WITHOUT_RELEASE = {"public", "refusal", "stopped"}
"""What the egress log calls a message that releases nothing of a patient, or that was not sent."""


@dataclass(frozen=True)
class Books:
    """What the two books say together.

    Args:
        payments: lines of the ledger.
        releases: messages that carried a release.
        others: messages without one, by kind: `public`, `refusal`, `stopped`.
        size: bytes of all messages.
        unsent: lines of the ledger that no message names: paid and not sent.
        faults: what does not match, as sentences that name the log's line by number.
    """

    payments: int
    releases: int
    others: Counter[str]
    size: int
    unsent: tuple[Line, ...]
    faults: tuple[str, ...]


def matched(ledger: Sequence[Line], log: Sequence[Line]) -> Books:
    """Return how the lines of a site's ledger and of its egress log match; both chains have been checked before."""
    payments = {line["hash"]: line for line in ledger}
    used: Counter[str] = Counter()
    others: Counter[str] = Counter()
    faults: list[str] = []
    for number, line in enumerate(log, 1):
        kind = line["mechanism"]
        if kind in WITHOUT_RELEASE:
            others[kind] += 1
            continue
        named = line.get("ledger", "")
        used[named] += 1
        faults += [f"message {number} of the log {fault}" for fault in _faults(line, payments.get(named))]
        if used[named] == 2 and named in payments:
            faults.append(f"message {number} of the log names a line of the ledger that paid for another one")
    return Books(
        payments=len(ledger),
        releases=used.total(),
        others=others,
        size=sum(line["bytes"] for line in log),
        unsent=tuple(line for line in ledger if line["hash"] not in used),
        faults=tuple(faults),
    )


def _faults(message: Line, payment: Line | None) -> list[str]:
    if payment is None:
        return ["carries a release that no line of the ledger paid for"]
    wrong = [what for what in ("stage", "round", "plan") if message[what] != payment[what]]
    if message["mechanism"] != mechanism_of(payment["event"]):
        wrong.append("mechanism")
    if message["cost"] != cost_in_words(payment["event"]):
        wrong.append("cost")
    late = [] if message["time"] >= payment["time"] else ["left before it was paid for"]
    return late + ([f"differs from the line that paid for it in {', '.join(wrong)}"] if wrong else [])


def mechanism_of(event: dict[str, Any]) -> str:
    """Return what the egress log calls a release of a ledger's `event`: `none` where it has no noise."""
    return str(event.get("mechanism", "gaussian")) if event["noise_multiplier"] > 0 else "none"


def cost_in_words(event: dict[str, Any]) -> str:
    """Return a ledger's `event` as the egress log writes it.

    >>> cost_in_words({"noise_multiplier": 2.5, "sample_rate": 0.5, "count": 4})
    'σ=2.5, q=0.5, 4 times'
    """
    return f"σ={event['noise_multiplier']:g}, q={event['sample_rate']:g}, {event['count']} times"

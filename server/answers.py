"""Which answers of a round can be used, and what is noted of them: a site's message is untrusted input too."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from fedspine.errors import EgressBlocked
from fedspine.wire import Schema, check
from server.sites import Reply


def usable(
    replies: Mapping[str, Reply], schema: Schema, entry: dict[str, Any], *, passing: Collection[str] = ()
) -> dict[str, Reply]:
    """Return the answers that fit `schema`, and note in the stage's `entry` what came of all.

    Args:
        replies: by site.
        schema: of the arrays.
        entry: `refused` gets a code for every site that is not to be asked again in this stage; changed.
        passing: codes that do not mean that.
    """
    kept = {}
    for name, reply in replies.items():
        code = reply.code or _fault(reply, schema)
        if code in passing:
            continue
        if code:
            entry["refused"][name] = code
            continue
        kept[name] = reply
        sent = sum(value.numel() * value.element_size() for value in reply.arrays.values()) + 8 * len(reply.numbers)
        entry["bytes"][name] = entry["bytes"].get(name, 0) + sent
    return kept


def count_rounds(entry: dict[str, Any], asked: Collection[str], answered: Collection[str]) -> None:
    """Count a round that `asked` were asked for, and those who answered: each may have cost them one release."""
    for what, names in (("asked", asked), ("answered", answered)):
        for name in names:
            entry[what][name] = entry[what].get(name, 0) + 1


def _fault(reply: Reply, schema: Schema) -> str:
    try:
        check(reply.arrays, schema)
    except EgressBlocked:
        return "unreadable"
    return "" if all(math.isfinite(value) for value in reply.numbers.values()) else "unreadable"

"""A3, first part: whether everything that left a site was paid for, or tells of no patient.

The egress log has a line for each message that left. A release names the ledger's line that paid for it, and no two
releases name the same; in logs from before lines were named, stage and round tell. Whatever else left must be public
(enrolment's agreed counts, keys of a secure sum) or a code of refusal. And no more bytes may have arrived at the
coordinator than the log says have left.

FAIL where a release is unpaid or paid once for twice, where raw values left although the plan promises noise, where a
public message is too long to be one, or where the coordinator has more than was logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fedspine.audit.books import answered, record
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.errors import PrivacyError
from fedspine.privacy.chain import read

SILENT = ("stopped", "refusal")
"""What the log calls a message that did not leave, and a code in its place."""

PUBLIC = "public"
MOST_PUBLIC_BYTES = 4096
"""Counts of an enrolment and the keys of a secure sum are shorter."""

TITLE = "What left the sites"
MEANS = (
    "Each message that leaves a hospital is written down before it goes. Here every one of them is matched with the "
    "entry in the ledger that paid for it, so that nothing left on the side."
)


def messages(subject: Subject) -> Line:
    """Return the line A3 on messages; see this file's head."""
    faults: list[str] = []
    sent = size = logs = 0
    for site in subject.sites:
        path = site.state / "egress.jsonl"
        if not path.exists() and not answered(subject.run, site.name):
            continue
        try:
            lines = read(path, "the egress log")
            paid = read(site.state / "ledger.jsonl", "the privacy ledger")
        except PrivacyError:
            faults.append(f"{site.name}: a log is broken or cut off")
            continue
        logs, sent, size = logs + 1, sent + len(lines), size + sum(int(line["bytes"]) for line in lines)
        faults += [f"{site.name}: {fault}" for fault in _unmatched(subject, lines, paid)]
        faults += [f"{site.name}: {fault}" for fault in _more_arrived(subject, site, lines)]
    if not logs and not faults:
        return Line("A3", TITLE, Level.MECHANISM, Grade.NOT_TESTED, "No site's egress log is at hand.", means=MEANS)
    return Line(
        "A3",
        TITLE,
        Level.MECHANISM,
        Grade.FAIL if faults else Grade.PASS,
        "; ".join(faults[:4]) + "."
        if faults
        else f"{sent} messages of {size:,} bytes in all, each paid for in the ledger or without a patient in it.",
        bound=""
        if faults
        else "What other programs of the machine send is not seen; time and length of messages are in clear.",
        means=MEANS,
        figures={"messages": sent, "bytes": size},
    )


def _unmatched(subject: Subject, lines: Sequence[Mapping[str, Any]], paid: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what left without a line in the ledger."""
    digest, faults = subject.digest, []
    hashes = {line["hash"] for line in paid}
    rounds = {(line["stage"], line["round"]) for line in paid}
    used: Counter[str] = Counter()
    for line in lines:
        where = f"stage {line['stage'] or 'enrolment'}, round {line['round']}"
        if line["mechanism"] in SILENT:
            continue
        if line["mechanism"] == PUBLIC:
            if line["bytes"] > MOST_PUBLIC_BYTES:
                faults.append(f"{line['bytes']:,} bytes left as public ({where})")
            continue
        named = str(line.get("ledger", ""))
        if named:
            used[named] += 1
        if (named and named not in hashes) or (not named and (line["stage"], line["round"]) not in rounds):
            faults.append(f"a release left that no line of the ledger paid for ({where})")
        if line["mechanism"] == "none" and subject.plan.privacy.mechanism != "none" and line.get("plan") == digest:
            faults.append(f"raw values left ({where})")
    return faults + [f"{n} releases were paid for once" for n in used.values() if n > 1]


def _more_arrived(subject: Subject, site: SiteRecord, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where the coordinator has more bytes of a stage than the log says have left."""
    faults = []
    for stage in record(subject.run).get("stages", []):
        arrived = int(stage["bytes"].get(site.name, 0))
        left = sum(int(line["bytes"]) for line in lines if line["stage"] == stage["name"])
        if arrived > left:
            faults.append(f"{arrived - left:,} bytes of stage {stage['name']} arrived that the log does not hold")
    return faults

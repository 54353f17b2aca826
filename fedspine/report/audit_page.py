"""The audit as a page: what was promised, whether it was kept, and what attacks got, for people who are no specialists.

Lines are grouped by the pyramid of NIST SP 800-226 (Near, Darais, Lefkovitz, Howarth 2025): the guarantee on top, which
rests on algorithm and trust, which rest on data, access and exposure.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspine.report.axes import drawing, text
from fedspine.report.layout import Section, absent, data_table, facts, figure, folded, notice, page
from fedspine.report.markup import Markup, join, tag
from fedspine.report.run_files import rows, table
from fedspine.report.script import script
from fedspine.report.style import STYLE
from fedspine.report.wording import FOLDS, amount, duration, number, plural

GRADES = {"FAIL": "alarm", "PASS": "calm", "NOT TESTED": "caution"}
"""Grade to the colour in which it is written."""

MORE_STYLE = """
.grade { color: var(--n); background: var(--w); border: 1px solid var(--n); border-radius: 3px; padding: 1px 9px;
  font-size: .82rem; font-weight: 700; white-space: nowrap; letter-spacing: .02em; }
.check { border-top: 1px solid var(--faint); padding: 16px 0 8px; break-inside: avoid; }
.check h3 { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; margin: 0 0 6px; }
.check .number { color: var(--soft); font-weight: 500; }
.check .why, .check .bound { color: var(--soft); font-size: .93rem; }
.shots { display: flex; flex-wrap: wrap; gap: 14px; margin: 10px 0; } .shots figure { margin: 0; max-width: 500px; }
.shots img { width: 480px; max-width: 100%; image-rendering: pixelated; border-radius: 3px; background: #000; }
.shots figcaption { font-size: .84rem; color: var(--soft); margin-top: 3px; }
.pyramid { max-width: 620px; } .pyramid .step { fill: var(--wash); stroke: var(--n); stroke-width: 1.6; }
"""

SOURCES = {
    "phantoms": ("calm", "Audited on phantoms.", "Every patient here is made up; the pictures show nobody."),
    "no patients": (
        "calm",
        "Audited without patients.",
        "What needs them reads NOT TESTED; a hospital can run this audit on its own with --data.",
    ),
    "site folders": (
        "caution",
        "Made from real patients without noise: this page stays where they are.",
        "It is for whoever may see these patients anyway; do not send it to the coordinator.",
    ),
}


@dataclass(frozen=True)
class Step:
    """One step of the pyramid.

    Args:
        level: as lines name it.
        anchor: in the page.
        title: of its section.
        about: what it is for.
    """

    level: str
    anchor: str
    title: str
    about: str


PYRAMID = (
    Step(
        "guarantee",
        "guarantee",
        "The guarantee",
        "What is promised to a patient, in whole, and what it costs. If this fails, nothing below can mend it.",
    ),
    Step(
        "algorithm and trust",
        "mechanism",
        "Algorithm and trust",
        "Whether the program does what the promise takes for granted: each patient's part bounded, noise large enough "
        "and secret, sampling by chance. Then whether known attacks get out more than promised.",
    ),
    Step(
        "data, access and exposure",
        "exposure",
        "Data, access and exposure",
        "The ground that all of it stands on: who can read what lies on disk, and what can be reached from outside.",
    ),
)

READING = (
    "FAIL: what was found contradicts the claim, or there is none. PASS holds up to the bound that stands beside "
    "it, and never means that something is private. NOT TESTED is not a PASS: nobody looked, for the reason given."
)
MEANING = (
    "Limits for any attack there is or will be, by an attacker who knows everything but whether this one patient took "
    "part: of 100 patients who did, at most so many are found while 1 of 100 who did not is accused wrongly; and the "
    "share of right answers at most, where a guess is right in half. They follow from the releases in the ledger."
)


def write_audit(written: Mapping[str, Any], pictures: Sequence[Mapping[str, bytes]], folder: Path) -> Path:
    """Write `audit.html` into `folder`, for its owner's eyes, and return it.

    Args:
        written: the contents of `audit.json`.
        pictures: of each of its lines, caption to a PNG's bytes.
        folder: there already.
    """
    shown = list(zip(rows(written, "lines"), pictures, strict=True))
    sections = [Section("meaning", "What the guarantee means", _meaning(written))]
    for step in PYRAMID:
        mine = [(line, shots) for line, shots in shown if line.get("level") == step.level]
        body = join(tag("p", step.about), [_check(line, shots) for line, shots in mine])
        sections.append(
            Section(step.anchor, step.title, body if mine else absent("No line of this level was asked for."))
        )
    title = f"fedspine audit: {written.get('plan', '')}"
    whole = page(title, header(written), sections, face="sheet", style=STYLE + MORE_STYLE, script=script())
    file = folder / "audit.html"
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(whole, encoding="utf-8")
    return file


def header(written: Mapping[str, Any]) -> Markup:
    """Return what a reader must know first: the verdict, and what it was reached on."""
    lines = rows(written, "lines")
    counts = {grade: sum(line.get("grade") == grade for line in lines) for grade in GRADES}
    failed = [str(line.get("title")) for line in lines if line.get("grade") == "FAIL"]
    privacy = table(written, "privacy")
    if failed:
        verdict = notice("alarm", f"{plural(len(failed), 'line')} failed", ", ".join(failed), ". ", READING)
    else:
        verdict = notice("calm", "Nothing found that contradicts the claim", READING)
    simulated = "one machine that plays all sites" if written.get("simulation") else "a federation"
    return join(
        tag("p", "fedspine, an audit", class_="over-title"),
        tag("h1", str(written.get("plan") or "A plan without a name")),
        verdict,
        _source(written),
        facts(
            [
                *((grade, counts[grade]) for grade in GRADES),
                ("epsilon of the plan", amount(number(privacy.get("epsilon")))),
                ("delta", f"{number(privacy.get('delta')) or 0:g}"),
                ("ran on", simulated),
                ("audit took", duration(number(written.get("seconds")))),
            ]
        ),
        _pyramid(written),
    )


def _source(written: Mapping[str, Any]) -> Markup:
    kind, title, words = SOURCES.get(str(written.get("source")), SOURCES["site folders"])
    return notice(kind, title, words)


def _pyramid(written: Mapping[str, Any]) -> Markup:
    """Return the pyramid with the grades of each step."""
    drawn: list[Markup] = []
    height, middle, bottom = 62.0, 310.0, 300.0
    for index, step in enumerate(PYRAMID):
        mine = [line for line in rows(written, "lines") if line.get("level") == step.level]
        counts = {grade: sum(line.get("grade") == grade for line in mine) for grade in GRADES}
        top, upper, lower = index * (height + 5), 78 + index * 76.0, 78 + (index + 1) * 76.0
        colour = next((GRADES[grade] for grade in ("FAIL", "PASS", "NOT TESTED") if counts[grade]), "caution")
        shape = (
            f"M{middle - upper:.0f} {top:.0f}H{middle + upper:.0f}L{middle + lower:.0f} {top + height:.0f}"
            f"H{middle - lower:.0f}Z"
        )
        told = ", ".join(f"{count} {grade}" for grade, count in counts.items() if count) or "not asked for"
        drawn.append(tag("path", d=shape, class_=f"step {colour}"))
        drawn.append(text(middle, top + 27, step.title, "panel", "middle"))
        drawn.append(text(middle, top + 46, told, "tick", "middle"))
    return tag("div", drawing(2 * middle, bottom - 100, "The pyramid of the audit", drawn), class_="pyramid")


def _meaning(written: Mapping[str, Any]) -> Markup:
    found = rows(written, "meaning")
    if not found:
        return absent("No ledger with noise is at hand, so there is no limit to tell.")
    sites: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        cells = (
            FOLDS.get(str(one.get("fold")), str(one.get("fold"))),
            amount(number(one.get("epsilon"))),
            f"{100 * (number(one.get('found')) or 0):.0f} of 100",
            f"{100 * (number(one.get('accuracy')) or 0):.0f} %",
        )
        sites.setdefault(cells, []).append(str(one.get("site", "")))
    body = [[", ".join(names), *cells] for cells, names in sites.items()]
    head = ["sites", "patients", "epsilon (PLD)", "found at 1 % false alarms, at most", "right answers, at most"]
    return figure(data_table(head, body, words=[1]), MEANING)


def _check(line: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup:
    """Return one line of the audit."""
    grade = str(line.get("grade", ""))
    badge = tag("span", grade, class_=f"grade {GRADES.get(grade, 'caution')}")
    numbers, title = table(line, "figures"), str(line.get("title", ""))
    cells = [[name, amount(number(value), 5).rstrip("0").rstrip(".")] for name, value in numbers.items()]
    return tag(
        "article",
        tag("h3", tag("span", str(line.get("check", "")), class_="number"), title[:1].upper() + title[1:], badge),
        tag("p", str(line.get("finding", "")), class_="finding"),
        tag("p", str(line.get("means", "")), class_="why"),
        tag("p", tag("strong", "What the PASS is worth: "), str(line["bound"]), class_="bound")
        if line.get("bound")
        else None,
        _shots(pictures),
        folded(f"{plural(len(cells), 'number')}", data_table(["number", "value"], cells)) if cells else None,
        class_="check",
    )


def _shots(pictures: Mapping[str, bytes]) -> Markup | None:
    if not pictures:
        return None
    shots = [
        tag(
            "figure",
            tag("img", src="data:image/png;base64," + base64.b64encode(content).decode(), alt=caption),
            tag("figcaption", caption),
        )
        for caption, content in pictures.items()
    ]
    return tag("div", shots, class_="shots")

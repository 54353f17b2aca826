"""The page of a stress test: curves of each network against worse images, and where Grad-CAM says it looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedspine.report.axes import Scale, drawing, horizontal_axis, line, reach, vertical_axis
from fedspine.report.figures import Interval, forest
from fedspine.report.layout import Section, absent, data_table, figure, folded, notice, page
from fedspine.report.markup import Markup, join, tag
from fedspine.report.run_files import rows, table
from fedspine.report.script import script
from fedspine.report.style import STYLE
from fedspine.report.wording import amount, number

CURVES = (
    "The score of the same patients under ever stronger changes; the bar is the interval over patients. What counts is "
    "the loss against the same patient without the change, in the table: the networks' scores themselves depend on the "
    "patients. Strengths are of the same kind for every network, so two networks' pages can be laid side by side."
)
LOOKS = (
    "Of the Grad-CAM heat map's energy, the share inside the lesion, a mean over patients. The last rows are what the "
    "same network gives with random weights, and what a map without any aim would give, the lesion's share of the "
    "image: a trained network that is not clearly above both does not look at the lesion, however the map appears. It "
    "says where the gradient is large, not why the network decides as it does."
)


def write_stress(written: Mapping[str, Any], folder: Path) -> Path:
    """Write `stress.html` into `folder` from the contents of `stress.json`, and return it."""
    file = folder / "stress.html"
    networks = table(written, "networks")
    sections = [
        Section(f"network-{index}", f"{name}: {table(one).get('score', 'score')}", _network(table(one)))
        for index, (name, one) in enumerate(networks.items())
    ]
    title = f"fedspine stress test: {written.get('plan', '')}"
    text = page(title, _header(written), sections, face="sheet", style=STYLE, script=script())
    file.write_text(text, encoding="utf-8")
    return file


def _header(written: Mapping[str, Any]) -> Markup:
    if written.get("source") == "phantoms":
        said = notice("calm", "Tried on phantoms.", "Every number here is made from public images alone.")
    else:
        said = notice(
            "caution",
            "Made from real patients without noise: this page stays where they are.",
            "Only patients who were held out from training. The curve over scanners is made from phantoms, the only "
            "patients whom one can scan on every scanner.",
        )
    title = str(written.get("plan") or "A plan without a name")
    return join(tag("p", "fedspine, a stress test", class_="over-title"), tag("h1", title), said)


def _network(network: Mapping[str, Any]) -> Markup:
    curves = [table(curve) for curve in rows(network, "curves")]
    if not curves:
        return absent("No patient could be scored by this network.")
    name = str(network.get("score", "score"))
    panels = [
        tag("div", tag("p", str(curve.get("name", "")), class_="panel-title"), _picture(curve, name))
        for curve in curves
    ]
    cells = [
        [f"{curve.get('name', '')}: {_level(point)}", _words(table(point, "score")), _words(table(point, "loss"))]
        for curve in curves
        for point in map(table, rows(curve, "points"))
    ]
    return join(
        figure(tag("div", panels, class_="panels"), CURVES),
        folded("The same numbers as a table", data_table(["change", name, "change of the score"], cells)),
        _looks(table(network, "grad-cam")) if "grad-cam" in network else None,
    )


def _picture(curve: Mapping[str, Any], name: str) -> Markup:
    points = [table(point) for point in rows(curve, "points")]
    says = f"{name} against {curve.get('name', '')}"
    if not curve.get("unit"):
        intervals = [_interval(_level(point), table(point, "score"), "s0") for point in points]
        return forest(intervals, unit="", says=says)
    cells = [(number(point.get("level")) or 0.0, _interval("", table(point, "score"), "s0")) for point in points]
    span = reach(value for _, each in cells for value in (each.value, each.low, each.high))
    if span is None:
        return absent("No patient could be scored.")
    span = max(span[0], 0.0), min(span[1], 1.0)
    width, left, top, bottom = 350.0, 52.0, 12.0, 176.0
    x, y = Scale(0, max(at for at, _ in cells) or 1.0, left + 6, width - 14), Scale(*span, bottom, top)
    drawn = [
        *horizontal_axis(x, top, bottom, str(curve["unit"]), [at for at, _ in cells]),
        *vertical_axis(y, left, width - 8, name),
    ]
    known = [(x(at), y(each.value)) for at, each in cells if each.value is not None]
    if known:
        drawn.append(tag("path", d="M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in known), class_="line s0"))
    for at, each in cells:
        if each.low is not None and each.high is not None:
            drawn.append(line(x(at), y(each.low), x(at), y(each.high), "bar s0"))
        if each.value is not None:
            tip = f"{tick(at)} · {amount(each.value, 3)}"
            drawn.append(tag("circle", cx=x(at), cy=y(each.value), r=4, class_="dot s0", data_tip=tip))
    return drawing(width, bottom + 38, says, drawn)


def tick(value: float) -> str:
    """Return a strength without trailing zeros."""
    return f"{value:g}"


def _looks(found: Mapping[str, Any]) -> Markup:
    if not found:
        return absent("No patient has a lesion that a heat map could be laid over.")
    chance = number(found.get("by chance"))
    intervals = [
        _interval("trained", table(found, "inside"), "s0"),
        _interval("random", table(found, "randomised"), "s1"),
        Interval("by chance", chance, None, None, "s-pooled"),
    ]
    gain = _words(table(found, "gain"))
    patients = f"{number(found.get('patients')) or 0:.0f} patients; trained less random weights: {gain}. "
    return figure(
        forest(intervals, unit="share of the heat map inside the lesion", says="Grad-CAM inside the lesion"),
        patients + LOOKS,
        title="Where it looks",
    )


def _interval(label: str, cell: Mapping[str, Any], style: str) -> Interval:
    value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
    return Interval(label, value, low, high, style)


def _level(point: Mapping[str, Any]) -> str:
    level = number(point.get("level"))
    return str(point.get("level", "")) if level is None else tick(level)


def _words(cell: Mapping[str, Any]) -> str:
    value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
    return amount(value) if low is None or high is None else f"{amount(value)} [{amount(low)}, {amount(high)}]"

"""The figures of the report: lines over rounds, intervals, bars, locations before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedspine.report.axes import Scale, colour, drawing, horizontal_axis, line, reach, text, ticks, vertical_axis
from fedspine.report.markup import Markup, tag
from fedspine.report.wording import amount, epsilon_text, signed, size_text


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: for the tooltip.
        values: per round from round 1, `None` where there is none.
        style: class of the style sheet.
        noise: standard deviation of the noise in every value; a band of twice that is drawn.
    """

    name: str
    values: Sequence[float | None]
    style: str
    noise: float = 0.0


def line_chart(lines: Sequence[Line], *, across: str, up: str, says: str, width: float = 500) -> Markup | None:
    """Return values over rounds, or `None` where no line has a value."""
    edges = (v + s * each.noise for each in lines for v in each.values if v is not None for s in (-2, 2))
    span = reach(edges)
    if span is None:
        return None
    height, left, right, top, bottom = 250.0, 58.0, width - 14, 12.0, 206.0
    rounds = max(len(each.values) for each in lines)
    x = Scale(1, max(rounds, 2), left + 6, right - 6)
    y = Scale(*span, bottom, top)
    marks = [mark for mark in ticks(1, max(rounds, 2), 8) if mark == int(mark)]
    drawn = [*horizontal_axis(x, top, bottom, across, marks), *vertical_axis(y, left, right, up)]
    for each in lines:
        points = [(i + 1, value) for i, value in enumerate(each.values) if value is not None]
        if each.noise and points:
            above = [f"{x(at):.1f} {y(value + 2 * each.noise):.1f}" for at, value in points]
            below = [f"{x(at):.1f} {y(value - 2 * each.noise):.1f}" for at, value in reversed(points)]
            drawn.append(tag("path", d=f"M{'L'.join([*above, *below])}Z", class_=f"band {each.style}"))
        path = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in points)
        drawn.append(tag("path", d=f"M{path}", class_=f"line {each.style}") if points else tag("g"))
        for at, value in points:
            tip = f"{each.name} · round {at} · {amount(value, 3)}"
            drawn.append(tag("circle", cx=x(at), cy=y(value), r=3, class_=f"dot {each.style}", data_tip=tip))
    return drawing(width, height, says, drawn)


@dataclass(frozen=True)
class Interval:
    """A released value with its interval; `value` is `None` where the noise is too large for one."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    style: str


def forest(intervals: Sequence[Interval], *, unit: str, says: str) -> Markup:
    """Return one row per interval: a dot for the value, a bar from low to high, the number at the end."""
    known = [v for each in intervals for v in (each.value, each.low, each.high) if v is not None]
    within = all(0 <= v <= 1 for v in known)
    low, high = (0.0, 1.0) if within else (min([0.0, *known]), max([1.0, *known]))
    width, top, step = 350.0, 6.0, 22.0
    bottom = top + step * len(intervals)
    x = Scale(low, high, 92, 302)
    drawn = horizontal_axis(x, top, bottom, unit, ticks(low, high))
    for row, each in enumerate(intervals):
        y = top + step * (row + 0.5)
        drawn.append(text(84, y + 4, shortened(each.name, 13), "row", "end"))
        if each.value is None:
            drawn.append(text(x.start + 4, y + 4, "too few patients under this noise", "absent"))
            continue
        tip = f"{each.name} · {amount(each.value, 3)}"
        if each.low is not None and each.high is not None:
            tip += f" · interval {amount(each.low, 3)} to {amount(each.high, 3)}"
            drawn.append(line(x(each.low), y, x(each.high), y, f"bar {each.style}"))
        drawn.append(tag("circle", cx=x(each.value), cy=y, r=5, class_=f"dot {each.style}", data_tip=tip))
        drawn.append(text(348, y + 4, amount(each.value), "number", "end"))
    return drawing(width, bottom + (38 if unit else 22), says, drawn)


@dataclass(frozen=True)
class Spent:
    """What a site's releases cost a patient of one fold, by two accountants; `None` is unbounded."""

    site: str
    fold: str
    pld: float | None
    rdp: float | None


def epsilon_bars(spent: Sequence[Spent], budget: float | None, sites: Sequence[str]) -> Markup:
    """Return one bar per site and fold against the budget; the tick on a bar is the cruder accountant."""
    width, top, step, left, right = 760.0, 22.0, 26.0, 190.0, 690.0
    known = [v for each in spent for v in (each.pld, each.rdp, budget) if v is not None]
    x = Scale(0, max(known, default=1.0) * 1.06, left, right)
    bottom = top + step * len(spent)
    drawn = horizontal_axis(x, top, bottom, "epsilon for one patient (no unit; smaller reveals less)", ticks(0, x.high))
    for row, each in enumerate(spent):
        y = top + step * row + 5
        drawn.append(text(left - 8, y + 12, f"{shortened(each.site, 13)}, {each.fold}", "row", "end"))
        end = right if each.pld is None else x(each.pld)
        over = each.pld is None or (budget is not None and each.pld > budget * (1 + 1e-6))
        tip = f"{each.site} · {each.fold} patients · epsilon {epsilon_text(each.pld)}"
        tip += f" (Rényi bound {epsilon_text(each.rdp)})" if each.rdp is not None else ""
        style = "over" if over else colour(sites, each.site)
        drawn.append(tag("rect", x=left, y=y, width=end - left, height=16, rx=2, class_=f"fill {style}", data_tip=tip))
        if each.rdp is not None:
            drawn.append(line(x(each.rdp), y - 2, x(each.rdp), y + 18, "mark"))
        drawn.append(text(right + 8, y + 12, epsilon_text(each.pld), "number"))
    if budget is not None:
        drawn.append(line(x(budget), top - 4, x(budget), bottom, "budget"))
        drawn.append(text(x(budget), top - 8, f"budget {budget:g}", "title", "middle"))
    return drawing(width, bottom + 40, "Epsilon of each site against the budget", drawn)


def stacked_bytes(stages: Sequence[tuple[str, Mapping[str, float]]], sites: Sequence[str]) -> Markup | None:
    """Return one bar per stage of the bytes that each site sent, or `None` where none sent any."""
    totals = [sum(parts.values()) for _, parts in stages]
    if not any(totals):
        return None
    width, top, step, left, right = 760.0, 6.0, 26.0, 150.0, 670.0
    unit, scale = next(((u, s) for u, s in (("MB", 1e6), ("kB", 1e3)) if max(totals) >= s), ("bytes", 1.0))
    x = Scale(0, max(totals) / scale, left, right)
    bottom = top + step * len(stages)
    drawn = horizontal_axis(x, top, bottom, f"{unit} sent by all sites over all rounds", ticks(0, x.high))
    for row, (stage, parts) in enumerate(stages):
        y, start = top + step * row + 5, 0.0
        drawn.append(text(left - 8, y + 12, shortened(stage, 20), "row", "end"))
        for site, count in parts.items():
            a, b = x(start / scale), x((start + count) / scale)
            tip = f"{site} · {stage} · {size_text(count)}"
            style = f"fill {colour(sites, site)}"
            drawn.append(tag("rect", x=a, y=y, width=max(b - a, 0.5), height=16, class_=style, data_tip=tip))
            start += count
        drawn.append(text(right + 8, y + 12, size_text(start), "number"))
    return drawing(width, bottom + 40, "Bytes sent in each stage by each site", drawn)


@dataclass(frozen=True)
class Locations:
    """Where each site's mean of each feature lies, in pooled standard deviations, before and after harmonising."""

    features: Sequence[str]
    before: Mapping[str, Sequence[float | None]]
    after: Mapping[str, Sequence[float | None]]


def location_panels(locations: Locations, sites: Sequence[str]) -> Markup | None:
    """Return two panels with one row per feature and one dot per site, or `None` where there is no number."""
    both = (locations.before, locations.after)
    span = reach(v for panel in both for values in panel.values() for v in values)
    if span is None or not locations.features:
        return None
    edge = max(abs(span[0]), abs(span[1]))
    width, top, step = 1040.0, 26.0, 17.0
    bottom = top + step * len(locations.features)
    drawn: list[Markup] = []
    for row, feature in enumerate(locations.features):
        drawn.append(text(152, top + step * (row + 0.5) + 4, shortened(feature, 24), "row", "end"))
    for panel, title, start, end in ((both[0], "before", 164, 590), (both[1], "after", 612, 1038)):
        x = Scale(-edge, edge, start, end)
        drawn += horizontal_axis(x, top, bottom, "site mean, in pooled standard deviations", ticks(-edge, edge))
        drawn += [line(x(0), top, x(0), bottom, "zero"), text((start + end) / 2, 15, title, "panel", "middle")]
        drawn += _dots(panel, title, locations.features, sites, x, top, step)
    return drawing(width, bottom + 40, "Location of each feature at each site before and after harmonising", drawn)


def _dots(
    panel: Mapping[str, Sequence[float | None]],
    title: str,
    features: Sequence[str],
    sites: Sequence[str],
    x: Scale,
    top: float,
    step: float,
) -> list[Markup]:
    drawn: list[Markup] = []
    for index, (site, values) in enumerate(panel.items()):
        lift = (index - (len(panel) - 1) / 2) * min(3.0, 9.0 / max(len(panel), 1))  # so that equal values stay visible
        for row, (feature, value) in enumerate(zip(features, values, strict=False)):
            if value is not None:
                y = top + step * (row + 0.5) + lift
                tip = f"{site} · {feature} · {title}: {signed(value)} pooled sd"
                drawn.append(tag("circle", cx=x(value), cy=y, r=4, class_=f"dot {colour(sites, site)}", data_tip=tip))
    return drawn


def shortened(name: str, letters: int) -> str:
    """Return `name`, cut where it is longer than `letters`."""
    return name if len(name) <= letters else name[: letters - 1] + "…"

"""What every figure is drawn on: scales, ticks, a frame with named axes, a legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedspine.report.markup import Child, Markup, tag

SITE_COLOURS = 8
"""Colours in the style sheet; a ninth site starts again, and every mark names its site anyway."""


@dataclass(frozen=True)
class Scale:
    """A straight line from values `low`…`high` to drawing units `start`…`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where `value` is drawn; values beyond the scale are drawn at its end."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Return about `count` round numbers within [low, high].

    >>> ticks(0, 1), ticks(1, 8, 4)
    ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (2.0, 4.0, 6.0, 8.0))
    """
    span = high - low
    if span <= 0:
        return (low,)
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(index * step, 10) for index in range(first, last + 1))


def tick_text(value: float) -> str:
    """Return a tick's number without trailing zeros."""
    return f"{value:g}".replace("-", "−")


def reach(values: Iterable[float | None], room: float = 0.05) -> tuple[float, float] | None:
    """Return the smallest and largest value with a little room, or `None` where there is no value."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    margin = (high - low) * room or abs(high) * room or 1.0
    return low - margin, high + margin


def colour(sites: Sequence[str], name: str) -> str:
    """Return the style class that gives site `name` its colour, the same in every figure of the run."""
    site = name.split(" · ")[0]  # of a scanner, its site
    return f"s{sites.index(site) % SITE_COLOURS}" if site in sites else "s-pooled"


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """Return text at a point; `anchor` is start, middle or end."""
    return tag("text", content, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def horizontal_axis(scale: Scale, top: float, bottom: float, title: str, marks: Sequence[float]) -> list[Markup]:
    """Return grid lines at `marks` from `top` to `bottom`, their numbers below, and the axis title with its unit."""
    drawn: list[Markup] = []
    for value in marks:
        x = scale(value)
        drawn += [line(x, top, x, bottom, "grid"), text(x, bottom + 15, tick_text(value), "tick", "middle")]
    middle = (scale.start + scale.end) / 2
    return [*drawn, text(middle, bottom + 32, title, "title", "middle")] if title else drawn


def vertical_axis(scale: Scale, left: float, right: float, title: str) -> list[Markup]:
    """Return grid lines from `left` to `right` with their numbers, and the title turned along the axis."""
    drawn: list[Markup] = []
    for value in ticks(scale.low, scale.high):
        y = scale(value)
        drawn += [line(left, y, right, y, "grid"), text(left - 6, y + 4, tick_text(value), "tick", "end")]
    middle = (scale.start + scale.end) / 2
    turned = tag("text", title, class_="title", text_anchor="middle", transform=f"translate(12 {middle:g}) rotate(-90)")
    return [*drawn, turned]


def drawing(width: float, height: float, says: str, *children: Child, class_: str = "chart") -> Markup:
    """Return an SVG of `width` by `height` units that shrinks with the page and never grows beyond its size."""
    return tag(
        "svg",
        *children,
        class_=class_,
        viewBox=f"0 0 {width:g} {height:g}",
        style=f"max-width:{width:g}px",
        role="img",
        aria_label=says,
    )


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Return (style class, name) pairs as a line of swatches."""
    return tag(
        "p",
        [tag("span", tag("i", class_=f"swatch {style}"), name, class_="key") for style, name in entries],
        class_="legend",
    )

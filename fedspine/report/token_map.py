"""The token map: where lesions lie, which token they belong to, and how many patients each site has of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedspine.report.axes import Scale, colour, drawing, reach, text
from fedspine.report.markup import Markup, tag
from fedspine.report.run_files import rows, series, table
from fedspine.report.wording import amount, number

TOKEN_COLOURS = 10
"""Muted colours in the style sheet for token regions; a token is always named as well."""

SHAPES = (
    "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "M0-4.4L4.2 3.2H-4.2z",
    "M-3.3-3.3h6.6v6.6h-6.6z",
    "M0-4.8L4.8 0L0 4.8L-4.8 0z",
    "M-4.2-1.3h2.9v-2.9h2.6v2.9h2.9v2.6h-2.9v2.9h-2.6v-2.9h-2.9z",
)
"""One outline per class around (0, 0): circle, triangle, square, diamond, cross."""

MOST_POINTS = 700
"""Of the synthetic points, those that are drawn: the map's ground."""

WIDTH, HEIGHT = 620.0, 470.0


@dataclass(frozen=True)
class Point:
    """One lesion on the map; `note` is what else is known of it."""

    x: float
    y: float
    token: int
    label: str
    note: str = ""
    unlike: bool = False


@dataclass(frozen=True)
class Tokens:
    """What was released about lesion tokens.

    Args:
        names: one per token.
        classes: labels in order.
        anchors: public phantoms on the map.
        counts: per site, noised patients (token, class); below zero where noise exceeds the count.
        scores: pseudo-genomic score per token, `None` where there is none.
        points: synthetic points that the map was laid out with.
        unlike: per site, noised patients unlike anything seen.
        columns: names of a profile's columns.
        profiles: (token, column), means in standard deviations of all patients.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    anchors: tuple[Point, ...]
    counts: Mapping[str, Sequence[Sequence[float]]]
    scores: Sequence[float | None]
    points: tuple[Point, ...] = ()
    unlike: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    profiles: tuple[tuple[float, ...], ...] = ()

    def name(self, token: int) -> str:
        """Return the name of a token by its index."""
        return self.names[token] if 0 <= token < len(self.names) else "no token"

    def total(self, site: str, token: int) -> float:
        """Return the noised number of the site's patients with the token."""
        return sum(self.by_class(site, token))

    def by_class(self, site: str, token: int) -> list[float]:
        """Return the noised numbers per class."""
        counts = self.counts.get(site, [])
        return list(counts[token]) if token < len(counts) else []


def read_tokens(metrics: Mapping[str, Any]) -> Tokens | None:
    """Return the released tokens, or `None` where there are none."""
    released = table(metrics, "tokens")
    names = tuple(str(name) for name in rows(released, "names"))
    if not names:
        return None
    counts = {
        str(site): [[number(n) or 0.0 for n in row] for row in grid if isinstance(row, list)]
        for site, grid in table(released, "counts").items()
        if isinstance(grid, list)
    }
    return Tokens(
        names=names,
        classes=tuple(str(name) for name in rows(released, "classes")),
        anchors=read_points(rows(released, "anchors")),
        counts=counts,
        scores=series(released.get("score")),
        points=_thinned(read_points(rows(released, "points"))),
        unlike={str(site): number(value) or 0.0 for site, value in table(released, "unlike").items()},
        columns=tuple(str(name) for name in rows(released, "columns")),
        profiles=tuple(tuple(v or 0.0 for v in series(row)) for row in rows(released, "profiles")),
    )


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Return `MOST_POINTS` at most, evenly chosen: they come in the order of the map's anchors."""
    return points[:: max(1, math.ceil(len(points) / MOST_POINTS))]


def read_points(values: Sequence[Any]) -> tuple[Point, ...]:
    """Return the points that have a place on the map."""
    points = []
    for value in values:
        x, y, token = (number(table(value).get(key)) for key in ("x", "y", "token"))
        if x is not None and y is not None:
            label = str(value.get("class", "unknown"))
            place = -1 if token is None else int(token)
            points.append(Point(x, y, place, label, _note(value), value.get("unlike") is True))
    return tuple(points)


def _note(value: Mapping[str, Any]) -> str:
    """Return what is known of a patient's token and pseudo-genomic score, for the tip of its mark."""
    certainty, score, low, high = (number(value.get(key)) for key in ("certainty", "score", "low", "high"))
    said = []
    if value.get("unlike") is True:
        said.append("unlike anything seen")
    elif certainty is not None:
        said.append(f"{100 * certainty:.0f} % certain")
    if score is not None and low is not None and high is not None:
        said.append(f"score {amount(score)} ({amount(low)} to {amount(high)}) by {value.get('by')}")
    return "".join(f" · {part}" for part in said)


def token_map(tokens: Tokens, sites: Sequence[str], patients: Sequence[Point] = (), site: str = "") -> Markup | None:
    """Return the map, or `None` where nothing has a place on it.

    Without `patients` a ring at the middle of each token shows how its noised counts divide among the sites; with
    them, on a site's own page, each patient is a mark in the site's colour.
    """
    points = [*tokens.anchors, *tokens.points, *patients]
    across, up = reach(p.x for p in points), reach(p.y for p in points)
    if across is None or up is None:
        return None
    x, y = Scale(*across, 20, WIDTH - 20), Scale(*up, HEIGHT - 34, 20)
    regions = [] if tokens.points else [_region(tokens, t, x, y) for t in range(len(tokens.names))]
    drawn: list[Markup] = [*regions, *(_dot(p, x(p.x), y(p.y)) for p in tokens.points)]
    drawn += [_anchor(tokens, p, x(p.x), y(p.y)) for p in tokens.anchors]
    for p in patients:
        tip = f"{tokens.name(p.token)} · {p.label} · this site ({site}){p.note}"
        style = "patient unlike" if p.unlike else "patient"
        drawn.append(_mark(tokens, p, x(p.x), y(p.y), f"{style} {colour(sites, site)}", tip))
    for t in range(len(tokens.names)):
        drawn += _middle(tokens, t, x, y, sites, rings=not patients)
    drawn.append(text(WIDTH / 2, HEIGHT - 6, "map axis 1 (no unit; near means alike)", "title", "middle"))
    return drawing(WIDTH, HEIGHT, "Map of lesion tokens", drawn, class_="chart map")


def _dot(point: Point, x: float, y: float) -> Markup:
    """Return a point that the map was laid out with: nobody's place."""
    return tag("circle", cx=x, cy=y, r=5, class_=f"ground {token_style(point.token)}", data_token=point.token)


def _anchor(tokens: Tokens, point: Point, x: float, y: float) -> Markup:
    tip = f"{tokens.name(point.token)} · {point.label} · public phantom"
    return _mark(tokens, point, x, y, f"anchor {token_style(point.token)}", tip)


def _mark(tokens: Tokens, point: Point, x: float, y: float, style: str, tip: str) -> Markup:
    return tag(
        "path",
        d=shape(tokens.classes, point.label),
        transform=f"translate({x:.1f} {y:.1f})",
        class_=style,
        data_tip=tip,
        data_token=point.token,
        data_class=point.label,
    )


def shape(classes: Sequence[str], label: str) -> str:
    """Return the outline that stands for class `label`."""
    return SHAPES[classes.index(label) % len(SHAPES)] if label in classes else SHAPES[-1]


def token_style(token: int) -> str:
    """Return the style class of a token's colour."""
    return f"t{token % TOKEN_COLOURS}" if token >= 0 else "t-none"


def _region(tokens: Tokens, token: int, x: Scale, y: Scale) -> Markup:
    corners = hull([(x(p.x), y(p.y)) for p in tokens.anchors if p.token == token])
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in corners)
    return tag("path", d=f"M{path}z" if corners else None, class_=f"region {token_style(token)}", data_token=token)


def _middle(tokens: Tokens, token: int, x: Scale, y: Scale, sites: Sequence[str], *, rings: bool) -> list[Markup]:
    own = [p for p in tokens.points or tokens.anchors if p.token == token]
    if not own:
        return []
    a, b = x(sum(p.x for p in own) / len(own)), y(sum(p.y for p in own) / len(own))
    shares = {site: max(tokens.total(site, token), 0.0) for site in tokens.counts} if rings else {}
    drawn = _ring(tokens, token, shares, a, b, sites) if sum(shares.values()) > 0 else []
    return [*drawn, text(a, b + (4 if drawn else 0), tokens.names[token], "label", "middle")]


def _ring(
    tokens: Tokens, token: int, shares: Mapping[str, float], x: float, y: float, sites: Sequence[str]
) -> list[Markup]:
    """Return one arc per site, its length the site's share of the token's patients."""
    radius = 30.0
    around, start = 2 * math.pi * radius, 0.0
    drawn = [tag("circle", cx=x, cy=y, r=radius, class_="plate", data_token=token)]
    for site, share in shares.items():
        length = around * share / sum(shares.values())
        tip = f"{tokens.names[token]} · {site} · about {amount(share, 1)} patients{in_classes(tokens, site, token)}"
        drawn.append(
            tag(
                "circle",
                cx=x,
                cy=y,
                r=radius,
                class_=f"arc {colour(sites, site)}",
                stroke_dasharray=f"{max(length - 1.5, 0.1):.2f} {around:.2f}",
                stroke_dashoffset=f"{-start:.2f}",
                data_tip=tip,
                data_token=token,
                data_site=site,
            )
        )
        start += length
    return drawn


def in_classes(tokens: Tokens, site: str, token: int) -> str:
    """Return the noised counts per class, to follow the token's total."""
    parts = zip(tokens.classes, tokens.by_class(site, token), strict=False)
    listed = ", ".join(f"{label} {amount(count, 1)}" for label, count in parts)
    return f" ({listed})" if listed else ""


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the convex hull (Andrew 1979, monotone chain).

    >>> hull([(0, 0), (2, 0), (1, 1), (2, 2), (0, 2)])
    [(0, 0), (2, 0), (2, 2), (0, 2)]
    """
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered
    return _chain(ordered)[:-1] + _chain(ordered[::-1])[:-1]


def _chain(ordered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for px, py in ordered:
        while len(kept) > 1:
            (ax, ay), (bx, by) = kept[-2], kept[-1]
            if (bx - ax) * (py - ay) - (by - ay) * (px - ax) > 0:
                break
            kept.pop()
        kept.append((px, py))
    return kept

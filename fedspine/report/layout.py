"""The furniture of a page: sections, figures with a sentence on how to read them, tables, notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedspine.report.markup import Child, Markup, join, tag, trusted


@dataclass(frozen=True)
class Section:
    """One part of a page, reachable from the line of links at its top."""

    anchor: str
    title: str
    body: Markup


def figure(picture: Child, reading: Child, title: str = "") -> Markup:
    """Return a figure with the sentence that says what to read from it."""
    heading = tag("h3", title) if title else None
    return tag("figure", heading, tag("div", picture, class_="picture"), tag("figcaption", reading), class_="figure")


def absent(sentence: str) -> Markup:
    """Return the sentence that stands where an optional part of a run is missing."""
    return tag("p", sentence, class_="absent")


def notice(kind: str, title: str, *words: Child) -> Markup:
    """Return a framed notice; `kind` is alarm, caution or calm."""
    return tag("div", tag("strong", title), tag("span", *words), class_=f"notice {kind}")


def data_table(head: Sequence[str], body: Iterable[Sequence[Child]], words: Sequence[int] = ()) -> Markup:
    """Return a table whose first column names the row.

    Args:
        head: names of the columns.
        body: rows; a cell that is already a `td` is kept as it is.
        words: indices of columns that hold words, set to the left; numbers stand to the right.
    """
    left = {0, *words}

    def cell(index: int, content: Child) -> Markup:
        if isinstance(content, Markup) and content.text.startswith("<td"):
            return content
        if index == 0:
            return tag("th", content, scope="row")
        return tag("td", content, class_=None if index in left else "number")

    header = [tag("th", name, scope="col", class_=None if i in left else "number") for i, name in enumerate(head)]
    rows = [tag("tr", [cell(i, content) for i, content in enumerate(row)]) for row in body]
    return tag("div", tag("table", tag("thead", tag("tr", header)), tag("tbody", rows)), class_="scroll")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Return short facts, each with its name."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs], class_="facts")


def folded(title: str, *body: Child) -> Markup:
    """Return something long that opens on a click; it is open on paper."""
    return tag("details", tag("summary", title), *body)


def swatch(style: str, name: str) -> Markup:
    """Return a name with its colour before it."""
    return tag("span", tag("i", class_=f"swatch {style}"), name, class_="key")


def page(title: str, header: Markup, sections: Sequence[Section], *, face: str, style: str, script: Markup) -> str:
    """Return a whole HTML document that fetches nothing.

    Args:
        title: shown by the browser.
        header: what stands above the sections.
        sections: in order.
        face: `coordinator` or `site`.
        style: the style sheet.
        script: the script element and the policy that lets only it run, from `script.script`.
    """
    links = [tag("a", each.title, href=f"#{each.anchor}") for each in sections]
    parts = [tag("section", tag("h2", each.title), each.body, id=each.anchor) for each in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        script,
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", trusted(style)),
    )
    body = tag("body", tag("main", header, tag("nav", links, aria_label="Sections"), parts), class_=face)
    return "<!doctype html>\n" + tag("html", join(head, body), lang="en").text + "\n"

"""HTML and SVG as values. Text is escaped where it enters, so a hostile site name stays a name.

The only way to put markup on a page is `tag`; a plain string is always text. A template engine would escape as well,
but it would be one more language, unseen by the type checker.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

VOID = frozenset({"meta", "br", "img", "link", "hr"})
"""Elements that HTML never closes."""


@dataclass(frozen=True)
class Markup:
    """Text that is markup already, made by `tag` or `trusted` alone."""

    text: str


Child = Markup | str | int | float | None | Iterable["Child"]
Attribute = str | int | float | bool | None


def trusted(text: str) -> Markup:
    """Return the project's own markup, style or script as it is; never for anything read from a file."""
    return Markup(text)


def join(*children: Child) -> Markup:
    """Return `children` one after the other; `None` is nothing, strings and numbers are escaped text."""
    return Markup("".join(_text(child) for child in children))


def tag(name: str, *children: Child, **attributes: Attribute) -> Markup:
    """Return the element `name`.

    In attribute names `_` stands for `-`, and one at the end is dropped (`class_`). `None` and `False` leave an
    attribute out, `True` gives it no value.

    >>> tag("p", "a < b", class_="note", data_tip='"x"').text
    '<p class="note" data-tip="&quot;x&quot;">a &lt; b</p>'
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{opening}>" if name in VOID else f"<{opening}>{join(*children).text}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_text(value)}"'


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child.text
    if isinstance(child, str):
        return html.escape(child)
    if isinstance(child, int):
        return str(child)
    if isinstance(child, float):
        return f"{child:.2f}".rstrip("0").rstrip(".")
    return "".join(_text(item) for item in child)

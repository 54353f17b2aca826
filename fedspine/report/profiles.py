"""What defines each lesion token: a column a token, a row a feature, gene or level, shaded by how far it lies off."""

from __future__ import annotations

from collections.abc import Sequence

from fedspine.report.layout import figure
from fedspine.report.markup import Markup, tag
from fedspine.report.token_map import Tokens, token_style
from fedspine.report.wording import amount, signed

SHOWN = 14
"""Rows: those by which tokens differ most."""

FULL = 1.5
"""Deviations at which a cell is shaded in full."""

LEVEL = "level"


def token_profiles(tokens: Tokens, levels: Sequence[str]) -> Markup | None:
    """Return the table of profiles, or `None` where the run released none.

    Args:
        tokens: as released.
        levels: of the spine from head to feet, for the row that says where a token's lesions lie.
    """
    columns, profiles = tokens.columns, tokens.profiles
    if not columns or len(profiles) != len(tokens.names):
        return None
    measured = [index for index, name in enumerate(columns) if name != LEVEL]
    middle = [sum(row[index] for row in profiles) / len(profiles) for index in range(len(columns))]
    spread = {index: sum((row[index] - middle[index]) ** 2 for row in profiles) for index in measured}
    chosen = sorted(measured, key=lambda index: -spread[index])[:SHOWN]
    head = [tag("th", "")] + [
        tag("th", tag("i", class_=f"swatch {token_style(t)}"), name, data_token=t)
        for t, name in enumerate(tokens.names)
    ]
    body = [
        tag(
            "tr",
            tag("th", columns[index], scope="row"),
            [_cell(tokens, t, index, middle[index]) for t in range(len(profiles))],
        )
        for index in chosen
    ]
    if LEVEL in columns:
        place = columns.index(LEVEL)
        cells = [tag("td", _level(row[place], levels), class_="number", data_token=t) for t, row in enumerate(profiles)]
        body.append(tag("tr", tag("th", "level, about", scope="row"), cells))
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", body), class_="profiles")
    reading = (
        f"The {len(chosen)} features and genes by which tokens differ most: each token's mean less that of all tokens, "
        "in standard deviations of patients. Darker red lies above, darker blue below. Means are of patients, drawn "
        "towards those of public phantoms as far as noise outweighs patients. Point at a token to light it up."
    )
    return figure(tag("div", table, class_="wide"), reading, title="What defines each token")


def _cell(tokens: Tokens, token: int, column: int, middle: float) -> Markup:
    value = tokens.profiles[token][column] - middle
    share = min(abs(value) / FULL, 1.0)
    tip = f"{tokens.names[token]} · {tokens.columns[column]}: {signed(value)} sd"
    style = "above" if value > 0 else "below"
    return tag(
        "td", amount(value, 1), class_=f"number {style}", style=f"--share:{share:.2f}", data_tip=tip, data_token=token
    )


def _level(value: float, levels: Sequence[str]) -> str:
    place = round(min(max(value, 0.0), 1.0) * (len(levels) - 1))
    return levels[place]

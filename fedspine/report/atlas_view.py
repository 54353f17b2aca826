"""The token map with its switches and the table of counts beside it."""

from __future__ import annotations

from collections.abc import Sequence

from fedspine.cohort.levels import VERTEBRAE
from fedspine.report.axes import colour
from fedspine.report.layout import absent, data_table, figure
from fedspine.report.markup import Child, Markup, join, tag
from fedspine.report.profiles import token_profiles
from fedspine.report.run_files import Run
from fedspine.report.token_map import Point, Tokens, in_classes, read_tokens, shape, token_map, token_style
from fedspine.report.wording import amount

UNLIKE = "unlike anything seen"
NO_TOKENS = "This plan has no tokens stage, so there is no map of lesion tokens."


def coordinator_tokens(run: Run) -> Markup:
    """Return the map of public phantoms with each site's share of every token, and the noised counts."""
    tokens = read_tokens(run.metrics)
    chart = token_map(tokens, run.sites) if tokens else None
    if tokens is None or chart is None:
        return absent(NO_TOKENS)
    body: list[list[Child]] = [
        [_token(tokens, t), *_score(tokens, t), *_cells(tokens, t)] for t in range(len(tokens.names))
    ]
    if tokens.unlike:
        blank = [""] * len(_score_head(tokens))
        body.append([UNLIKE, *blank, *(amount(tokens.unlike.get(site), 1) for site in tokens.counts)])
    counts = data_table(["token", *_score_head(tokens), *tokens.counts], body)
    in_order = f", below it {' · '.join(tokens.classes)}" if tokens.classes else ""
    note = f"Patients with each token, noised{in_order}. Noise can push a small count below zero."
    reading = (
        "Each mark is a public phantom, each colour of the ground a lesion token: a pattern that recurs. The ground is "
        "synthetic points, drawn from noised sums or from phantoms; no patient's place is known here. A token's ring "
        "shows how its patients divide among the sites, by their noised counts. A ring of one colour is a pattern that "
        "only one hospital sees. Point at a mark, a ring or a row to read its token, class and site."
    )
    beside = tag("div", counts, tag("p", note, class_="note"), _score_note(tokens))
    picture = join(_switches(tokens, list(tokens.counts), run), chart)
    return figure(tag("div", tag("div", picture), beside, token_profiles(tokens, VERTEBRAE), class_="tokens"), reading)


def site_tokens(run: Run, site: str, patients: Sequence[Point]) -> Markup:
    """Return the map with this hospital's own patients on it, and their exact counts."""
    tokens = read_tokens(run.metrics)
    if tokens is None or not patients:
        return absent(NO_TOKENS if tokens is None else "This hospital has no patient on the map of lesion tokens.")
    chart = token_map(tokens, run.sites, patients, site)
    labels = list(dict.fromkeys([*tokens.classes, *(p.label for p in patients)]))
    body: list[list[Child]] = []
    for t in range(len(tokens.names)):
        own = [p.label for p in patients if p.token == t and not p.unlike]
        body.append([_token(tokens, t), *_score(tokens, t), *(str(own.count(c)) for c in labels), str(len(own))])
    strange = [p.label for p in patients if p.unlike]
    blank = [""] * len(_score_head(tokens))
    body.append([UNLIKE, *blank, *(str(strange.count(c)) for c in labels), str(len(strange))])
    counts = data_table(["token", *_score_head(tokens), *labels, "all"], body)
    note = "Exact counts of this hospital's patients; those in training were counted in the noised sums."
    reading = (
        "Full marks are this hospital's patients, pale ones public phantoms. Patients far from every phantom are "
        "lesions that the shared atlas does not describe well; those with a dashed outline are unlike anything seen. "
        "Point at a mark to read its token and how certain it is, and the pseudo-genomic score with its 90 % interval."
    )
    beside = tag("div", counts, tag("p", note, class_="note"), _score_note(tokens))
    picture = join(_switches(tokens, [], run), chart)
    return figure(tag("div", tag("div", picture), beside, class_="tokens own"), reading)


def _switches(tokens: Tokens, sites: Sequence[str], run: Run) -> Markup:
    """Return one button per class and site that takes its marks off the map and puts them back."""
    classes = [_switch("class", label, _symbol(tokens, label)) for label in tokens.classes]
    arcs = [_switch("site", site, tag("i", class_=f"swatch {colour(run.sites, site)}")) for site in sites]
    return tag("div", "Show:", classes, arcs, class_="switches")


def _switch(key: str, value: str, sign: Markup) -> Markup:
    return tag("button", sign, value, type="button", aria_pressed="true", data_key=key, data_value=value)


def _symbol(tokens: Tokens, label: str) -> Markup:
    return tag("svg", tag("path", d=shape(tokens.classes, label)), viewBox="-5 -5 10 10", aria_hidden="true")


def _token(tokens: Tokens, token: int) -> Markup:
    return tag(
        "span", tag("i", class_=f"swatch {token_style(token)}"), tokens.names[token], class_="key", data_token=token
    )


def _cells(tokens: Tokens, token: int) -> list[Markup]:
    cells = []
    for site in tokens.counts:
        tip = f"{tokens.names[token]} · {site} · about {amount(tokens.total(site, token), 1)} patients"
        parts = " · ".join(amount(n, 0) for n in tokens.by_class(site, token))
        cells.append(
            tag(
                "td",
                amount(tokens.total(site, token), 1),
                tag("small", parts),
                class_="number",
                data_tip=tip + in_classes(tokens, site, token),
                data_token=token,
            )
        )
    return cells


def _score_head(tokens: Tokens) -> list[str]:
    return ["score"] if any(score is not None for score in tokens.scores) else []


def _score(tokens: Tokens, token: int) -> list[str]:
    if not _score_head(tokens):
        return []
    return [amount(tokens.scores[token] if token < len(tokens.scores) else None)]


def _score_note(tokens: Tokens) -> Markup | None:
    if not _score_head(tokens):
        return None
    words = "Score: the pseudo-genomic score, the token's mean of the standardised expression markers (in sd)."
    return tag("p", words, class_="note")

"""What left each hospital and what it can reveal: epsilon, bytes, answers, ledger and egress log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedspine.report.axes import colour
from fedspine.report.figures import Spent, epsilon_bars, stacked_bytes
from fedspine.report.layout import absent, data_table, figure, notice
from fedspine.report.markup import Child, Markup, join, tag
from fedspine.report.results import site_legend
from fedspine.report.run_files import Book, Run, table
from fedspine.report.wording import FOLDS, amount, epsilon_text, number, size_text


def epsilon(run: Run) -> Markup:
    """Return each site's epsilon against the budget, and what each stage costs by itself."""
    spent = [
        Spent(site, FOLDS[fold], number(cost.get("pld")), number(cost.get("rdp")))
        for site, folds in table(run.metrics, "epsilon").items()
        for fold in FOLDS
        if (cost := table(folds, fold))
    ]
    if not spent:
        return absent("No site reported what its releases cost.")
    reading = (
        "A bar is what everything released so far can reveal of one patient of that site, at most; it must end before "
        "the dashed line. The tick is the cruder bound that stops a site at run time. A patient is in training or held "
        "out, never both, so pays one of the two."
    )
    return join(figure(join(site_legend(run), epsilon_bars(spent, run.budget, run.sites)), reading), _per_stage(run))


def _per_stage(run: Run) -> Markup:
    costs = {site: table(folds, "stages") for site, folds in table(run.metrics, "epsilon").items()}
    body: list[list[Child]] = []
    for stage in run.stages:
        name = str(stage.get("name", ""))
        shown = [epsilon_text(number(c[name])) if name in c else "–" for c in costs.values()]
        setting = [_setting(stage, key) for key in ("noise_multiplier", "sample_rate")]
        steps = (number(stage.get("rounds")) or 0) * (number(stage.get("steps")) or 0)
        whose = "all sites'" if stage.get("sums") == "secure" else "each site's"
        body.append([name, FOLDS.get(str(stage.get("fold")), "–"), whose, *setting, f"{steps:.0f}", *shown])
    if not body:
        return absent("No stage was recorded.")
    head = ["stage", "patients", "sum and noise", "noise multiplier", "sampling rate", "releases", *costs]
    reading = (
        "Where a sum is all sites', masks hide each site's part of it and the sites share the noise. "
        "Right of the settings: epsilon of each stage alone. Costs of stages do not simply add up; together they are "
        "the bars above, which are less than the sum."
    )
    return figure(data_table(head, body, words=[1, 2]), reading, title="Epsilon of each stage")


def _setting(stage: Mapping[str, Any], key: str) -> str:
    value = number(stage.get(key))
    return "–" if value is None else f"{value:.3g}"


def sent(run: Run) -> Markup:
    """Return the bytes that each site sent in each stage, as figure and table."""
    stages = [
        (str(stage.get("name", "")), {site: number(n) or 0.0 for site, n in table(stage, "bytes").items()})
        for stage in run.stages
    ]
    chart = stacked_bytes(stages, run.sites)
    if chart is None:
        return absent("No message was recorded.")
    sites = list(run.sites) or list(dict.fromkeys(site for _, parts in stages for site in parts))
    body = [
        [name, *(size_text(p[s]) if s in p else "–" for s in sites), size_text(sum(p.values()))] for name, p in stages
    ]
    reading = (
        "Everything that was sent was a noised sum over patients or numbers made from such sums, checked against the "
        "stage's schema at the site before it left. The size depends on the network, not on the number of patients."
    )
    return join(
        figure(join(site_legend(run), chart), reading, title="Bytes sent"),
        data_table(["stage", *sites, "all sites"], body),
    )


def answers(run: Run) -> Markup:
    """Return how many rounds each site answered, and the code of what it refused."""
    if not run.stages or not run.sites:
        return absent("No answer was recorded.")
    body: list[list[Child]] = [
        [str(stage.get("name", "")), *(_answer(stage, site) for site in run.sites)] for stage in run.stages
    ]
    reading = (
        "A hospital has the last word: it may refuse a stage by its own policy, and then gives a code and nothing "
        "else. A round without an answer went on without that site."
    )
    return figure(data_table(["stage", *run.sites], body), reading, title="Rounds answered")


def _answer(stage: Mapping[str, Any], site: str) -> Markup:
    rounds = number(stage.get("rounds")) or 0
    answered = number(table(stage, "answered").get(site)) or 0
    code = table(stage, "refused").get(site)
    whole = f"{answered:.0f} of {rounds:.0f}"
    if code is not None:
        return tag("td", f"refused: {code}", tag("small", whole), class_="number refused")
    return tag("td", whole, class_="number" if answered >= rounds else "number partly")


def ledger(book: Book, costs: Mapping[str, Any]) -> Markup:
    """Return a site's privacy ledger, one row per stage.

    Args:
        book: the ledger.
        costs: the site's part of `epsilon` in the run's metrics.
    """
    if not book.found:
        return absent("This hospital has no privacy ledger of this run.")
    groups: dict[tuple[str, str, float, float, float], list[Mapping[str, Any]]] = {}
    for line in book.lines:
        event = table(line, "event")
        sigma, rate, clip = (
            number(v) or 0.0 for v in (*map(event.get, ("noise_multiplier", "sample_rate")), line.get("clip"))
        )
        groups.setdefault((str(line.get("stage")), str(line.get("fold")), sigma, rate, clip), []).append(line)
    alone = table(costs, "stages")
    body: list[list[Child]] = []
    for (stage, fold, sigma, rate, clip), lines in groups.items():
        releases = sum(number(table(line, "event").get("count")) or 0 for line in lines)
        how = "none" if sigma == 0 else "Gaussian" if rate == 1 else "sampled Gaussian"
        cost = epsilon_text(number(alone[stage])) if stage in alone else "–"
        numbers = [f"{sigma:.3g}", f"{rate:.3g}", f"{clip:.3g}", str(len(lines)), f"{releases:.0f}", cost]
        body.append([stage, FOLDS.get(fold, fold), how, *numbers])
    head = [
        "stage",
        "patients",
        "mechanism",
        "noise multiplier",
        "sampling rate",
        "bound",
        "entries",
        "releases",
        "epsilon",
    ]
    totals = ", ".join(
        f"{FOLDS[fold]} patients {epsilon_text(number(table(costs, fold).get('pld')))}"
        for fold in FOLDS
        if table(costs, fold)
    )
    reading = (
        "One row per stage: noise is drawn with the noise multiplier times the bound; each release looks at every "
        "patient with the sampling rate. An entry is written before its release leaves."
        + (f" All stages together, in epsilon: {totals}." if totals else "")
    )
    return join(_chain(book, "privacy ledger"), figure(data_table(head, body, words=[1, 2]), reading))


def egress(book: Book) -> Markup:
    """Return a site's log of outgoing messages, one row per stage."""
    if not book.found:
        return absent("This hospital has no egress log of this run.")
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in book.lines:
        groups.setdefault((str(line.get("stage")), str(line.get("mechanism"))), []).append(line)
    body = []
    for (stage, mechanism), lines in groups.items():
        sizes = [number(line.get("bytes")) or 0.0 for line in lines]
        body.append([stage, mechanism, str(len(lines)), size_text(sum(sizes)), size_text(max(sizes))])
    reading = (
        "Every message that left this hospital is counted here; the log holds the digest of each, not its contents."
    )
    head = ["stage", "mechanism", "messages", "bytes in all", "largest message"]
    return join(_chain(book, "egress log"), figure(data_table(head, body, words=[1]), reading))


def _chain(book: Book, what: str) -> Markup:
    if book.intact:
        return tag("p", f"The {what} has {len(book.lines)} lines; each follows from the one before it.", class_="note")
    return notice(
        "alarm",
        f"The {what} is broken.",
        "A line was changed, removed or cut short; do not rely on the figures below, restore it from a backup.",
    )


def site_rows(run: Run) -> Markup:
    """Return the number of patients that each site brings."""
    body: list[Sequence[Child]] = []
    for site, counts in table(run.metrics, "sites").items():
        train, held_out = (number(table(counts).get(key)) for key in ("train", "held_out"))
        mark = tag("span", tag("i", class_=f"swatch {colour(run.sites, site)}"), site, class_="key")
        body.append([mark, amount(train, 0), amount(held_out, 0)])
    return data_table(["site", "patients in training", "patients held out"], body)

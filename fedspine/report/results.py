"""What was measured: released metrics with their intervals, training losses, harmonisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedspine.report.axes import colour, legend
from fedspine.report.figures import Interval, Line, Locations, forest, line_chart, location_panels
from fedspine.report.layout import absent, data_table, figure, folded
from fedspine.report.markup import Child, Markup, join, tag
from fedspine.report.run_files import Run, rows, series, table
from fedspine.report.wording import amount, estimate, metric_name, number, plural

OWN_CRITICS = ("gan", "phantom_gan")
"""Whose critics stay at the sites; see `tasks.phantom_gan`."""

GANS = ("gan", "phantom_gan", "dcgan", "wgan_gp", "conditional_gan", "stylegan")
"""Tasks whose released loss is that of a critic on real images."""


def site_legend(run: Run, *, pooled: bool = False) -> Markup:
    """Return the colours of the sites."""
    everyone = [("s-pooled", "all sites pooled")] if pooled else []
    return legend([*everyone, *((colour(run.sites, site), site) for site in run.sites)])


def metrics(run: Run) -> Markup:
    """Return every measured stage as small figures with intervals and a table."""
    measured = table(run.metrics, "metrics")
    parts = [_measured(run, stage, table(values)) for stage, values in measured.items() if table(values)]
    if not parts:
        return absent("No stage of this plan measured a network on held-out patients.")
    return join(site_legend(run, pooled=True), parts)


def _measured(run: Run, stage: str, values: Mapping[str, Any]) -> Markup:
    groups = {"all sites": table(values, "pooled"), **{s: table(v) for s, v in table(values, "sites").items()}}
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    if not names:
        return absent(f"The stage {stage} released no metric.")
    panels = [
        tag("div", tag("p", metric_name(name), class_="panel-title"), _forest(run, stage, name, groups))
        for name in names
    ]
    reading = (
        "Read a dot as the value and its bar as the interval released with it: the fewer the held-out patients and the "
        "stronger the noise, the longer the bar. Where two bars overlap, the sites cannot be told apart. A perfect "
        "score is 1."
    )
    if any(name.startswith("top ") for name in names):
        reading += " Ranks are among the public phantoms' omics; an error of the score is best at 0."
    held_out = sum(int(number(table(run.metrics, "sites", site).get("held_out")) or 0) for site in run.sites)
    if _undecided(groups.get("all sites", {})):
        reading += f" With {plural(held_out, 'held-out patient')} under this noise, nothing can be concluded from it."
    cells = [[metric_name(n), *(estimate(table(group, n)) for group in groups.values())] for n in names]
    figures = tag("div", panels, class_="panels")
    return join(
        figure(figures, reading, title=f"Held-out patients, {stage}"),
        folded("The same figures as a table", data_table(["metric", *groups], cells)),
    )


def _undecided(pooled: Mapping[str, Any]) -> bool:
    """Tell whether most pooled intervals span over half of the scale."""
    cells = [table(pooled, name) for name in pooled]
    spans = [(number(c.get("low")), number(c.get("high"))) for c in cells]
    wide = [low is None or high is None or high - low > 0.5 for low, high in spans]
    return bool(wide) and sum(wide) > len(wide) / 2


def _forest(run: Run, stage: str, name: str, groups: Mapping[str, Mapping[str, Any]]) -> Markup:
    intervals = []
    for group, values in groups.items():
        cell = table(values, name)
        value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
        style = "s-pooled" if group == "all sites" else colour(run.sites, group)
        intervals.append(Interval(group, value, low, high, style))
    return forest(intervals, unit="", says=f"{metric_name(name)} of {stage} per site with intervals")


def losses(run: Run) -> Markup:
    """Return the released training loss of each trained stage over its rounds."""
    panels = []
    for stage in run.stages:
        loss = table(stage, "loss")
        lines = [Line(site, series(values), colour(run.sites, site)) for site, values in table(loss, "sites").items()]
        lines.append(Line("all sites", series(loss.get("pooled")), "s-pooled", number(loss.get("noise")) or 0.0))
        name = str(stage.get("name", ""))
        chart = line_chart(lines, across="round", up="loss (no unit)", says=f"Training loss of {name}")
        if chart is not None:
            panels.append(tag("div", tag("p", name, class_="panel-title"), chart))
    if not panels:
        return absent("No stage of this run released a training loss.")
    reading = (
        "A line that falls and then settles has learned what it can; one that jumps about is mostly noise, which is "
        "expected where a site has few patients. The losses were noised at the sites before they were sent; the pooled "
        "one lies within the band with 95 % certainty."
    )
    return figure(join(site_legend(run, pooled=True), tag("div", panels, class_="panels wide")), reading)


def gan_losses(run: Run) -> Markup:
    """Return the two losses of the GAN over rounds, and which stages' images were diverse."""
    gan = table(run.metrics, "gan")
    critic, generator = series(gan.get("critic")), series(gan.get("generator"))
    noise = next((number(table(s, "loss").get("noise")) for s in run.stages if s.get("task") in GANS), None)
    lines = [Line("critic", critic, "s0", noise or 0.0), Line("generator", generator, "s1 second")]
    chart = line_chart(lines, across="round", up="loss (no unit)", says="Losses of critic and generator", width=760)
    if chart is None:
        nothing = absent("This plan trained no GAN, so there are no losses of critic and generator to show.")
        said = _collapses(run)
        return join(nothing, tag("p", said) if said else None)
    key = legend([("s0", "critic"), ("s1", "generator (dashed)")])
    reading = (
        "Balance is what to look for: two lines that stay near each other. A critic that falls to nothing while the "
        "generator climbs means that the critic has won and the generator learns no more. The band is the noise in the "
        "critic's loss on real images; the rest of both losses needs no patient."
    )
    if any(stage.get("task") in OWN_CRITICS for stage in run.stages):
        reading += (
            " Here every hospital keeps its critic to itself, so what is made is judged by the critic that all began "
            "with, and the lines show the generator's way from there rather than a contest."
        )
    return figure(join(key, chart), [_collapses(run), reading], title="Losses of the GAN")


def _collapses(run: Run) -> str:
    """Say of every stage that makes images whether it came to make the same image again and again."""
    return "".join(_collapse(stage) for stage in run.stages)


def _collapse(stage: Mapping[str, Any]) -> str:
    diversity = [value for value in series(stage.get("diversity")) if value is not None]
    if not diversity:
        return ""
    name = str(stage.get("name", ""))
    found = f"After the last round of {name} made images were {100 * diversity[-1]:.0f} % as diverse as real ones. "
    rounds = ", ".join(str(number) for number in rows(stage, "collapsed"))
    if not rounds:
        return found
    return (
        f"{found}It collapsed in round {rounds}: it made nearly the same image again and again. What made the last "
        "good images was put back each time, and was kept. "
    )


def harmonisation(run: Run, released: Mapping[str, Any], *, own: str = "") -> Markup:
    """Return where each site's features lie before and after harmonising.

    Args:
        run: for the sites' colours.
        released: `features`, and `before` and `after` per site.
        own: on a site's own page, the site's name.
    """
    features = [str(name) for name in rows(released, "features")]
    before, after = (_per_site(released.get(key)) for key in ("before", "after"))
    chart = location_panels(Locations(features, before, after), run.sites)
    if chart is None:
        return absent("This run did not harmonise, or released no site means.")
    far = [_spread(panel) for panel in (before, after)]
    finding = (
        f"On average a site mean lay {amount(far[0])} pooled standard deviations off before, {amount(far[1])} after. "
    )
    noise = _spread({name: [number(value)] for name, value in table(released.get("noise")).items()})
    if noise:
        finding += f"Noise of the release alone puts them {amount(noise)} off: no more of it is real, before or after. "
    whose = "this hospital's mean" if own else "one site's mean"
    reading = (
        f"Each dot is {whose} of one feature. Dots that gather at zero on the right no longer tell which scanner they "
        "came from; a feature that stays far off is one that harmonising did not mend."
    )
    return figure(chart if own else join(site_legend(run), chart), [finding, reading])


def _per_site(values: Any) -> dict[str, Sequence[float | None]]:
    return {str(site): series(row) for site, row in table(values).items()}


def _spread(panel: Mapping[str, Sequence[float | None]]) -> float | None:
    """Return the root mean square of all locations."""
    known = [value for values in panel.values() for value in values if value is not None]
    return (sum(value**2 for value in known) / len(known)) ** 0.5 if known else None


def compared(local: Mapping[str, Any], released: Mapping[str, Any], site: str) -> Markup:
    """Return a site's exact metrics beside what it released of them."""
    body: list[list[Child]] = []
    for stage, values in local.items():
        for name, value in table(values).items():
            exact, sent = number(value), table(released, stage, "sites", site, name)
            about = number(sent.get("value"))
            gap = None if exact is None or about is None else abs(about - exact)
            body.append([metric_name(name), stage, amount(exact, 3), estimate(sent) if sent else "–", amount(gap)])
    if not body:
        return absent("This hospital keeps no exact metrics of this run.")
    reading = (
        "The exact column never left this hospital. The gap between exact and released is what the noise did; a small "
        "gap with a short interval is a figure to rely on."
    )
    head = ["metric", "stage", "exact, kept here", "released [interval]", "gap"]
    return figure(data_table(head, body, words=[1]), reading)

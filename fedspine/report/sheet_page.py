"""The sheet of synthetic images as a page: every number beside its floor, and a sentence on how to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedspine.report.axes import colour, legend
from fedspine.report.figures import Interval, forest
from fedspine.report.layout import Section, absent, data_table, facts, figure, folded, notice, page
from fedspine.report.markup import Markup, join, tag
from fedspine.report.run_files import table
from fedspine.report.script import script
from fedspine.report.style import STYLE
from fedspine.report.wording import amount, number, plural


@dataclass(frozen=True)
class Part:
    """Some of the sheet's numbers under one question.

    Args:
        anchor: in the page.
        title: the question.
        starts: how the names of its numbers begin, in order.
        reading: how to read them.
        floor: what the last row is called.
    """

    anchor: str
    title: str
    starts: tuple[str, ...]
    reading: str
    floor: str = "real"


PARTS = (
    Part(
        "likeness",
        "Do they look like real images?",
        ("Fréchet distance", "kernel distance", "precision", "density"),
        "Distances: the smaller the better, and no smaller than that of real patients from other real patients, the "
        "floor in the last row. Precision is the share of made images that lie among real ones, density how closely; "
        "higher is better up to the floor. Features were learned on phantoms, radiomics are first-order and texture "
        "values: where the two disagree, believe neither alone. The Fréchet distance is the larger the fewer images "
        "there are, so compare only with this floor, never with another publication. The bar holds 95 % of random "
        "halvings of the real patients.",
    ),
    Part(
        "variety",
        "Are they as varied as real images?",
        ("recall", "coverage", "likeness of pairs"),
        "Recall and coverage: the share of real images that have a made one near; higher is better up to the floor. "
        "Likeness of pairs is 1 for a set of equal images: well above the floor means that the generator has "
        "collapsed, well below it that it makes noise.",
    ),
    Part(
        "use",
        "Do they teach?",
        ("Dice,",),
        "The same small U-Net under the same budget, trained on one kind of image and tested on another. Trained on "
        "made ones it should come near to the floor, which was trained and tested on real ones; trained on both it "
        "should pass the floor, or the made images bring nothing here. Tested on made ones it should do as well as on "
        "real ones: worse means that masks and images do not fit, better that lesions are too easy. The bar is over "
        "patients.",
    ),
    Part(
        "memory",
        "Do they repeat the patients they were trained on?",
        ("distance to trained", "membership by distance", "closest trained"),
        "Distances from real patients to the nearest made image. A ratio of 1 and an AUC of 0.5 are what chance gives: "
        "training patients are no nearer than others. A ratio well below 1, or a closest patient near 0, means copies. "
        "This finds copying and nothing subtler: only the privacy accounting bounds what the images can reveal.",
        floor="by chance",
    ),
)


def write_sheet(written: Mapping[str, Any], folder: Path) -> Path:
    """Write `synthetic.html` into `folder` from the contents of `synthetic.json`, and return it."""
    file = folder / "synthetic.html"
    sections = [Section(part.anchor, part.title, _part(written, part)) for part in PARTS]
    title = f"fedspine sheet: {written.get('plan', '')}"
    text = page(title, header(written), sections, face="sheet", style=STYLE, script=script())
    file.write_text(text, encoding="utf-8")
    return file


def header(written: Mapping[str, Any]) -> Markup:
    """Return what a reader must know before the first number."""
    if written.get("source") == "phantoms":
        said = notice("calm", "Judged by phantoms.", "Every number here is made from public images alone.")
    else:
        said = notice(
            "caution",
            "Made from real patients without noise: this page stays where they are.",
            "It shows sums over patients and no single one, but nothing here is covered by differential privacy. It is "
            "for whoever may see these patients anyway; do not send it to the coordinator.",
        )
    budget = table(written, "budget")
    generators = [table(one) for one in table(written, "generators").values()]
    first = generators[0] if generators else {}
    return join(
        tag("p", "fedspine, the sheet of synthetic images", class_="over-title"),
        tag("h1", str(written.get("plan") or "A plan without a name")),
        said,
        facts(
            [
                ("generators", ", ".join(table(written, "generators")) or "none"),
                *(
                    [("left out, too few lesions", ", ".join(silent))]
                    if (silent := table(written, "too few lesions"))
                    else []
                ),
                ("images asked of each", f"{number(budget.get('made')) or 0:.0f}"),
                ("with a lesion", ", ".join(f"{number(g.get('made with a lesion')) or 0:.0f}" for g in generators)),
                ("patients with a lesion, trained on", f"{number(first.get('trained')) or 0:.0f}"),
                ("held out", f"{number(first.get('held out')) or 0:.0f}"),
                ("feature space", str(written.get("space", "not recorded"))),
                ("steps of a yardstick network", f"{number(budget.get('steps')) or 0:.0f}"),
            ]
        ),
    )


def _part(written: Mapping[str, Any], part: Part) -> Markup:
    generators = {name: table(one, "entries") for name, one in table(written, "generators").items()}
    names = [
        name
        for start in part.starts
        for name in dict.fromkeys(name for entries in generators.values() for name in entries)
        if name.startswith(start)
    ]
    if not names:
        return absent("The sheet holds none of these numbers.")
    key = legend([*((colour(list(generators), name), name) for name in generators), ("s-pooled", part.floor)])
    panels = [tag("div", tag("p", name, class_="panel-title"), _forest(generators, name, part.floor)) for name in names]
    cells = [[name, *_cells(generators, name)] for name in names]
    return join(
        figure(join(key, tag("div", panels, class_="panels")), part.reading),
        folded("The same numbers as a table", data_table(["number", *generators, part.floor], cells)),
    )


def _forest(generators: Mapping[str, Mapping[str, Any]], name: str, last: str) -> Markup:
    rows = [
        _interval(generator, table(entries, name), colour(list(generators), generator))
        for generator, entries in generators.items()
    ]
    floor = _floor(generators, name)
    if floor:
        rows.append(_interval(last, floor, "s-pooled"))
    return forest(rows, unit="", says=f"{name} of {plural(len(generators), 'generator')}")


def _interval(label: str, cell: Mapping[str, Any], style: str) -> Interval:
    value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
    return Interval(label, value, low, high, style)


def _floor(generators: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((table(entries, name, "floor") for entries in generators.values() if table(entries, name, "floor")), {})


def _cells(generators: Mapping[str, Mapping[str, Any]], name: str) -> Sequence[str]:
    cells = [table(entries, name) for entries in generators.values()]
    return [_words(cell) for cell in [*cells, _floor(generators, name)]]


def _words(cell: Mapping[str, Any]) -> str:
    value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
    return amount(value) if low is None or high is None else f"{amount(value)} [{amount(low)}, {amount(high)}]"

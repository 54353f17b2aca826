"""A hospital's own scanners and lesions: how certain each contrast is, and how far each lesion stands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedspine.report.axes import Scale, colour, drawing, horizontal_axis, text, ticks
from fedspine.report.layout import absent, data_table, figure
from fedspine.report.markup import Child, Markup, join, tag
from fedspine.report.run_files import Run, rows, series, table
from fedspine.report.wording import amount, number

SCORES = Scale(0.0, 1.0, 120.0, 720.0)
LANE, SPREAD = 34.0, 9.0


def certainty(values: dict[str, Any]) -> Markup:
    """Return a table of how well each scanner's effect on each contrast is known."""
    contrasts = [str(name) for name in rows(values, "contrasts")]
    patients = series(values.get("patients"))
    if not contrasts or not patients:
        return absent("This run did not harmonise, so nothing is known of this hospital's scanners.")
    body: list[list[Child]] = []
    for index, count in enumerate(patients):
        for what, key in (("body", "body"), ("lesion", "lesion")):
            found = series((rows(values, key) or [[]])[index])
            known = [value for value in found if value is not None]
            worst = max(known, default=None)
            cells: list[Child] = [
                tag("strong", amount(value)) if value is not None and value == worst else amount(value)
                for value in found
            ]
            body.append([f"{index + 1}", amount(count, 0), what, *cells])
    reading = (
        "The standard deviation that is left in what a scanner does to a contrast's brightness, noise of the release "
        "counted in: 0 is known exactly, 1 as uncertain as people differ from each other. Few patients, or a contrast "
        "that many lack, leave more. The contrast to trust least is in bold."
    )
    return figure(data_table(["scanner", "training patients", "tissue", *contrasts], body, words=[2]), reading)


def saliency(run: Run, site: str, values: Sequence[Any]) -> Markup:
    """Return a mark per lesion by how far it stands out, a lane per class."""
    known = [(str(v.get("class")), number(v.get("score")), str(v.get("mask"))) for v in map(table, values)]
    scored = [(label, score, mask) for label, score, mask in known if score is not None]
    if not scored:
        return absent("No lesion of this hospital was drawn or found, so there is none to score.")
    lanes = sorted({label for label, _, _ in scored})
    bottom = LANE * len(lanes) + 6.0
    drawn = horizontal_axis(SCORES, 6.0, bottom, "saliency (no unit; 0 like its surroundings)", ticks(0, 1))
    for lane, label in enumerate(lanes):
        middle = 6.0 + LANE * (lane + 0.5)
        own = sorted((score, mask) for name, score, mask in scored if name == label)
        drawn.append(text(SCORES.start - 10, middle + 4, label, "row", "end"))
        for place, (score, mask) in enumerate(own):
            lift = (place % 5 - 2) * SPREAD / 2  # marks of like scores lie beside each other
            hollow = " hollow" if mask != "the hospital's" else ""
            tip = f"{label} · saliency {amount(score)} · {mask} mask"
            style = f"dot {colour(run.sites, site)}{hollow}"
            drawn.append(tag("circle", cx=SCORES(score), cy=middle + lift, r=4, class_=style, data_tip=tip))
    middle_scores = ", ".join(
        f"{label} {amount(_median([score for name, score, _ in scored if name == label]))}" for label in lanes
    )
    reading = (
        f"Medians: {middle_scores}. Each mark is one lesion, against normal tissue of the same patient at the same "
        "depth, over all contrasts, those that are certain counting more. A hollow mark is a lesion that the network "
        "outlined. A lesion near 0 hides: look at it twice."
    )
    return figure(join(drawing(760, bottom + 40, "Saliency of this hospital's lesions by class", drawn)), reading)


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

"""A site's own page. It may show the hospital's patients, so it stays at the hospital; it names none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedspine.report import galleries, leaving, lesion_view, results
from fedspine.report.atlas_view import site_tokens
from fedspine.report.coordinator import circumstances, privacy
from fedspine.report.layout import Section, data_table, facts, notice
from fedspine.report.markup import Child, Markup, join, tag
from fedspine.report.run_files import Run, SiteFiles, rows, table
from fedspine.report.token_map import read_points
from fedspine.report.wording import amount, epsilon_text, number


def header(run: Run, site: SiteFiles) -> Markup:
    """Return whose page this is and that it must not leave."""
    words = (
        "It shows images of this hospital's own patients and exact figures without noise, which were never "
        "sent; do not send them now. It names no patient."
    )
    simulated = run.metrics.get("simulation")
    note = " This is a simulation; in a real federation this page stays at the hospital." if simulated else ""
    return join(
        tag(
            "p",
            f"fedspine report, a site's own page, plan {table(run.metrics, 'plan').get('name')}",
            class_="over-title",
        ),
        tag("h1", site.name),
        notice("alarm", "This page stays at this hospital.", words, note),
        privacy(run),
        circumstances(run),
        rehearsal(run, site),
        facts(_facts(run, site)),
    )


def rehearsal(run: Run, site: SiteFiles) -> Markup:
    """Return that this site's noise can be repeated, where its ledger says so and the run is no simulation."""
    seeded = sum(line.get("noise") == "fixed seed" for line in site.ledger.lines)
    if run.metrics.get("simulation") or not seeded:
        return join()
    words = (
        f"{seeded} of this site's {len(site.ledger.lines)} releases had noise from a fixed seed, which site.toml "
        "allows in a rehearsal only: whoever knows the seed can take the noise away. If patients were here, they were "
        "not protected."
    )
    return notice("alarm", "The noise of this site is repeatable.", words)


def _facts(run: Run, site: SiteFiles) -> list[tuple[str, str]]:
    counts = table(run.metrics, "sites", site.name)
    costs = table(run.metrics, "epsilon", site.name)
    return [
        ("patients here", amount(number(site.metrics.get("patients")), 0, "not recorded")),
        ("in training", amount(number(counts.get("train")), 0, "not recorded")),
        ("held out", amount(number(counts.get("held_out")), 0, "not recorded")),
        ("epsilon, training patients", _spent(costs, "train")),
        ("epsilon, held-out patients", _spent(costs, "held-out")),
        ("budget of the plan", "none" if run.budget is None else f"{run.budget:g}"),
    ]


def _spent(costs: dict[str, Any], fold: str) -> str:
    return epsilon_text(number(table(costs, fold).get("pld"))) if table(costs, fold) else "not recorded"


def sections(run: Run, site: SiteFiles) -> list[Section]:
    """Return the page's sections."""
    contrasts = [str(name) for name in rows(run.metrics, "data", "contrasts")]
    local = results.compared(table(site.metrics, "metrics"), table(run.metrics, "metrics"), site.name)
    return [
        Section("patients", "Patients here", _patients(site)),
        Section("results", "Exact and released", local),
        Section("images", "Real and synthetic", _images(run, site, contrasts)),
        Section("segmentation", "Segmentation", _segmentation(site, contrasts)),
        Section("tokens", "Lesion tokens", site_tokens(run, site.name, read_points(rows(site.metrics, "tokens")))),
        Section("harmonisation", "Harmonisation", _harmonisation(run, site)),
        Section("scanners", "Certainty of each contrast", lesion_view.certainty(table(site.metrics, "uncertainty"))),
        Section("saliency", "Lesion saliency", lesion_view.saliency(run, site.name, rows(site.metrics, "saliency"))),
        Section("ledger", "Privacy ledger", leaving.ledger(site.ledger, table(run.metrics, "epsilon", site.name))),
        Section("egress", "Egress log", leaving.egress(site.egress)),
    ]


def _patients(site: SiteFiles) -> Markup:
    tables = [_counts(site, "labels", "label"), _counts(site, "contrasts", "contrast")]
    words = "Counts of this hospital's patients, exact. A patient without a label or a contrast is used for the rest."
    return join(tag("div", tables, class_="beside"), tag("p", words, class_="note"))


def _counts(site: SiteFiles, key: str, name: str) -> Markup:
    body: list[Sequence[Child]] = [
        [str(each), amount(number(count), 0)] for each, count in table(site.metrics, key).items()
    ]
    return data_table([name, "patients"], body or [["none recorded", "–"]])


def _images(run: Run, site: SiteFiles, contrasts: list[str]) -> Markup:
    blocks = [
        galleries.block(site.gallery, "real", contrasts, "This hospital's patient"),
        galleries.block(run.gallery, "synthetic", contrasts, "Synthetic, from the generator"),
    ]
    reading = (
        "Left, patients of this hospital; right, images and masks of the shared generator. They should look alike in "
        "kind. A synthetic image that is one of the patients' images would be a leak: look for none."
    )
    return galleries.beside(blocks, reading, "This hospital kept no image of this run.")


def _segmentation(site: SiteFiles, contrasts: list[str]) -> Markup:
    return galleries.segmentations(
        site.gallery,
        contrasts,
        "Held-out patients of this hospital: the network never trained on them. The nearer the dashed border lies to "
        "the full one, the better.",
        "This hospital kept no segmentation of its held-out patients.",
    )


def _harmonisation(run: Run, site: SiteFiles) -> Markup:
    own = table(site.metrics, "harmonisation")
    released = {"features": own.get("features"), **{k: {site.name: own.get(k)} for k in ("before", "after")}}
    return results.harmonisation(run, released, own=site.name)

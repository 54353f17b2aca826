"""The coordinator's page: released aggregates, public phantoms and synthetic images, nothing else."""

from __future__ import annotations

from urllib.parse import quote

from fedspine.report import galleries, leaving, results
from fedspine.report.atlas_view import coordinator_tokens
from fedspine.report.layout import Section, absent, facts, folded, notice
from fedspine.report.markup import Markup, join, tag
from fedspine.report.run_files import Run, rows, table
from fedspine.report.wording import duration, epsilon_text, number, plural

SOURCES = {"phantoms": "phantoms, patients drawn by a computer", "site folders": "the sites' own folders"}


def header(run: Run) -> Markup:
    """Return what a reader must know before the first figure."""
    plan = table(run.metrics, "plan")
    return join(
        tag("p", "fedspine report, the coordinator's page", class_="over-title"),
        tag("h1", str(plan.get("name") or "A plan without a name")),
        privacy(run),
        circumstances(run),
        tag("p", _contents(run), class_="lead"),
        facts(_facts(run)),
    )


def privacy(run: Run) -> Markup:
    """Return the guarantee as a sentence, or the loud lack of one."""
    if not run.private:
        return notice(
            "alarm",
            "No differential privacy.",
            "This run used no noise: what the sites sent may reveal single patients. Its results must not be shared as "
            "if they were private.",
        )
    agreed = table(run.metrics, "privacy")
    delta, unit = number(agreed.get("delta")), str(agreed.get("unit", "patient"))
    return notice(
        "calm",
        f"Differential privacy per {unit}: epsilon {epsilon_text(run.budget)} at delta {delta or 0:g}.",
        f"Whoever sees everything that a site sent learns at most this much about any one {unit}. "
        f"The guarantee assumes: {agreed.get('assumption') or 'nothing that was recorded'}.",
    )


def circumstances(run: Run) -> Markup:
    """Return that the run is a simulation, and that its noise can be repeated, where that is so."""
    parts: list[Markup] = []
    if run.metrics.get("noise") == "fixed seed":
        words = (
            "The noise comes from a fixed seed, so the run can be repeated exactly, and whoever knows the seed "
            "can take the noise away. That suits a simulation; "
            "with real patients, noise must come from the operating system."
        )
        parts.append(notice("caution", "A simulation whose noise is repeatable.", words))
    elif run.metrics.get("simulation"):
        parts.append(notice("caution", "A simulation.", "All sites ran on one machine, in one hand."))
    rehearsing = run.metrics.get("rehearsing")
    if isinstance(rehearsing, list) and rehearsing:
        words = (
            f"{', '.join(map(str, rehearsing))}: site.toml says rehearsal and fixes the seed of the noise, which "
            "whoever knows it can take away. If patients were there, they were not protected."
        )
        parts.append(notice("alarm", "A rehearsal: the noise of some sites is repeatable.", words))
    return join(parts)


def _contents(run: Run) -> str:
    return (
        "This page holds only what the sites released (noised sums and numbers made from them), public phantoms and "
        "synthetic images. No patient's image or figure is on it, and it fetches nothing from any network."
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    metrics, plan = run.metrics, table(run.metrics, "plan")
    counts = [table(each) for each in table(metrics, "sites").values()]
    train, held_out = (sum(number(c.get(key)) or 0 for c in counts) for key in ("train", "held_out"))
    source = str(metrics.get("source", "not recorded"))
    data = table(metrics, "data")
    return [
        ("sites", str(len(counts))),
        ("patients in training", f"{train:.0f}"),
        ("patients held out", f"{held_out:.0f}"),
        ("patients come from", SOURCES.get(source, source)),
        ("contrasts", ", ".join(map(str, rows(data, "contrasts"))) or "none"),
        ("classes", ", ".join(map(str, rows(data, "classes"))) or "none"),
        ("engine", str(metrics.get("engine", "not recorded"))),
        ("noise from", str(metrics.get("noise", "not recorded"))),
        ("took", duration(number(metrics.get("seconds")))),
        ("plan digest", str(plan.get("digest", "not recorded"))[:12]),
    ]


def sections(run: Run) -> list[Section]:
    """Return the page's sections, the results first."""
    contrasts = [str(name) for name in rows(run.metrics, "data", "contrasts")]
    return [
        Section("results", "How well it works", results.metrics(run)),
        Section("segmentation", "Segmentation", _segmentation(run, contrasts)),
        Section("synthetic", "Synthetic images", _synthetic(run, contrasts)),
        Section("harmonisation", "Harmonisation", results.harmonisation(run, table(run.metrics, "harmonisation"))),
        Section("tokens", "Lesion tokens", coordinator_tokens(run)),
        Section("privacy", "Privacy spent", leaving.epsilon(run)),
        Section("sent", "What was sent", join(leaving.sent(run), leaving.answers(run))),
        Section("training", "Training", results.losses(run)),
        Section("sites", "Sites and plan", _sites(run)),
    ]


def _segmentation(run: Run, contrasts: list[str]) -> Markup:
    return galleries.segmentations(
        run.gallery,
        contrasts,
        "Public phantoms that the network did not train on. The nearer the dashed border lies to the full one, the "
        "better; how it does on patients is said by the Dice of the held-out patients above.",
        "No segmentation of phantoms was kept from this run.",
    )


def _synthetic(run: Run, contrasts: list[str]) -> Markup:
    blocks = [
        galleries.block(run.gallery, "phantom", contrasts, "Public phantom"),
        galleries.block(run.gallery, "synthetic", contrasts, "Synthetic, from the generator"),
    ]
    reading = (
        "Left, phantoms that anyone may see; right, images and masks that the generator made, those with a lesion "
        "first. Look for anatomy that holds together over the contrasts, lesions under their masks, and samples that "
        "differ from each other: equal ones mean that the generator has collapsed."
    )
    return join(
        results.gan_losses(run), galleries.beside(blocks, reading, "No synthetic image was kept from this run.")
    )


def _sites(run: Run) -> Markup:
    parts = [leaving.site_rows(run), tag("p", "Of a site only the number of its patients is known.", class_="note")]
    if run.links:
        links = [tag("li", tag("a", name, href=f"sites/{quote(name, safe='')}/report.html")) for name in run.links]
        words = "The sites' own pages; in a real federation such a page stays at the hospital:"
        parts += [tag("h3", plural(len(links), "site page")), tag("p", words), tag("ul", links)]
    plan = folded("The plan as run", tag("pre", run.plan_text)) if run.plan_text else absent("The plan was not kept.")
    return join(parts, plan)

"""The command line: the one room that may open onto all others."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedspine.cohort.patient import Cohort
from fedspine.commands.audit import audit_command
from fedspine.commands.bars import bar, stage_bars
from fedspine.commands.egress import egress_app
from fedspine.commands.judge import sheet_command, stress_command
from fedspine.commands.plan import plan_app
from fedspine.commands.site import site_app
from fedspine.config import Plan, load_plan
from fedspine.errors import FedspineError, InputError
from fedspine.site_file import load_site

app = typer.Typer(
    help="Hospitals train together on rare spine tumours; no patient leaves a hospital.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OUT, ERR = Console(), Console(stderr=True)


class Body(StrEnum):
    """What phantoms show."""

    spine = "spine"
    lung = "lung"


class Engine(StrEnum):
    """Where a simulation's sites run."""

    inprocess = "inprocess"
    ray = "ray"


def main() -> None:
    """Run the command line; bad input is one sentence and exit code 2, never a traceback."""
    try:
        app()
    except FedspineError as error:
        ERR.print(f"fedspine: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make; must be empty or absent.")],
    sites: Annotated[int, typer.Option(help="Hospitals.", min=1)] = 4,
    patients: Annotated[int, typer.Option(help="Patients per hospital.", min=1)] = 40,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Pixels a side.", min=32)] = 128,
    slices: Annotated[int, typer.Option(help="Sagittal slices.", min=2)] = 12,
    levels: Annotated[str, typer.Option(help="Part of the spine, such as C1-C7 or L5.")] = "C1-S1",
    follow_up: Annotated[float, typer.Option(help="Share of patients with a second study.", min=0, max=1)] = 0.0,
    body: Annotated[Body, typer.Option(help="MRI of spines, or chest CT with lung nodules.")] = Body.spine,
) -> None:
    """Write a consortium of site folders with phantom patients: public, made from physics."""
    from fedspine.phantom.lung.writer import write_lung_consortium
    from fedspine.phantom.writer import write_consortium

    shape = (slices, size, size)
    with bar("drawing phantoms") as advance:
        if body is Body.lung:
            folders = write_lung_consortium(
                out, sites=sites, patients=patients, seed=seed, shape=shape, progress=advance
            )
        else:
            folders = write_consortium(
                out,
                sites=sites,
                patients=patients,
                seed=seed,
                shape=shape,
                levels=levels,
                follow_up=follow_up,
                progress=advance,
            )
    OUT.print(f"{len(folders)} site folders of {patients} patients are in {out}", soft_wrap=True, highlight=False)
    OUT.print(f"look at one:     fedspine check {folders[0]}", soft_wrap=True, highlight=False)
    plan = " --plan lung" if body is Body.lung else ""
    OUT.print(f"train on them:   fedspine simulate --data {out}{plan}", soft_wrap=True, highlight=False)


@app.command()
def check(
    site: Annotated[Path, typer.Argument(help="A site folder.")],
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="List what the files still carry of patients instead; no value shows.")
    ] = False,
) -> None:
    """Read a site folder and print what is in it, what is missing, and what was refused and why.

    Exit code 0 when it can be used, 2 when not.
    """
    if identifiers:
        _list_identifiers(site)
        return
    from fedspine.cohort.site import load_cohort
    from fedspine.cohort.summary import describe, usable

    with bar("reading") as advance:
        policy = load_site(site) if site.is_dir() else None
        cohort = load_cohort(site, progress=advance)
    OUT.print(describe(cohort))
    problem = usable(cohort)
    if policy is not None and len(cohort.patients) < policy.minimum_cohort:
        problem = str(
            InputError(
                f"a site must have at least {policy.minimum_cohort} patients (minimum_cohort in site.toml)",
                str(len(cohort.patients)),
                "add patients, or lower the minimum",
            )
        )
    if problem:
        ERR.print(f"not usable: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2)
    OUT.print("usable", style="green")


def _list_identifiers(site: Path) -> None:
    """Print what the files of a site folder carry of patients."""
    from fedspine.cohort.deidentify.carried import survey
    from fedspine.cohort.deidentify.view import describe_carried

    with bar("reading headers") as advance:
        carried = survey(site, advance)
    OUT.print(describe_carried(carried))


@app.command()
def deidentify(
    site: Annotated[Path, typer.Argument(help="A site folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to make; must be empty or absent.")],
) -> None:
    """Write a de-identified copy of a site folder, for a research machine; key and names stay in SITE/.fedspine."""
    from fedspine.cohort.deidentify.copy import write_copy

    with bar("writing") as advance:
        copied = write_copy(site, out, advance)
    OUT.print(
        f"{copied.patients} patients, {copied.files} DICOM files, {copied.nifti} NIfTI images and {copied.masks} masks "
        f"are in {out}",
        soft_wrap=True,
        highlight=False,
    )
    for reason, count in Counter(one.reason for one in copied.left_out).most_common():
        OUT.print(f"left out: {count} x {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    OUT.print(f"look at it:      fedspine check {out} --identifiers", soft_wrap=True, highlight=False)


@app.command()
def simulate(
    data: Annotated[
        Path | None, typer.Option(help="Folder that holds a folder per site; phantoms if left out.")
    ] = None,
    plan: Annotated[str, typer.Option(help="A TOML file, or a name: default, socce, lung, brain.")] = "default",
    engine: Annotated[Engine, typer.Option(help="Where the sites run.")] = Engine.inprocess,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/DATE-TIME if left out. A cut-off run goes on.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Takes the place of the plan's seed.", min=0)] = None,
) -> None:
    """Train a federation over site folders on this machine and write a run folder with a report."""
    from fedspine.phantom.embedded import embedded_sites
    from fedspine.plans.default import phantom_data
    from fedspine.plans.shipped import find_plan
    from simulations.consortium import Simulation, open_consortium
    from simulations.consortium import simulate as run

    agreed = load_plan(find_plan(plan))
    if seed is not None:
        agreed = replace(agreed, seed=seed)
    folder = out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    if folder.exists() and not folder.is_dir():
        raise InputError("--out must be a folder", "a file", "name another place")
    if data is None:
        if agreed.data.body not in set(Body):
            raise InputError("a plan of heads needs site folders", "no --data", "name a folder of them with --data")
        body = Body.lung if agreed.data.contrasts == ("CT",) else Body.spine
        if body is Body.spine:
            agreed = replace(agreed, data=phantom_data(agreed.data))
        with bar("drawing phantoms") as advance:
            source = embedded_sites(folder, agreed.seed, advance, body=body.value)
    else:
        source = data
    cohorts: list[Cohort] = []
    with bar("reading sites") as advance:
        agreed, folders = open_consortium(source, agreed, advance, cohorts.append)
    source_word = "phantoms" if data is None else "site folders"
    simulation = Simulation(agreed, folders, folder, engine.value, source_word, Path(plan).parent)
    _announce(agreed, cohorts)
    with stage_bars() as watcher:
        report = run(simulation, watcher)
    _tell_trouble(folder)
    OUT.print(f"\nreport: {report}", soft_wrap=True, highlight=False)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write the pages of a run folder again: the coordinator's, and each site's own."""
    from fedspine.report.pages import write_reports

    OUT.print(f"report: {write_reports(run)}", soft_wrap=True, highlight=False)


app.command("sheet")(sheet_command)
app.command("stress")(stress_command)
app.add_typer(plan_app, name="plan")
app.command("audit")(audit_command)
app.add_typer(site_app, name="site")
app.add_typer(egress_app, name="egress")


def _announce(plan: Plan, cohorts: list[Cohort]) -> None:
    """Print what is about to be trained and what it will cost."""
    from fedspine.config import HELD_OUT, TRAIN
    from fedspine.privacy.calibrate import plan_epsilon

    OUT.print(f"plan '{plan.name}', {len(cohorts)} sites", soft_wrap=True, highlight=False)
    for cohort in cohorts:
        unused = f", {len(cohort.rejected)} things not used (fedspine check tells)" if cohort.rejected else ""
        OUT.print(f"  {cohort.name}: {len(cohort.patients)} patients{unused}", soft_wrap=True, highlight=False)
    data = plan.data
    OUT.print(
        f"contrasts {', '.join(data.contrasts)}; classes {', '.join(data.classes)}; {len(data.omics)} omics columns",
        soft_wrap=True,
        highlight=False,
    )
    if plan.privacy.mechanism == "none":
        OUT.print(
            'NO PRIVACY: the plan says mechanism = "none"; every patient\'s influence is unbounded', style="bold red"
        )
        return
    OUT.print(
        f"differential privacy per patient: at most epsilon {plan_epsilon(plan, TRAIN):.2f} in training, "
        f"{plan_epsilon(plan, HELD_OUT):.2f} in testing, at delta {plan.privacy.delta:g}",
        soft_wrap=True,
        highlight=False,
    )


def _tell_trouble(run: Path) -> None:
    """Print which sites declined, stopped answering or had errors; silence would look like success."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    trouble = [f"{site} did not take part: {code}" for site, code in metrics["not_enrolled"].items()]
    for stage in metrics["stages"]:
        trouble += [f"{site} left stage {stage['name']}: {code}" for site, code in stage["refused"].items()]
    for log in sorted(run.glob("sites/*/errors.jsonl")):
        count = len(log.read_text("utf-8").splitlines())
        trouble.append(f"{log.parent.name} noted {count} errors in its errors.jsonl")
    for line in trouble:
        ERR.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

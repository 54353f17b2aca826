"""A consortium of site folders on one machine: what the plan leaves open is read from them, then the plan is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.app import Context
from flwr.clientapp import ClientApp

from client.app import build_app, site_folders
from client.hospital import Hospital
from client.page import write_local_results
from fedspine.cohort.patient import CONTRASTS, Cohort
from fedspine.cohort.site import load_cohort
from fedspine.config import DataPlan, Plan, check_plan
from fedspine.errors import ConfigError, InputError
from fedspine.phantom.genome import MARKERS
from fedspine.privacy.calibrate import calibrate
from fedspine.report.pages import write_reports
from fedspine.site_file import load_site
from fedspine.tasks._checks import check_networks, check_tasks
from server.coordinate import coordinate
from server.runner import Watcher
from server.vault import Progress
from simulations.grid import InProcessGrid

ENGINES = ("inprocess", "ray")

MOST_OMICS = 32
"""Columns that a plan takes from an omics table by itself: those filled in most often."""


@dataclass(frozen=True)
class Simulation:
    """A run on one machine.

    Args:
        plan: complete.
        folders: site folders, by partition.
        out: run folder.
        engine: one of `ENGINES`.
        source: `"phantoms"` or `"site folders"`.
        initial: folder in which the stages' `initial` files lie.
    """

    plan: Plan
    folders: tuple[Path, ...]
    out: Path
    engine: str
    source: str
    initial: Path = Path()

    @property
    def names(self) -> tuple[str, ...]:
        """The sites' names, by partition."""
        return tuple(folder.name for folder in self.folders)

    def hospital(self, partition: int) -> Hospital:
        """Return one of the hospitals."""
        folder = self.folders[partition]
        return Hospital(folder, self.out / "sites" / folder.name, partition)

    def client_app(self) -> ClientApp:
        """Return the ClientApp that plays whichever hospital the context numbers."""

        def hospital_of(context: Context) -> Hospital:
            return self.hospital(int(context.node_config["partition-id"]))

        return build_app(hospital_of)


def open_consortium(
    data: Path,
    plan: Plan,
    progress: Callable[[int, int], None] | None = None,
    found: Callable[[Cohort], None] | None = None,
) -> tuple[Plan, tuple[Path, ...]]:
    """Return `plan` completed from the site folders below `data`, and the folders.

    Args:
        data: holds a folder per site.
        plan: lists of its data section that are empty are filled: contrasts, classes and omics found at any site.
        progress: called with (done, total) sites.
        found: called with every cohort, for a word on what is in it.

    Raises:
        InputError: if there are no site folders, a site is unusable, or there is nothing to learn.
    """
    if not data.is_dir():
        raise InputError(
            "--data must be a folder of site folders", "none at the place given", "give the folder that holds them"
        )
    folders = tuple(site_folders(data))
    if not folders:
        raise InputError("--data must hold a folder per site", "none", "make them, or try: fedspine phantom OUT")
    cohorts = []
    for index, folder in enumerate(folders):
        cohorts.append(_open_site(folder))
        if found:
            found(cohorts[-1])
        if progress:
            progress(index + 1, len(folders))
    data_plan = completed(plan.data, cohorts)
    if any(stage.task == "classify" for stage in plan.stage) and len(data_plan.classes) < 2:
        raise ConfigError(
            "a plan that classifies must have two classes or more",
            "fewer among all sites",
            "add patients with another label, or take the classify stages out of the plan",
        )
    plan = calibrate(check_plan(replace(plan, data=data_plan)))
    check_tasks(plan)
    check_networks(plan)
    return plan, folders


def _open_site(folder: Path) -> Cohort:
    """Return a site's cohort; what is wrong with it is said with the site's name."""
    try:
        policy, cohort = load_site(folder), load_cohort(folder)
    except InputError as error:
        raise InputError(f"site {folder.name}: {error.rule}", error.found, error.remedy) from None
    if (folder / "site.toml").exists() and len(cohort.patients) < policy.minimum_cohort:
        raise InputError(
            f"site {folder.name}: it must have at least {policy.minimum_cohort} patients (minimum_cohort in site.toml)",
            str(len(cohort.patients)),
            "add patients, or lower the minimum",
        )
    return cohort


def completed(data: DataPlan, cohorts: Sequence[Cohort]) -> DataPlan:
    """Return `data` with every list that is empty filled with what is found at any site."""
    contrasts, classes, omics = Counter[str](), Counter[str](), Counter[str]()
    for cohort in cohorts:
        for patient in cohort.patients:
            contrasts.update(c for c in patient.volumes if c != "other")
            classes.update([patient.label] if patient.label else [])
            if patient.omics is not None:
                omics.update(c for c, v in zip(cohort.omics_columns, patient.omics, strict=True) if v == v)
    if not (data.contrasts or contrasts):
        raise InputError("a site must have images of a known contrast", "none at any site", "run: fedspine check SITE")
    order = [column for cohort in cohorts for column in cohort.omics_columns]
    most = {name for name, _ in omics.most_common(MOST_OMICS)}
    found_omics = tuple(dict.fromkeys(column for column in order if column in most))
    known = data.omics or found_omics
    return replace(
        data,
        contrasts=data.contrasts or tuple(c for c in CONTRASTS if c in contrasts),
        classes=data.classes or (tuple(sorted(classes)) if len(classes) > 1 else ()),
        omics=known,
        markers=data.markers or tuple(c for c in known if c in MARKERS) or known,
    )


def simulate(simulation: Simulation, watcher: Watcher) -> Path:
    """Run the simulation and return the path of the coordinator's report."""
    if simulation.engine == "ray":
        from simulations.ray import run_on_ray  # late: Ray is large, and only this engine needs it

        final = run_on_ray(simulation, watcher)
    else:
        grid = InProcessGrid(simulation.client_app(), simulation.names)
        final = coordinate(
            grid,
            simulation.plan,
            simulation.out,
            expected=len(simulation.names),
            watcher=watcher,
            engine=simulation.engine,
            source=simulation.source,
            names=simulation.names,
            report=False,
            initial=simulation.initial,
        )
    write_site_pages(simulation, final)
    return write_reports(simulation.out)


def write_site_pages(simulation: Simulation, final: Progress) -> None:
    """Let every simulated hospital write the numbers and pictures that it would keep to itself."""
    for partition, name in enumerate(simulation.names):
        shared = {**final.shared, **final.own.get(name, {})}
        write_local_results(simulation.hospital(partition), simulation.plan, final.models, shared)

"""A coordinator's whole run on any `Grid`: enrol, run the plan, write metrics, gallery and report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from flwr.serverapp import Grid

from fedspine.config import Plan
from fedspine.privacy.calibrate import calibrate
from fedspine.report.pages import write_reports
from fedspine.tasks._checks import check_networks, check_tasks
from server.results import metrics, write_gallery
from server.runner import Runner, Watcher
from server.sites import enrol
from server.starting import initial_weights
from server.vault import Progress, Vault

THREADS = 1
"""Torch threads of the server: sums depend on how they are split, so every engine pre-trains with as many."""


def coordinate(
    grid: Grid,
    plan: Plan,
    out: Path,
    *,
    expected: int,
    watcher: Watcher,
    engine: str,
    source: str,
    names: Sequence[str] = (),
    wait_s: float = 600.0,
    timeout_s: float = 3600.0,
    report: bool = True,
    initial: Path = Path(),
) -> Progress:
    """Run `plan` over the sites of `grid` and fill the run folder `out`; return the final state.

    Args:
        grid: Flower's, or the in-process one.
        plan: noise multipliers left at 0 are solved for now and written to `plan.toml`.
        out: run folder; a run of the same plan that was cut off goes on where it stopped.
        expected: sites to wait for.
        watcher: told of stages and rounds.
        engine: what the sites run on, for the report.
        source: where patients come from, for the report.
        names: of a simulation's sites, by partition.
        wait_s: the longest wait for sites to appear.
        timeout_s: the longest wait for a round.
        report: whether to write `report.html` now (a simulation does it after its sites have written their pages).
        initial: folder in which the stages' `initial` files lie: the plan's own.
    """
    torch.set_num_threads(THREADS)
    check_tasks(plan)
    check_networks(plan)
    for stage in plan.stage:
        if stage.initial:
            initial_weights(stage, initial)  # a missing file is said before the sites are asked
    plan = calibrate(plan)
    vault = Vault(out)
    vault.begin(plan)
    sites, refused = enrol(grid, plan, expected=expected, names=names, wait_s=wait_s)
    progress = Runner(grid, plan, sites, vault, watcher, initial, timeout_s).run()
    simulated = any(site.partition is not None for site in sites)
    run = {
        "engine": engine,
        "simulation": simulated,
        "source": source,
        "noise": "fixed seed" if simulated else "each site's own",
        "rehearsing": [site.name for site in sites if site.rehearsal],
        "seconds": sum(stage["seconds"] for stage in progress.numbers["stages"]),
    }
    vault.write_metrics(metrics(plan, progress, sites, refused, run))
    write_gallery(plan, progress, out / "gallery.safetensors")
    if report:
        write_reports(out)
    return progress

"""The consortium's Flower ServerApp, for Flower's own simulation and deployment engines.

Run settings (`flwr run … --run-config`): `plan`, a TOML file at the server (the default plan if empty); `sites`, how
many to wait for; `out`, the run folder (`.fedspine/runs/RUN_ID` in the home directory if empty); `data`, only in a
local simulation, the folder of site folders (phantoms are drawn if empty). Every node gets a copy of them.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedspine.config import Plan, Stage, load_plan, read_text
from fedspine.errors import ConfigError
from fedspine.plans.default import default_plan
from server.coordinate import coordinate

LOG = logging.getLogger("fedspine")

app = ServerApp()


class LogWatcher:
    """Tells stages and rounds to Flower's log."""

    def stage_begins(self, stage: Stage) -> None:
        """Log the stage's name."""
        LOG.info("stage %s begins", stage.name)

    def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None:
        """Log a round and its duration."""
        LOG.info("stage %s, round %d of %d, %.1f s", stage.name, round_number, stage.rounds, seconds)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured plan on the connected sites."""
    _show_log()
    settings = context.run_config
    data = str(settings["data"])
    out = Path(str(settings["out"] or Path.home() / ".fedspine" / "runs" / str(context.run_id)))
    coordinate(
        grid,
        configured_plan(str(settings["plan"])),
        out,
        expected=int(settings["sites"]),
        watcher=LogWatcher(),
        engine="flower",
        source="site folders",
        initial=Path(str(settings["plan"])).parent,
        names=sorted(p.name for p in Path(data).iterdir() if p.is_dir() and not p.name.startswith(".")) if data else (),
    )
    LOG.info("report.html is in the run folder")


def _show_log() -> None:
    """Print the log of fedspine alone.

    Flower keeps what an app prints and sends it on over HTTP: with every library's log on, each line sent would be
    reported by a line of its own, without end.
    """
    if not LOG.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("fedspine: %(message)s"))
        LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def configured_plan(path: str) -> Plan:
    """Return the plan in the file at `path`, or the default plan with the phantoms' names filled in.

    Raises:
        InputError: if it cannot be read, or leaves open what only a simulation can look up at the sites.
    """
    if not path:
        return default_plan()
    plan = load_plan(read_text(Path(path), "the plan"))
    tasks = {stage.task for stage in plan.stage}
    data = plan.data
    needed = {"contrasts": (data.contrasts, True), "classes": (data.classes, "classify" in tasks)}
    needed |= {"omics": (data.omics, "encode" in tasks), "markers": (data.markers, "encode" in tasks)}
    for what, (names, wanted) in needed.items():
        if wanted and not names:
            raise ConfigError(
                f"the plan of a federation must name its {what}",
                "none",
                "write them under [data]; the server cannot look at the sites",
            )
    return plan

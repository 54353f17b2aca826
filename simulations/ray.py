"""The same apps on Flower's simulation engine over Ray."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from flwr.supercore import telemetry

from fedspine.errors import FedspineError
from server.coordinate import coordinate
from server.runner import Watcher
from server.vault import Progress

if TYPE_CHECKING:
    from simulations.consortium import Simulation

SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Nobody is called at home, and a site sees the devices that it sees in process; the user's own settings win."""


def run_on_ray(simulation: Simulation, watcher: Watcher) -> Progress:
    """Run the simulation's plan with a virtual SuperNode per site; the ServerApp runs in this process.

    A site computes with as many threads as in process, so the same seed gives the same network bit for bit.

    Raises:
        FedspineError: if the plan cannot be run, or Ray ends before the plan does.
    """
    final: list[Progress] = []
    server_app = ServerApp()

    @server_app.main()
    def _main(grid: Grid, context: Context) -> None:
        final.append(
            coordinate(
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
        )

    cores = os.cpu_count() or 1
    cause: RuntimeError | None = None
    with _quiet():
        try:
            run_simulation(
                server_app,
                simulation.client_app(),
                len(simulation.names),
                backend_config={
                    "client_resources": {"num_cpus": 1},
                    "init_args": {"num_cpus": cores, "logging_level": "ERROR", "log_to_driver": False},
                },
            )
        except RuntimeError as error:  # Flower's own word for whatever happened to Ray; its log says what
            cause = error
    if not final:
        raise FedspineError(
            "a simulation on Ray must come to an end; it did not; see the log above, or --engine inprocess."
        ) from cause
    return final[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Flower and Ray from calling home and, but for errors, from writing across the progress bars."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    telemetry.FLWR_TELEMETRY_ENABLED = os.environ["FLWR_TELEMETRY_ENABLED"]  # Flower has read it at import already
    log = logging.getLogger("flwr")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(flwr|ray)\b.*")
            yield
    finally:
        log.setLevel(level)

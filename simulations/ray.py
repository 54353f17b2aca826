"""The same apps on Flower's simulation engine over Ray."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fedspine.errors import FedspineError
from server.coordinate import coordinate
from server.runner import Watcher
from server.vault import Progress

if TYPE_CHECKING:
    from simulations.consortium import Simulation


def run_on_ray(simulation: Simulation, watcher: Watcher) -> Progress:
    """Run the simulation's plan with a virtual SuperNode per site; the ServerApp runs in this process.

    One site at a time, with all cores: so a site computes with as many threads as in process, and the same seed gives
    the same network bit for bit.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
            )
        )

    cores = os.cpu_count() or 1
    run_simulation(
        server_app,
        simulation.client_app(),
        len(simulation.names),
        backend_config={"client_resources": {"num_cpus": cores}, "init_args": {"num_cpus": cores}},
    )
    if not final:
        raise FedspineError(
            "a simulation on Ray must come to an end; it did not; see the log above, or --engine inprocess."
        )
    return final[0]

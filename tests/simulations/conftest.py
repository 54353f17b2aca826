"""Two tiny site folders of phantoms, written once, and a tiny plan over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedspine.config import Plan, Stage, load_plan
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from simulations.consortium import Simulation, open_consortium, simulate

TINY = """
name = "tiny"
seed = 3
[data]
size = 32
slices = 2
held_out = 0.3
[[stage]]
task = "standardise"
[[stage]]
task = "harmonise"
[[stage]]
task = "segment"
rounds = 2
steps = 2
sample_rate = 0.6
pretrain_steps = 2
[stage.options]
features = [4, 4, 4, 4]
[[stage]]
task = "evaluate"
of = "segment"
"""


class Silent:
    """Watches nothing."""

    def stage_begins(self, stage: Stage) -> None:
        """See nothing."""

    def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None:
        """See nothing."""


def tiny_plan(text: str = TINY) -> Plan:
    plan = load_plan(text)
    return replace(plan, data=phantom_data(plan.data))


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("consortium") / "sites"
    write_consortium(folder, sites=2, patients=8, shape=(3, 32, 32))
    return folder


Opened = Callable[..., Simulation]


@pytest.fixture
def opened(sites: Path, tmp_path: Path) -> Opened:
    """Return a function of a plan that opens a simulation over the two sites."""

    def open_simulation(plan: Plan | None = None, out: str = "run", engine: str = "inprocess") -> Simulation:
        complete, folders = open_consortium(sites, plan or tiny_plan())
        return Simulation(complete, folders, tmp_path / out, engine, "phantoms")

    return open_simulation


@pytest.fixture(scope="session")
def finished(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Return a simulation of the tiny plan that has been run; look, but do not touch."""
    plan, folders = open_consortium(sites, tiny_plan())
    simulation = Simulation(plan, folders, tmp_path_factory.mktemp("finished") / "run", "inprocess", "phantoms")
    simulate(simulation, Silent())
    return simulation

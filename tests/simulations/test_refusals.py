"""A site that refuses stays out with its code; the round goes on with the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simulations.consortium import Simulation, simulate

from .conftest import Opened, Silent, tiny_plan

pytestmark = pytest.mark.slow

QUICK = """
name = "quick"
seed = 3
[data]
size = 32
slices = 2
held_out = 0.3
[[stage]]
task = "segment"
rounds = 3
steps = 1
sample_rate = 0.6
[stage.options]
features = [4, 4, 4, 4]
"""


@contextmanager
def policy(simulation: Simulation, text: str) -> Iterator[None]:
    file = simulation.folders[0] / "site.toml"
    file.write_text(f"max_epsilon = 100.0\n{text}\n")
    try:
        yield
    finally:
        file.unlink()


def metrics(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return read


@pytest.mark.parametrize(
    ("text", "code"),
    [("approved_only = true", "plan-not-approved"), ("min_noise_multiplier = 1e5", "noise-too-low")],
)
def test_a_site_that_does_not_permit_the_plan_stays_out(opened: Opened, text: str, code: str) -> None:
    simulation = opened(tiny_plan(QUICK))
    with policy(simulation, text):
        simulate(simulation, Silent())
    written = metrics(simulation.out)
    assert written["not_enrolled"] == {"site-1": code}
    assert written["stages"][0]["answered"] == {"site-2": 3}


def test_a_site_that_has_enough_for_today_leaves_and_the_others_finish(opened: Opened) -> None:
    simulation = opened(tiny_plan(QUICK))
    with policy(simulation, "max_rounds_a_day = 2"):
        simulate(simulation, Silent())
    (stage,) = metrics(simulation.out)["stages"]
    assert stage["refused"] == {"site-1": "too-many-rounds"}
    assert stage["answered"] == {"site-1": 2, "site-2": 3}

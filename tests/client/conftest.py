"""A hospital of phantoms whose client can be sent anything, without Flower's daemons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from client.app import build_app
from client.hospital import Hospital
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort
from fedspine.config import Plan, load_plan, plan_text
from fedspine.phantom.writer import write_consortium
from fedspine.privacy.chain import Line, read
from fedspine.tasks import segment
from fedspine.wire import ARRAYS, ENROL, ORDER, SHARED, STAGE
from simulations.grid import FIRST_NODE, InProcessGrid

PLAN = """
name = "tiny"
seed = 3
[data]
contrasts = ["T1", "T2"]
size = 32
slices = 2
held_out = 0.3
[privacy]
epsilon = 8.0
[[stage]]
task = "segment"
rounds = 2
steps = 2
sample_rate = 0.5
noise_multiplier = 2.0
[stage.options]
features = [4, 4, 4, 4]
"""
"""Costs about epsilon 3."""


@dataclass(frozen=True)
class Post:
    """The way to one hospital's client.

    Args:
        hospital: behind it.
        grid: in this process.
    """

    hospital: Hospital
    grid: InProcessGrid

    def send(self, content: RecordDict, kind: str) -> Message:
        """Return the client's answer to a message."""
        (reply,) = self.grid.send_and_receive([Message(content, FIRST_NODE, kind)])
        return reply

    def enrol(self, plan: Plan) -> Message:
        """Ask to enrol."""
        return self.send(RecordDict({ORDER: order_record(plan)}), ENROL)

    def ask(self, plan: Plan, round_number: int = 1) -> Message:
        """Ask for a round of the plan's first stage."""
        return self.send(round_of(plan, round_number), STAGE)

    def booked(self) -> int:
        """Return the number of releases in the ledger."""
        return len(self.hospital.ledger.entries())

    def left(self) -> list[Line]:
        """Return the lines of the egress log."""
        return read(self.hospital.egress_log, "the egress log")


def order_record(plan: Plan, stage: str = "", round_number: int = 0) -> ConfigRecord:
    return ConfigRecord({"format": 1, "plan": plan_text(plan), "stage": stage, "round": round_number})


def round_of(plan: Plan, round_number: int = 1) -> RecordDict:
    """Return an honest order for a round of the plan's first stage."""
    weights = segment.task(plan, plan.stage[0], {}).build().state_dict()
    order = order_record(plan, plan.stage[0].name, round_number)
    return RecordDict({ARRAYS: ArrayRecord(dict(weights)), SHARED: ArrayRecord(), ORDER: order})


@pytest.fixture(scope="session")
def plan() -> Plan:
    return load_plan(PLAN)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    (site,) = write_consortium(tmp_path_factory.mktemp("sites") / "all", sites=1, patients=8, shape=(2, 32, 32))
    return load_cohort(site)


Opened = Callable[..., Post]


@pytest.fixture
def opened(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Return a function of a policy's text that opens a hospital of its own; `enrolled` for a plan if one is given.

    Its patients were read once for all tests.
    """
    read_once = cohort

    def open_hospital(policy: str = "", enrolled: Plan | None = None, cohort: Cohort = read_once) -> Post:
        monkeypatch.setattr("client.hospital.load_cohort", lambda *_, **__: cohort)
        site = tmp_path / "site"
        site.mkdir()
        (site / "site.toml").write_text(policy)
        hospital = Hospital(site, tmp_path / "state")
        post = Post(hospital, InProcessGrid(build_app(lambda context: hospital), ("site",)))
        if enrolled is not None:
            assert post.enrol(enrolled).has_content()
        return post

    return open_hospital

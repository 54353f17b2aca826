"""A subject made of phantoms alone, and small runs of two sites, for audits to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.audit import canaries, noise, sampler
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.commands.audited import subject_of
from fedspine.config import HELD_OUT, TRAIN, Plan, load_plan
from fedspine.evaluation.intervals import interval
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from fedspine.privacy.calibrate import calibrate
from fedspine.privacy.patient_sum import noise_generator
from fedspine.tasks import evaluate
from fedspine.tasks._task import Trained, make, public_values
from simulations.consortium import Simulation, open_consortium, simulate

SMALL = """
name = "small"
seed = 3
[data]
size = 32
slices = 3
held_out = 0.4
[[stage]]
task = "standardise"
[[stage]]
task = "classify"
rounds = 2
steps = 8
sample_rate = 0.5
[stage.options]
widths = [4, 4, 4, 4]
features = 4
[[stage]]
task = "evaluate"
of = "classify"
"""


class Silent:
    """Watches nothing."""

    def stage_begins(self, stage: object) -> None:
        """See nothing."""

    def round_ends(self, stage: object, round_number: int, seconds: float) -> None:
        """See nothing."""


def small_plan(text: str = SMALL) -> Plan:
    plan = load_plan(text)
    return calibrate(replace(plan, data=phantom_data(plan.data)))


def made_subject(plan: Plan, patients: int = 6, seed: int = 0) -> Subject:
    """Return a subject whose networks are fresh and whose one site has phantoms."""
    torch.manual_seed(seed)
    people = phantoms(plan, patients, purpose=7)
    models: dict[str, dict[str, Tensor]] = {}
    shared: dict[str, Tensor] = {}
    for stage in plan.stage:
        shared |= public_values(plan, stage, shared, models.get(stage.of))
        task = make(plan, stage, shared, models.get(stage.of))
        if isinstance(task, Trained):
            models[stage.name] = dict(task.build().state_dict())
    site = SiteRecord("site", Path("nowhere"), {TRAIN: people, HELD_OUT: people})
    return Subject(Path("nowhere"), plan, shared, models, (site,), True, seed)


@pytest.fixture(scope="session")
def subject() -> Subject:
    return made_subject(small_plan())


Seeded = Callable[[int], None]


def fix_draws(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Draw whatever the audit draws from `seed`."""
    drawn = [0]

    def generator(none: None) -> object:
        drawn[0] += 1
        return noise_generator(seed, "test", drawn[0])

    for module in (sampler, noise, canaries):
        monkeypatch.setattr(module, "noise_generator", generator)


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> Seeded:
    """Return a function that fixes the audit's own draws, else the system's: a test is no game of chance."""
    return lambda seed: fix_draws(monkeypatch, seed)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited") / "sites"
    write_consortium(folder, sites=2, patients=8, shape=(3, 32, 32))
    return folder


SHORT = SMALL.replace("rounds = 2\nsteps = 8", "rounds = 1\nsteps = 2")


def run_small(folders: Path, out: Path) -> Path:
    """Run the small plan, with fewer steps, over two sites; the folder of the run."""
    plan, places = open_consortium(folders, load_plan(SHORT))
    with pytest.MonkeyPatch.context() as patch:  # the bootstrap of the metrics takes longer than all of the rest
        patch.setattr(evaluate, "interval", partial(interval, draws=4))
        simulate(Simulation(plan, places, out, "inprocess", "site folders"), Silent())
    return out


@pytest.fixture(scope="session")
def finished(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run; look, but do not touch."""
    return run_small(folders, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def audited(finished: Path, folders: Path) -> Subject:
    return subject_of(finished, folders)

"""The child processes of `make bench`; each prints one JSON object of numbers and ends."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.bench.memory import PeakMemory
from simulations.bench.reading import cached_hundreds, decode, dicom2nifti, draw_series, pydicom_loop

if TYPE_CHECKING:
    import torch

    from fedspine.config import Plan, Stage
    from fedspine.tasks.segment import Segment

STEPS = 6
"""Timed steps of the step benchmarks, after one that warms up."""

PLAN = """
name = "bench"
[data]
contrasts = ["T1", "T1c", "T2", "STIR", "ADC"]
classes = ["normal", "benign", "malignant"]
size = 64
slices = 6
held_out = 0.0
[[stage]]
task = "segment"
rounds = 8
steps = 4
sample_rate = 1.0
noise_multiplier = 10.0
"""


def cpu_s() -> float:
    """Return CPU-seconds of this process so far, imports included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _step(kind: str) -> dict[str, float]:
    import numpy as np
    import torch
    from torch.nn import functional as F

    from fedspine.networks.unet import Shape, Unet
    from fedspine.privacy.sgd import private_gradient

    torch.manual_seed(0)
    model, everything = Unet(Shape(3, 1, (20, 20, 40, 80, 160))), torch.ones(3)
    parameters = list(model.parameters())
    optimiser = torch.optim.SGD(parameters, 1e-3)
    patients = [(torch.randn(8, 3, 128, 128), (torch.rand(8, 1, 128, 128) > 0.9).float()) for _ in range(8)]
    images, masks = torch.cat([x for x, _ in patients]), torch.cat([y for _, y in patients])
    noise = np.random.default_rng(0)

    def loss(patient: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(model(patient[0], everything)[0], patient[1])

    def plain() -> None:
        optimiser.zero_grad()
        loss((images, masks)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def accumulated() -> None:
        optimiser.zero_grad()
        for patient in patients:
            (loss(patient) / len(patients)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def private() -> None:
        released = private_gradient(
            parameters,
            patients,
            loss,
            clip=1.0,
            noise_multiplier=1.0,
            expected=len(patients),
            loss_bound=2.0,
            generator=noise,
        )
        for parameter, gradient in zip(parameters, released.gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()

    step: Callable[[], None] = {"plain": plain, "accumulated": accumulated, "private": private}[kind]
    with PeakMemory() as memory:
        step()
        begun = time.perf_counter()
        for _ in range(STEPS):
            step()
        seconds = (time.perf_counter() - begun) / STEPS
    return {"seconds": seconds, "peak_mb": memory.beyond_idle_mb}


def _segment() -> tuple[Plan, Stage, Segment]:
    import torch

    from fedspine.config import load_plan
    from fedspine.tasks.segment import task

    torch.manual_seed(0)
    plan = load_plan(PLAN)
    return plan, plan.stage[0], task(plan, plan.stage[0], {})


def bare(sites: Path) -> dict[str, float]:
    """Train the bench plan's stage in a plain loop: no Flower, no ledger, no messages."""
    import torch

    from fedspine.cohort.site import load_cohort
    from fedspine.cohort.tensors import to_tensors
    from fedspine.privacy.patient_sum import noise_generator, public_generator
    from fedspine.tasks._rounds import Strength, optimiser_of, train_round

    torch.set_num_threads(1)  # as a site and the server do
    with PeakMemory() as memory:
        plan, stage, task = _segment()
        hospitals = []
        for folder in sorted(sites.iterdir()):
            cohort = load_cohort(folder)
            hospitals.append([to_tensors(patient, cohort.omics_columns, plan.data) for patient in cohort.patients])
        torch.manual_seed(0)
        weights = {key: value.clone() for key, value in task.build().state_dict().items()}
        models = [task.build() for _ in hospitals]
        optimisers = [optimiser_of(task, model, stage.learning_rate) for model in models]
        noise, draws, seconds = noise_generator(0, "bench"), public_generator(0, "bench"), []
        for _ in range(stage.rounds):
            begun = time.perf_counter()
            for model, optimiser, patients in zip(models, optimisers, hospitals, strict=True):
                model.load_state_dict(weights)
                train_round(task, model, optimiser, patients, stage, Strength.of(plan, stage), noise, draws)
            states = [model.state_dict() for model in models]
            weights = {key: torch.stack([state[key] for state in states]).mean(0) for key in weights}
            seconds.append(time.perf_counter() - begun)
    return {"round": sorted(seconds)[len(seconds) // 2], "cpu": cpu_s(), "peak_mb": memory.peak_mb}


def engine(sites: Path) -> dict[str, float]:
    """Train the same stage on the in-process engine, with everything that a run writes but its report."""
    from server.coordinate import coordinate
    from simulations.consortium import Simulation, open_consortium
    from simulations.grid import InProcessGrid

    class Clock:
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.first = 0.0

        def stage_begins(self, stage: Stage) -> None:
            self.first = time.perf_counter()

        def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None:
            self.seconds.append(seconds)

    with PeakMemory() as memory, tempfile.TemporaryDirectory() as run:
        clock, begun = Clock(), time.perf_counter()
        plan, folders = open_consortium(sites, _segment()[0])
        simulation = Simulation(plan, folders, Path(run), "inprocess", "phantoms")
        grid = InProcessGrid(simulation.client_app(), simulation.names)
        coordinate(
            grid,
            plan,
            Path(run),
            expected=len(folders),
            watcher=clock,
            engine="inprocess",
            source="phantoms",
            report=False,
        )
    middle = sorted(clock.seconds)[len(clock.seconds) // 2]
    return {"startup": clock.first - begun, "round": middle, "cpu": cpu_s(), "peak_mb": memory.peak_mb}


def draw(sites: Path) -> dict[str, float]:
    """Write the phantoms that the other children read, and fill their cache."""
    from fedspine.cohort.site import load_cohort
    from fedspine.phantom.writer import write_consortium

    for folder in write_consortium(sites, sites=4, patients=10, shape=(12, 128, 128)):
        load_cohort(folder)
    return {}


def phantoms(sites: Path) -> dict[str, float]:
    """Draw and write 40 phantoms of 5 contrasts, 12 slices of 128²; fill the cache that `cached` reads."""
    from fedspine.cohort.site import load_cohort
    from fedspine.phantom.writer import write_consortium

    folder = sites.parent / f"forty-{time.monotonic_ns()}"
    begun = time.perf_counter()
    written = write_consortium(folder, sites=1, patients=40, shape=(12, 128, 128))
    seconds = time.perf_counter() - begun
    load_cohort(written[0])
    return {"seconds": seconds}


def cached(sites: Path) -> dict[str, float]:
    """Read a cohort of 40 phantoms whose volumes are cached."""
    from fedspine.cohort.site import load_cohort

    folder = max(sites.parent.glob("forty-*")) / "site-1"
    begun = time.perf_counter()
    patients = len(load_cohort(folder).patients)
    return {"seconds": time.perf_counter() - begun, "patients": patients}


CHILDREN: dict[str, Callable[[Path], dict[str, float]]] = {
    "draw": draw,
    "plain": lambda sites: _step("plain"),
    "accumulated": lambda sites: _step("accumulated"),
    "private": lambda sites: _step("private"),
    "bare": bare,
    "engine": engine,
    "phantoms": phantoms,
    "cached": cached,
    "draw_series": draw_series,
    "decode": decode,
    "pydicom": pydicom_loop,
    "dicom2nifti": dicom2nifti,
    "hundreds": cached_hundreds,
}

if __name__ == "__main__":
    print(json.dumps(CHILDREN[sys.argv[1]](Path(sys.argv[2]))))

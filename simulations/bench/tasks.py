"""What privacy costs every task: a private step against a plain one that does the same work; children of `make bench`.

    python -m simulations.bench.tasks TASK private|plain

Both take a patient at a time (patients bring different numbers of slices, so there is no one batch of them), the same
public loss and the same optimiser; the private one clips every patient's gradient, adds noise once, and keeps the loss.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections.abc import Mapping

from fedspine.config import TASKS
from simulations.bench.memory import PeakMemory

STEPS, SECONDS, PATIENTS = 4, 3.0, 6
"""A child takes `STEPS` at least and goes on for `SECONDS`: of quick networks four steps are noise."""

KINDS = ("private", "plain")


def trained_tasks() -> list[str]:
    """Return every task that trains a network, the alias `gan` left out."""
    modules = {name: importlib.import_module(f"fedspine.tasks.{name}") for name in TASKS if name != "gan"}
    return [name for name, module in modules.items() if not hasattr(module, "MEASURES")]


def step_of(
    name: str, kind: str, device: str = "cpu", size: int = 64, options: Mapping[str, object] | None = None
) -> dict[str, float]:
    """Return seconds and peak memory (MB beyond the idle process) of a step of task `name` on six phantoms.

    Args:
        name: of the task.
        kind: one of `KINDS`.
        device: where the network is; memory is the CPU's in any case.
        size: of the phantoms' slices.
        options: of the stage.
    """
    import numpy as np
    import torch

    from fedspine.atlas.anchors import phantoms
    from fedspine.config import DataPlan, Plan, Stage
    from fedspine.plans.default import phantom_data
    from fedspine.privacy.sgd import private_gradient
    from fedspine.tasks._device import placed
    from fedspine.tasks._rounds import optimiser_of
    from fedspine.tasks._task import Trained, make, public_values

    torch.set_num_threads(1)
    torch.manual_seed(0)
    stage = Stage(name, name, trained="all", options=options or {})
    plan = Plan("bench", data=phantom_data(DataPlan(size=size, slices=6)), stage=(stage,))
    public_ones = {key: value.to(device) for key, value in public_values(plan, stage, {}).items()}
    task = make(plan, stage, public_ones)
    assert isinstance(task, Trained)
    model, there = task.build().to(device), torch.device(device)
    patients = [patient.to(there) for patient in phantoms(plan, PATIENTS, purpose=1)]
    optimiser, private = optimiser_of(task, model, 1e-4), task.private_parameters(model)
    noise = np.random.default_rng(0)
    context, draws = placed(model, torch.Generator().manual_seed(0))

    def plain() -> None:
        for patient in patients:
            loss = task.patient_loss(model, patient, draws)
            if loss is not None:
                (loss / len(patients)).backward()  # type: ignore[no-untyped-call]

    def clipped() -> None:
        released = private_gradient(
            private,
            patients,
            lambda patient: task.patient_loss(model, patient, draws),
            clip=1.0,
            noise_multiplier=1.0,
            expected=len(patients),
            loss_bound=task.loss_bound,
            generator=noise,
        )
        for parameter, gradient in zip(private, released.gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def step(number: int) -> None:
        with context:
            whole_step(number)
        if there.type != "cpu":
            torch.cuda.synchronize(there)

    def whole_step(number: int) -> None:
        optimiser.zero_grad()
        public = task.public_loss(model, draws, number)
        if public is not None:
            public.backward()  # type: ignore[no-untyped-call]
        plain() if kind == "plain" else clipped()
        optimiser.step()
        task.after_step(model)

    with PeakMemory() as memory:
        step(0)
        begun = time.perf_counter()
        taken: list[float] = []
        while len(taken) < STEPS or time.perf_counter() - begun < SECONDS:
            last = time.perf_counter()
            step(len(taken))
            taken.append(time.perf_counter() - last)
    return {"seconds": statistics.median(taken), "peak_mb": memory.beyond_idle_mb}


if __name__ == "__main__":
    print(json.dumps(step_of(sys.argv[1], sys.argv[2])))

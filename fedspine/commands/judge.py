"""`fedspine sheet`: judge what a run's generators make; `fedspine stress`: try its networks on harder images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedspine.errors import InputError

OUT = Console()

Run = Annotated[Path, typer.Argument(help="A run folder.")]
Data = Annotated[
    Path | None, typer.Option(help="A site folder, or a folder of them, with real patients; phantoms if left out.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; RUN/sheet or RUN/stress if left out.")]


def sheet_command(
    run: Run,
    data: Data = None,
    out: Out = None,
    made: Annotated[int, typer.Option(help="Images asked of each generator.", min=16)] = 256,
    steps: Annotated[int, typer.Option(help="Optimiser steps of each yardstick network.", min=1)] = 240,
) -> None:
    """Judge the synthetic images of a run: the same sheet of numbers for every generator, each beside its floor.

    With --data the numbers come from real patients without noise: a look for the eyes of whoever has these patients.
    """
    import torch

    from fedspine.commands.references import references
    from fedspine.evaluation.sheet import Budget, FewLesions, settings, sheet
    from fedspine.privacy.patient_sum import public_generator
    from fedspine.report.sheet_page import write_sheet
    from server.finished import read_finished

    torch.set_num_threads(1)  # networks this small wait for each other on more
    finished = read_finished(run)
    generators = finished.generators()
    if not generators:
        raise InputError("the run must have a stage that makes images", "none", "run a plan with a gan stage")
    real = references(run, finished.plan, data)
    budget = Budget(made=made, steps=steps)
    written: dict[str, Any] = {**settings(budget), "plan": finished.plan.name, "source": real.source}
    written |= {"generators": {}, "too few lesions": {}}
    for name, task, model in generators:
        OUT.print(f"judging {name}", soft_wrap=True, highlight=False)
        with torch.no_grad():
            images = task.synthetic(model, made, public_generator(finished.plan.seed, "sheet"))
        try:
            written["generators"][name] = sheet(images, real.trained, real.held_out, budget, finished.plan.seed)
        except FewLesions as error:
            OUT.print(f"{name} is left out: {error}", soft_wrap=True, highlight=False)
            written["too few lesions"][name] = error.found
    if not written["generators"]:
        raise InputError("one generator at least must make lesions", "none that does", "train them for longer")
    folder = out or run / "sheet"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "synthetic.json").write_text(json.dumps(written, indent=1, allow_nan=False), encoding="utf-8")
    OUT.print(f"sheet: {write_sheet(written, folder)}", soft_wrap=True, highlight=False)


def stress_command(run: Run, data: Data = None, out: Out = None) -> None:
    """Try a run's networks (segment, classify, levels) on harder images, and measure where they look.

    With --data the patients are the run's held-out ones and the numbers carry no noise: they stay where the data is.
    """
    import torch

    from fedspine.commands.references import references
    from fedspine.commands.stressed import stressed
    from fedspine.report.stress_page import write_stress
    from fedspine.tasks._task import Rated
    from server.finished import read_finished

    torch.set_num_threads(1)
    finished = read_finished(run)
    networks = [(stage, task, model) for stage, task, model in finished.trained() if isinstance(task, Rated)]
    if not networks:
        rule = "the run must have trained a network that can be scored"
        raise InputError(rule, "none", "run a plan that segments, classifies or finds levels")
    real = references(run, finished.plan, data)
    written: dict[str, Any] = {"format": 1, "plan": finished.plan.name, "source": real.source, "networks": {}}
    for stage, task, model in networks:
        OUT.print(f"trying {stage.name}", soft_wrap=True, highlight=False)
        written["networks"][stage.name] = stressed(finished.plan, task, model, real.held_out)
    folder = out or run / "stress"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stress.json").write_text(json.dumps(written, indent=1, allow_nan=False), encoding="utf-8")
    OUT.print(f"stress test: {write_stress(written, folder)}", soft_wrap=True, highlight=False)

"""What studies need beside `fedspine.tasks._federation`: noise for an epsilon, and starts and recipes kept in files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.errors import InputError
from fedspine.privacy.calibrate import calibrate
from fedspine.tasks._federation import start
from fedspine.tasks._task import Trained


def priced(plan: Plan, stage: Stage, epsilon: float | None, delta: float) -> tuple[Plan, Stage]:
    """Return plan and stage such that training `stage` alone costs a patient `epsilon` at `delta`.

    Sampling rate and steps are the same at every site, so one noise multiplier gives every site its epsilon.

    Args:
        plan: any.
        stage: whatever noise it names is solved for anew.
        epsilon: `None` trains without privacy.
        delta: probability with which epsilon may fail.
    """
    if epsilon is None:
        open_plan = replace(plan, privacy=PrivacyPlan("none", plan.privacy.epsilon, delta), stage=(stage,))
        return open_plan, stage
    quiet = replace(stage, noise_multiplier=0.0)
    solved = calibrate(replace(plan, privacy=PrivacyPlan("gaussian", epsilon, delta), stage=(quiet,)))
    return solved, solved.stage[0]


def same_recipe(file: Path, recipe: object) -> None:
    """Keep what results are made with beside them, in `file`.

    Raises:
        InputError: if those that are there were made otherwise.
    """
    if file.exists() and file.read_text("utf-8") != repr(recipe):
        raise InputError("a table must hold runs of one recipe", "another recipe's", "name another place with --out")
    file.write_text(repr(recipe), encoding="utf-8")


def kept_start(
    task: Trained,
    plan: Plan,
    stage: Stage,
    draw: Callable[[], Sequence[PatientTensors]],
    drawn: object,
    seed: int,
    folder: Path,
) -> dict[str, Tensor]:
    """Return what `start` gives, from `folder` if it was made there before.

    Args:
        task: with its settings.
        plan: grid and seed of the phantoms.
        stage: of public steps, their rate and augmentation.
        draw: gives the phantoms, and is called only where there is no start yet.
        drawn: whatever else tells these phantoms from others, such as their number.
        seed: of weights and steps.
        folder: where starts are kept.
    """
    grid = replace(plan.data, slices=0, classes=(), omics=(), markers=())
    parts = (stage.pretrain_steps, stage.pretrain_rate, stage.augment, task, grid, plan.seed, drawn, seed)
    file = folder / f"start-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}.safetensors"
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}")
        save_file(start(task, stage, draw(), seed), partial)
        partial.replace(file)
    return load_file(file)

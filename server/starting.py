"""Where a trained stage begins, and what the server adds between rounds: weights, phantoms, made patients.

Nothing here reads a patient: weights that are public or released, and phantoms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.errors import ConfigError
from fedspine.privacy.patient_sum import public_generator
from fedspine.tasks._rounds import pretrain, teach
from fedspine.tasks._slices import stacked
from fedspine.tasks._task import Generative, Trained, freezes, rebuilt
from server.vault import Progress

PRETRAIN_PHANTOMS = 160
"""Public phantoms that a stage's pre-training and public steps draw from, and made patients about as many."""

MADE_SLICES = 4
"""Slices of a made patient at most, where slices are made one by one."""

ENOUGH = 0.5
"""Share of the network's weights that a file to start from must fill; with less, it is another network's."""


@dataclass(frozen=True)
class Start:
    """What a stage begins with.

    Args:
        weights: of the whole network.
        taken: share of them that came from the stage's `initial` file.
    """

    weights: dict[str, Tensor]
    taken: float


def start(plan: Plan, stage: Stage, task: Trained, folder: Path, public: Sequence[PatientTensors]) -> Start:
    """Return the stage's first weights: fresh from the plan's seed, then `initial`, then pre-training.

    Args:
        plan: seed and data.
        stage: `initial` and pre-training.
        task: the stage's.
        folder: where `initial` lies: the plan's own.
        public: whom pre-training is on; see `teachers`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        model = task.build()
    taken = 0.0
    if stage.initial:
        found = initial_weights(stage, folder)
        taken = fill(model, found, stage)
    if stage.pretrain_steps:
        draws = public_generator(plan.seed, "pretrain", stage.name)
        pretrain(task, model, public, stage, draws)
    return Start({key: value.detach().clone() for key, value in model.state_dict().items()}, taken)


def initial_weights(stage: Stage, folder: Path) -> dict[str, Tensor]:
    """Return the arrays in the stage's `initial` file.

    Raises:
        ConfigError: if there is none, or it is not safetensors (a pickle could hold a program).
    """
    file = folder / stage.initial
    rule = f"initial of stage '{stage.name}' must be a .safetensors file below the plan's folder"
    if not file.is_file():
        raise ConfigError(rule, "no such file", "mend the path, or copy the weights there")
    try:
        return load_file(file)
    except (OSError, SafetensorError):
        raise ConfigError(rule, "another kind of file", "use models/STAGE.safetensors of a run folder") from None


def frozen(stage: Stage, folder: Path) -> dict[str, Tensor]:
    """Return what a measuring stage's `initial` file holds, as `frozen.TASK.*`: what all shared in an earlier run."""
    if not stage.initial or not freezes(stage):
        return {}
    return {f"frozen.{stage.task}.{key}": value for key, value in initial_weights(stage, folder).items()}


def fill(model: nn.Module, found: Mapping[str, Tensor], stage: Stage) -> float:
    """Load into `model` what has the same name, shape and kind and is finite; return the share of weights filled.

    A head for other classes stays fresh, which is what transfer learning wants.

    Raises:
        ConfigError: if less than `ENOUGH` fits.
    """
    wanted = model.state_dict()
    fits = {
        key: value
        for key, value in found.items()
        if key in wanted
        and wanted[key].shape == value.shape
        and wanted[key].dtype == value.dtype
        and bool(torch.isfinite(value).all())
    }
    share = float(sum(map(torch.numel, fits.values())) / sum(map(torch.numel, wanted.values())))
    if share < ENOUGH:
        rule = f"initial of stage '{stage.name}' must fill at least half of its network"
        raise ConfigError(rule, f"{share:.0%}", "use weights of a stage with the same task and options")
    model.load_state_dict({**wanted, **fits})
    return share


def teachers(plan: Plan, stage: Stage, progress: Progress) -> list[PatientTensors]:
    """Return whom pre-training and public steps use: phantoms, and about as many made patients if it names a maker."""
    if not (stage.public_steps or (stage.pretrain_steps and progress.round == 0)):
        return []
    patients = phantoms(plan, PRETRAIN_PHANTOMS, purpose=1)
    return [*patients, *made(plan, stage, progress, len(patients))] if stage.synthetic else patients


def public_steps(
    plan: Plan,
    stage: Stage,
    task: Trained,
    weights: Mapping[str, Tensor],
    patients: Sequence[PatientTensors],
    number: int,
    memory: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Return `weights` after the server's own steps of round `number` on public or made `patients`.

    `memory` keeps their optimiser's moments from round to round and is changed.
    """
    model = task.build()
    model.load_state_dict(dict(weights))
    draws = public_generator(plan.seed, "public", stage.name, number)
    teach(task, model, patients, stage, draws, number, memory)
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def made(plan: Plan, stage: Stage, progress: Progress, count: int) -> list[PatientTensors]:
    """Return about `count` patients made by the stage that `synthetic` names; the same at every start.

    Of a maker of single slices, `MADE_SLICES` of one class become one: a network that judges a patient from all slices
    would otherwise meet half of its teachers with one. They are made in parts, for a generator that makes all at
    once needs gigabytes.
    """
    source = plan.find(stage.synthetic)
    task, model = rebuilt(plan, source, progress.shared, progress.models)
    assert isinstance(task, Generative), "the plan was checked"
    every = task.synthetic(model, count, public_generator(plan.seed, "made", source.name, 0))
    each = min(plan.data.slices, MADE_SLICES) if len(every[0].images) == 1 else 1
    for part in range(1, each):
        every += task.synthetic(model, count, public_generator(plan.seed, "made", source.name, part))
    return stacked(every, each, by_class=True)

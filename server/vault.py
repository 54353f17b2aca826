"""What the coordinator keeps: a run folder in safe formats only, written so that a crash leaves the last whole state.

RUN/
  plan.toml            as run, noise multipliers solved
  metrics.json         released metrics, losses, costs
  models/STAGE.safetensors
  checkpoints/         weights after the last round, released values, progress.json
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedspine.config import Plan, plan_text
from fedspine.errors import InputError

Tensors = dict[str, Tensor]

BROKEN = (
    "a run that goes on must have its last checkpoint",
    "a damaged or missing one",
    "begin again in another folder",
)


@dataclass
class Progress:
    """Where a run stands; everything that the next round needs.

    Args:
        stage: index of the stage that comes next or is under way.
        round: rounds of it that are done.
        arrays: weights of the stage under way.
        memory: the server's moments and running average of that stage.
        models: stage to final weights.
        shared: released and public values for every site.
        own: site to released values for that site.
        numbers: what becomes `metrics.json`.
    """

    stage: int = 0
    round: int = 0
    arrays: Tensors = field(default_factory=dict)
    memory: Tensors = field(default_factory=dict)
    models: dict[str, Tensors] = field(default_factory=dict)
    shared: Tensors = field(default_factory=dict)
    own: dict[str, Tensors] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)


class Vault:
    """A run folder.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "models").mkdir(exist_ok=True)

    def begin(self, plan: Plan) -> Progress:
        """Write the plan and return where to go on: the start, or where a run of the same plan was cut off.

        Raises:
            InputError: if the folder holds another plan's run.
        """
        file = self.folder / "plan.toml"
        text = plan_text(plan)
        if file.exists() and file.read_text("utf-8") != text:
            raise InputError("a run folder must hold one plan's run", "another plan", "choose another folder")
        _write_text(file, text)
        return self.latest()

    def save(self, progress: Progress) -> None:
        """Write the state after a round; the last file written makes it count."""
        name = f"{progress.stage}-{progress.round}"
        _write_tensors(self.folder / "checkpoints" / f"{name}.safetensors", _flat(progress))
        previous = self._position()
        _write_text(
            self.folder / "checkpoints" / "progress.json",
            json.dumps({"file": name, "stage": progress.stage, "round": progress.round, "numbers": progress.numbers}),
        )
        if previous and previous["file"] != name:
            (self.folder / "checkpoints" / f"{previous['file']}.safetensors").unlink(missing_ok=True)

    def keep_model(self, stage: str, weights: Mapping[str, Tensor]) -> None:
        """Write a stage's final network."""
        _write_tensors(self.folder / "models" / f"{stage}.safetensors", dict(weights))

    def write_metrics(self, numbers: Mapping[str, Any]) -> None:
        """Write `metrics.json`."""
        _write_text(self.folder / "metrics.json", json.dumps(numbers, indent=1, allow_nan=False))

    def _position(self) -> dict[str, Any] | None:
        file = self.folder / "checkpoints" / "progress.json"
        if not file.exists():
            return None
        try:
            position: dict[str, Any] = json.loads(file.read_text("utf-8"))
        except ValueError:
            raise InputError(*BROKEN) from None
        return position

    def latest(self) -> Progress:
        """Return the last state that was saved, the start where none was."""
        position = self._position()
        if position is None:
            return Progress()
        progress = Progress(position["stage"], position["round"], numbers=position["numbers"])
        try:
            tensors = load_file(self.folder / "checkpoints" / f"{position['file']}.safetensors")
        except (OSError, SafetensorError):
            raise InputError(*BROKEN) from None
        for key, value in tensors.items():
            kind, owner, name = key.split("::")
            target = {"arrays": progress.arrays, "memory": progress.memory, "shared": progress.shared}.get(kind)
            if target is None:
                target = (progress.models if kind == "model" else progress.own).setdefault(owner, {})
            target[name] = value
        return progress


def _flat(progress: Progress) -> Tensors:
    flat = {f"arrays::-::{k}": v for k, v in progress.arrays.items()}
    flat |= {f"memory::-::{k}": v for k, v in progress.memory.items()}
    flat |= {f"shared::-::{k}": v for k, v in progress.shared.items()}
    for kind, groups in (("model", progress.models), ("own", progress.own)):
        flat |= {f"{kind}::{owner}::{k}": v for owner, group in groups.items() for k, v in group.items()}
    return flat


def _write_tensors(file: Path, tensors: Tensors) -> None:
    partial = file.with_suffix(".partial")
    save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, partial)
    os.replace(partial, file)


def _write_text(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)

"""A run that is over, read back: its plan, and the tasks that it trained with their networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedspine.config import Plan, Stage, load_plan
from fedspine.errors import InputError
from fedspine.tasks._task import Generative, Measured, Trained, load_weights, make
from server.vault import Progress, Vault


@dataclass(frozen=True, eq=False)
class Finished:
    """A run.

    Args:
        plan: as run.
        progress: its final state.
    """

    plan: Plan
    progress: Progress

    def trained(self) -> list[tuple[Stage, Trained, nn.Module]]:
        """Return every trained stage, its task, and its network in evaluation mode."""
        found = []
        for stage in self.plan.stage:
            weights = self.progress.models.get(stage.name)
            if weights is None:
                continue
            task = make(self.plan, stage, self.progress.shared)
            assert isinstance(task, Trained)
            model = task.build()
            load_weights(model, weights)
            found.append((stage, task, model.eval()))
        return found

    def generators(self) -> list[tuple[str, Generative, nn.Module | None]]:
        """Return the name of every stage that makes patients, its task, and its network where it has one."""
        found: list[tuple[str, Generative, nn.Module | None]] = [
            (stage.name, task, model) for stage, task, model in self.trained() if isinstance(task, Generative)
        ]
        for stage in self.plan.stage:
            if stage.of or stage.name in self.progress.models:
                continue
            task = make(self.plan, stage, self.progress.shared)
            if isinstance(task, Measured) and isinstance(task, Generative):
                found.append((stage.name, task, None))
        return found


def read_finished(run: Path) -> Finished:
    """Return the run of a folder.

    Raises:
        InputError: if no run has come to its end there.
    """
    if not (run / "plan.toml").is_file() or not (run / "checkpoints").is_dir():
        raise InputError("a run folder must hold a plan and its checkpoints", "neither or one", "name a run's folder")
    plan = load_plan((run / "plan.toml").read_text("utf-8"))
    progress = Vault(run).latest()  # whatever settings plans have got since
    if progress.stage < len(plan.stage):
        raise InputError("the run must have come to its end", "stages to go", "start it again with the same --out")
    return Finished(plan, progress)

"""Progress bars of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fedspine.config import Stage

OUT = Console()


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show one progress bar; yields a function of (done, total)."""
    with _progress() as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _progress() -> Progress:
    columns = (TextColumn("{task.description:24}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=OUT)


class StageBars:
    """A bar per stage that moves a step a round."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def stage_begins(self, stage: Stage) -> None:
        """Show the stage's bar."""
        self._tasks[stage.name] = self._progress.add_task(stage.name, total=stage.rounds)

    def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None:
        """Move it."""
        self._progress.update(self._tasks[stage.name], completed=round_number)


@contextmanager
def stage_bars() -> Iterator[StageBars]:
    """Show a bar per stage; yields the watcher of a run."""
    with _progress() as progress:
        yield StageBars(progress)

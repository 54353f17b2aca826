"""What is noted of a stage while it runs, for `metrics.json`: all of it released or public."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fedspine.config import Stage
from fedspine.tasks._task import Trained
from server.sites import Reply
from server.vault import Progress


def entry_of(stage: Stage) -> dict[str, Any]:
    """Return a stage's entry before its first round."""
    return {
        "name": stage.name,
        "task": stage.task,
        "of": stage.of,
        "fold": stage.fold,
        "rounds": stage.rounds,
        "steps": stage.steps,
        "sample_rate": stage.sample_rate,
        "noise_multiplier": stage.noise_multiplier,
        "clip": stage.clip,
        "seconds": 0.0,
        "bytes": {},
        "asked": {},
        "answered": {},
        "refused": {},
        "loss": {},
    }


def note_losses(entry: dict[str, Any], replies: Mapping[str, Reply], patients: Mapping[str, int], noise: float) -> None:
    """Add a round's released losses to the stage's curves; a site without one leaves no point."""
    losses = {name: reply.numbers["loss"] for name, reply in replies.items() if "loss" in reply.numbers}
    total = sum(patients[name] for name in losses)
    note_loss(entry, sum(loss * patients[name] for name, loss in losses.items()) / total if total else 0.0, noise)
    for name, loss in losses.items():
        entry["loss"]["sites"].setdefault(name, []).append(loss)


def note_loss(entry: dict[str, Any], pooled: float, noise: float) -> None:
    """Add a round's released loss of all sites together, whose noise has the standard deviation `noise`."""
    curves = entry["loss"] or {"pooled": [], "sites": {}, "noise": noise}
    curves["pooled"].append(pooled)
    entry["loss"] = curves


def note_gan(progress: Progress, task: Trained, entry: Mapping[str, Any], draws: torch.Generator) -> None:
    """Add a point to a GAN's two curves: the released loss on real images, and what no patient enters."""
    model = task.build()
    model.load_state_dict(progress.arrays)
    parts: Mapping[str, float] = task.public_losses(model, draws)  # type: ignore[attr-defined]
    curves = progress.numbers["gan"]
    curves["critic"].append(entry["loss"]["pooled"][-1] + parts["critic on made images"])
    curves["generator"].append(parts["generator"])


def merge(numbers: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add `more` to what was noted, a level down where both have a table."""
    for key, value in more.items():
        numbers[key] = {**numbers.get(key, {}), **value} if isinstance(value, dict) else value

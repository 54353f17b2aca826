"""The alarm for mode collapse: a generator, or translator, that makes one image again and again is not handed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedspine.tasks._diversity import Diverse
from fedspine.tasks._task import Trained


@dataclass(frozen=True)
class Checked:
    """What is left of a round's weights.

    Args:
        weights: the round's, with the generator of the round before where this one collapsed.
        diversity: of made images, as a share of real ones'; that of this round's generator, kept or not.
        collapsed: whether it fell below the least that the task permits.
    """

    weights: dict[str, Tensor]
    diversity: float
    collapsed: bool


def checked(
    task: Trained, before: Mapping[str, Tensor], after: Mapping[str, Tensor], draws: torch.Generator
) -> Checked | None:
    """Return the weights to go on with, or `None` where the task makes nothing whose diversity is known.

    The critic goes on as it is: it has just learned what the collapsed generator makes.

    Args:
        task: the stage's.
        before: weights before the round, of a generator that has not collapsed or is the first.
        after: weights after it.
        draws: public randomness.
    """
    if not isinstance(task, Diverse):
        return None
    model = task.build()
    model.load_state_dict(dict(after))
    diversity = task.diversity(model, draws)
    if diversity is None:
        return None
    if diversity >= task.least_diversity:
        return Checked(dict(after), diversity, False)
    made_by = tuple(task.made_by)
    kept = {key: before[key] if key.startswith(made_by) else value for key, value in after.items()}
    return Checked(kept, diversity, True)

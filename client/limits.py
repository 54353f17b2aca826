"""What the gate holds a round's answer against: how large a noised sum, or a change of weights, can honestly be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedspine.config import Stage
from fedspine.errors import EgressBlocked
from fedspine.privacy import bounds
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Trained

Limit = Callable[[Mapping[str, Tensor], Mapping[str, float]], None]
"""Raises EgressBlocked where arrays or numbers are not what the mechanism can have made."""


def sum_limit(strength: Strength, patients: int) -> Limit:
    """Return the limit on a noised sum over at most `patients` terms; none where the plan has no privacy."""
    sigma, clip = strength.noise_multiplier, strength.clip

    def within(arrays: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        _count(numbers, patients)
        if not sigma:
            return
        values = list(arrays.values())
        norm, entries = bounds.joint_norm(values), sum(value.numel() for value in values)
        if norm > bounds.longest(patients, clip, sigma, entries):
            raise EgressBlocked("a sum must not be longer than clipped terms and noise make it; nothing was sent")
        if norm < bounds.shortest(patients, clip, sigma, entries):
            raise EgressBlocked("a sum must not be shorter than its noise makes it; nothing was sent")
        found, most = bounds.repeats(torch.cat([value.reshape(-1) for value in values]), sigma * clip)
        if found > most:
            raise EgressBlocked("a sum's entries must differ as noise makes them; equal ones found; nothing was sent")

    return within


def words_limit(bits: int, patients: int) -> Limit:
    """Return the limit on a vector under masks: it must look as if anybody had drawn it, uniform over all words.

    The mean of n such numbers' absolute values, 0 to 1, is 1/2 with a standard deviation of 1/√(12n), and beyond seven
    of them once in 10¹¹. A long vector that was never masked is far from it, since the width leaves room above its sum.
    """

    def within(arrays: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        _count(numbers, patients)
        for value in arrays.values():
            mean = float((value.double() / 2.0 ** (bits - 1)).abs().mean())
            if abs(mean - 0.5) > 7 / math.sqrt(12 * value.numel()):
                raise EgressBlocked("a secure sum's part must be masked; found one that is not; nothing was sent")

    return within


def weights_limit(
    task: Trained,
    model: nn.Module,
    optimiser: torch.optim.Adam,
    stage: Stage,
    strength: Strength,
    patients: int,
) -> Limit:
    """Return the limit on a trained network's weights, to be asked for before training, while `model` is as it came.

    Argument. Every weight that moves is moved by Adam alone, `stage.steps` times, each time at most as far as
    `bounds.adam_travel` says, whatever the gradients. A weight that is not the optimiser's stays as it came, or is a
    running average of one that is, by the same name below another part of the network; then it lies between where it
    was and where that one has been. So values that are no trained weights (pixels, a table) do not pass.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    before = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
    travel = {
        names[id(parameter)]: bounds.adam_travel(group["initial_lr"], group["betas"], stage.steps, _taken(optimiser))
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    loss = bounds.loss_range(
        patients, stage.sample_rate * patients, strength.noise_multiplier, task.loss_bound, LOSS_NORM
    )

    def within(arrays: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        _count(numbers, patients)
        if abs(numbers.get("loss", 0.0)) > loss:
            raise EgressBlocked("a loss must not be larger than clamped losses and noise make it; nothing was sent")
        for name, value in arrays.items():
            if not bool(((value - before[name]).abs() <= _reach(name, before, travel)).all()):
                raise EgressBlocked("weights must not move further than the round's steps take them; nothing was sent")

    return within


def _taken(optimiser: torch.optim.Adam) -> int:
    """Return how many steps the optimiser has taken, rounds that were asked for again among them."""
    return max((int(state["step"]) for state in optimiser.state.values() if "step" in state), default=0)


def _reach(name: str, before: Mapping[str, Tensor], travel: Mapping[str, float]) -> Tensor:
    """Return how far each entry of the weights called `name` may have moved."""
    slack = before[name].abs() * 1e-5 + 1e-7  # of float32
    if name in travel:
        return slack + travel[name] * (1 + bounds.ROUNDING)
    leader = next((one for one in travel if _follows(name, one, before)), None)
    if leader is None:
        return slack
    return slack + (before[leader] - before[name]).abs() + travel[leader] * (1 + bounds.ROUNDING)


def _follows(name: str, leader: str, before: Mapping[str, Tensor]) -> bool:
    same = name.partition(".")[2] == leader.partition(".")[2] != ""
    return same and before[name].shape == before[leader].shape


def _count(numbers: Mapping[str, float], patients: int) -> None:
    if numbers.get("patients", patients) != patients:
        raise EgressBlocked("the number of patients must be the enrolled one; found another; nothing was sent")

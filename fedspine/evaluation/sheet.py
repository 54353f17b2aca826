"""The sheet: how made images compare with real ones, the same numbers for every generator, each beside its floor.

A number for made images means little alone: with few patients, real images lie far from other real images too. So each
has a *floor*: what the same computation gives for real patients in the place of made ones. Why these numbers, and how
each of them fails, is said in docs/decisions/0018-a-sheet-for-synthetic-images.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.errors import InputError
from fedspine.evaluation.bootstrap import Estimate, mean_interval
from fedspine.evaluation.distances import Overlap, frechet, kernel_distance, overlap
from fedspine.evaluation.diversity import likeness
from fedspine.evaluation.feature_space import NAME, embed
from fedspine.evaluation.neighbours import memorisation
from fedspine.evaluation.radiomics import radiomic_features
from fedspine.evaluation.slices import Slices, joined, lesion_slices
from fedspine.evaluation.usefulness import STEPS, dice_by_patient, trained_on

FORMAT = 1
MADE = 256
"""Images asked of a generator."""
SPLITS = 40
"""Times that the real patients are halved."""
FEWEST = 4
"""Real patients with a lesion and a contrast, without whom there is nothing to compare."""


@dataclass(frozen=True)
class Budget:
    """How much computing a sheet may take; sheets of different budgets do not compare.

    Args:
        made: images of the generator.
        splits: halvings of the real patients.
        steps: optimiser steps of each network that is trained.
    """

    made: int = MADE
    splits: int = SPLITS
    steps: int = STEPS


@dataclass(frozen=True)
class Entry:
    """One number of the sheet.

    Args:
        value: for made images.
        floor: the same for real patients in their place; `None` where there is no such thing.
    """

    value: Estimate
    floor: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**self.value.as_dict(), "floor": self.floor.as_dict() if self.floor is not None else None}


class FewLesions(InputError):
    """Raised when a generator makes too few lesions to be judged; others of the run may make more."""

    def __init__(self, found: int) -> None:
        remedy = "train the generator for longer, or on more patients"
        super().__init__(f"{FEWEST} made images must show a lesion for a sheet of them", str(found), remedy)


def sheet(
    made: Sequence[PatientTensors],
    trained: Sequence[PatientTensors],
    held_out: Sequence[PatientTensors],
    budget: Budget | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the numbers of one generator as JSON has them; all from slices that hold a lesion.

    Args:
        made: from the generator.
        trained: the real patients whom the generator was trained on.
        held_out: real patients whom it was not.
        budget: of computing.
        seed: of every draw.

    Raises:
        FewLesions: if the generator makes too few.
        InputError: if too few real patients have one.
    """
    allowed = budget or Budget()
    images = lesion_slices(made)
    sides = [lesion_slices(side) for side in (trained, held_out)]
    if images is None or images.patients < FEWEST:
        raise FewLesions(images.patients if images is not None else 0)
    if sides[0] is None or sides[1] is None or sides[0].patients + sides[1].patients < FEWEST:
        raise InputError(f"a sheet needs {FEWEST} real patients with a lesion", "fewer", "give more patients")
    real = joined(sides[0], sides[1])
    entries = {
        **_distances(real, images, allowed.splits, seed),
        **_variety(real, images, seed),
        **_use(sides[0], sides[1], images, allowed.steps, seed),
        **_memory(sides[0], sides[1], images, seed),
    }
    return {
        "entries": {name: entry.as_dict() for name, entry in entries.items()},
        "made": len(made),
        "made with a lesion": images.patients,
        "trained": sides[0].patients,
        "held out": sides[1].patients,
    }


def settings(budget: Budget) -> dict[str, Any]:
    """Return what must be the same in two sheets that are compared."""
    return {"format": FORMAT, "space": NAME, "budget": {f.name: getattr(budget, f.name) for f in fields(budget)}}


Space = Callable[[Slices, int], Tensor]

LEAST_SPREAD = 1e-2
"""The least deviation by which a feature is scaled: a hundredth, where the brightest tissue is about 1."""


def _features(slices: Slices, contrast: int) -> Tensor:
    with torch.no_grad():
        return embed(slices.images[:, contrast : contrast + 1])


def _radiomics(slices: Slices, contrast: int) -> Tensor:
    return radiomic_features(slices.images[:, contrast], slices.masks)


def _distances(real: Slices, made: Slices, splits: int, seed: int) -> dict[str, Entry]:
    """Return distances and overlap, made against half of the real patients, and the other half in its place.

    The intervals hold the middle 95 % of the halvings: they say how much hangs on which patients there are.
    """
    spaces: dict[str, Space] = {"features": _features, "radiomics": _radiomics}
    drawn: dict[str, list[tuple[float, float]]] = {}
    for name, space in spaces.items():
        per_contrast = [_one_contrast(space, real, made, c, splits, seed) for c in range(real.images.shape[1])]
        known = [one for one in per_contrast if one is not None]
        if not known:
            raise InputError("real and made images must share a contrast", "none", "choose another plan")
        for key in known[0]:
            drawn[f"{key}, {name}"] = np.mean([one[key] for one in known], axis=0).tolist()
    return {name: Entry(*(_spread(np.array(values)[:, side]) for side in (0, 1))) for name, values in drawn.items()}


def _one_contrast(
    space: Space, real: Slices, made: Slices, contrast: int, splits: int, seed: int
) -> dict[str, list[tuple[float, float]]] | None:
    """Return of every split (made against a half, the other half against it); `None` where too few have the contrast.

    Features are scaled by the real images' deviation, so that none drowns the others; by `LEAST_SPREAD` where that is
    less. A feature that is the same in all real images (the dark background of ADC maps) would drown all.
    """
    there, ours = (side.at(side.present[:, contrast] > 0) for side in (real, made))
    people = torch.unique(there.whose).tolist()
    if len(people) < FEWEST or len(ours.images) < FEWEST:
        return None
    real_points, made_points = (space(side, contrast) for side in (there, ours))
    centre, spread = real_points.mean(0), real_points.std(0).clamp(min=LEAST_SPREAD)
    real_points, made_points = ((points - centre) / spread for points in (real_points, made_points))
    random = np.random.default_rng([seed, contrast])
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(splits):
        order = random.permutation(people)
        half, rest = (
            torch.isin(there.whose, torch.from_numpy(side)).nonzero().flatten().numpy()
            for side in (order[: len(order) // 2], order[len(order) // 2 :])
        )
        count = min(len(half), len(rest), len(made_points))
        reference, other = (real_points[random.choice(side, count, replace=False)] for side in (half, rest))
        ours_now = made_points[random.choice(len(made_points), count, replace=False)]
        for key, pair in _compared(reference, ours_now, other).items():
            found.setdefault(key, []).append(pair)
    return found


def _compared(reference: Tensor, made: Tensor, other: Tensor) -> dict[str, tuple[float, float]]:
    sides = [
        {
            "Fréchet distance": frechet(reference, points),
            "kernel distance": kernel_distance(reference, points),
            **_named(overlap(reference, points)),
        }
        for points in (made, other)
    ]
    return {key: (sides[0][key], sides[1][key]) for key in sides[0]}


def _named(found: Overlap) -> dict[str, float]:
    return {field.name: float(getattr(found, field.name)) for field in fields(found)}


def _spread(values: np.ndarray) -> Estimate:
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(float(values.mean()), float(low), float(high))


def _variety(real: Slices, made: Slices, seed: int) -> dict[str, Entry]:
    """Return how alike pairs of made images are, and pairs of real ones; over the contrasts that all of them have."""
    shared = ((real.present > 0).all(0) & (made.present > 0).any(0)).nonzero().flatten()
    if not len(shared):
        shared = real.present.mean(0).argmax().reshape(1)
    sides = []
    for side in (made, real):
        complete = side.at((side.present[:, shared] > 0).all(1))
        sides.append(likeness(complete.images[:, shared], complete.whose.tolist(), seed=seed))
    return {"likeness of pairs (MS-SSIM)": Entry(sides[0], sides[1])}


def _use(trained: Slices, held_out: Slices, made: Slices, steps: int, seed: int) -> dict[str, Entry]:
    """Return the Dice of networks trained on one kind of slice and tested on another."""
    pools = {"made": (made,), "real": (trained,), "both": (trained, made)}
    networks = {name: trained_on(*pool, steps=steps, seed=seed) for name, pool in pools.items()}

    def dice(name: str, test: Slices) -> Estimate:
        return mean_interval(dice_by_patient(networks[name], test), seed=seed)

    real_on_real = dice("real", held_out)
    return {
        "Dice, trained on made, tested on real": Entry(dice("made", held_out), real_on_real),
        "Dice, trained on both, tested on real": Entry(dice("both", held_out), real_on_real),
        "Dice, trained on real, tested on made": Entry(dice("real", made), real_on_real),
    }


def _memory(trained: Slices, held_out: Slices, made: Slices, seed: int) -> dict[str, Entry]:
    """Return how near made images come to patients who trained, as pixels and as features."""
    even = Estimate(1.0, math.nan, math.nan)
    found: dict[str, Entry] = {}
    for name, space in (("pixels", _pixels), ("features", _all_features)):
        points, ones, others = (space(side) for side in (made, trained, held_out))
        memory = memorisation(points, _by_patient(ones, trained), _by_patient(others, held_out), seed=seed)
        found[f"distance to trained over held-out, {name}"] = Entry(memory.ratio, even)
        found[f"membership by distance (AUC), {name}"] = Entry(memory.nearer, Estimate(0.5, math.nan, math.nan))
        found[f"closest trained patient over held-out, {name}"] = Entry(
            Estimate(memory.closest, math.nan, math.nan), None
        )
    return found


def _pixels(slices: Slices) -> Tensor:
    return slices.shrunk(32).images.flatten(1)


def _all_features(slices: Slices) -> Tensor:
    """Return features of all contrasts side by side, those of a missing one at the mean of phantoms."""
    parts = [_features(slices, c) * slices.present[:, c : c + 1] for c in range(slices.images.shape[1])]
    return torch.cat(parts, dim=1)


def _by_patient(points: Tensor, slices: Slices) -> list[Tensor]:
    return [points[slices.whose == patient] for patient in torch.unique(slices.whose)]

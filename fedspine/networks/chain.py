"""From maps to named vertebrae: peaks of the heat map, put in the order of a spine by dynamic programming.

One body looks like the next, so a single pixel's name is often off by one, and all names of a patient err alike. What a
spine cannot do is repeat a level or go back: the names of all bodies are chosen together, down the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 0.25
"""Heat below which a peak is no body."""

APART = 0.03
"""Peaks nearer than this share of the image's side are one; the shortest bodies lie 0.07 apart."""

MOST = 32
"""Peaks looked at: more than there are levels."""

SKIPPED = 1.5
"""What it costs to pass over a level, in units of a name's logarithm: bodies are seldom missed between others."""


@dataclass(frozen=True, eq=False)
class Found:
    """The vertebrae of one patient, from head to feet.

    Args:
        places: (seen, 2), row and column in pixels.
        slices: (seen,), along the slices.
        names: (seen,), indices into `cohort.levels.VERTEBRAE`, growing.
        heat: (seen,), in [0, 1].
    """

    places: Tensor = field(repr=False)
    slices: Tensor = field(repr=False)
    names: Tensor = field(repr=False)
    heat: Tensor = field(repr=False)


def peaks(heat: Tensor) -> Tensor:
    """Return the places (peak, 2) where the heat map, logits (row, column), is highest within `APART`, downwards."""
    reach = max(1, round(APART * heat.shape[0]))
    highest = F.max_pool2d(heat[None, None], 2 * reach + 1, 1, reach)[0, 0]
    tops = (heat == highest) & (heat > math.log(LEAST / (1 - LEAST)))
    rows, columns = tops.nonzero(as_tuple=True)
    best = heat[rows, columns].argsort(descending=True)[:MOST]
    rows, columns = rows[best], columns[best]
    exact = torch.stack([_between(heat, rows, columns, 0), _between(heat, rows, columns, 1)], dim=1)
    places = torch.stack([rows, columns], dim=1) + exact
    # two pixels that are equally hot are one body
    again = torch.cdist(places, places).tril(-1).masked_fill(torch.ones(len(places), len(places)).triu() > 0, math.inf)
    places = places[~(again < reach).any(1)]
    return places[places[:, 0].argsort()]


def _between(heat: Tensor, rows: Tensor, columns: Tensor, axis: int) -> Tensor:
    """Return how far from its pixel a peak's parabola along `axis` has its top, within half a pixel."""
    padded = F.pad(heat[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    step = torch.tensor([1, 0]) if axis == 0 else torch.tensor([0, 1])
    before, here, after = (padded[rows + 1 + k * step[0], columns + 1 + k * step[1]] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = torch.where(bend < -1e-6, 0.5 * (before - after) / bend, torch.zeros_like(bend))
    return shift.clamp(-0.5, 0.5)


def read(maps: Tensor, places: Tensor) -> Tensor:
    """Return the values of maps (channel, row, column) at places (place, 2) in pixels: (place, channel), bilinear."""
    sides = torch.tensor(maps.shape[1:])
    grid = ((2 * places + 1) / sides - 1).flip(-1)  # columns first, from -1 to 1 between the outer edges
    values = F.grid_sample(maps[None], grid[None, None].to(maps), align_corners=False, padding_mode="border")
    return values[0, :, 0].T


def ordered(gain: Tensor, scores: Tensor) -> list[tuple[int, int]]:
    """Return (candidate, level) pairs, both growing, of the largest sum of `gain` and `scores`.

    Args:
        gain: (candidate,), for taking it at all, negative for one that had better be left out.
        scores: (candidate, level), for each name.
    """
    candidates, levels = scores.shape
    best, came = gain[:, None] + scores, torch.full((candidates, levels, 2), -1)
    apart = torch.arange(levels)[:, None] - torch.arange(levels)[None]  # (from, to), negative downwards
    step = torch.where(apart < 0, SKIPPED * (apart + 1), -math.inf)
    own = best.clone()
    for i in range(1, candidates):
        value, origin = (best[:i, :, None] + step).flatten(0, 1).max(0)  # over (earlier candidate, its level)
        better = value + own[i] > best[i]
        best[i] = torch.where(better, value + own[i], best[i])
        came[i] = torch.where(better[:, None], torch.stack([origin // levels, origin % levels], dim=1), came[i])
    if not candidates or float(best.max()) <= 0:
        return []
    place = divmod(int(best.argmax()), levels)
    chain = [place]
    while (before := came[place].tolist())[0] >= 0:
        place = (before[0], before[1])
        chain.append(place)
    return chain[::-1]


def found(heat: Tensor, names: Tensor, weights: Tensor) -> Found:
    """Return the vertebrae in a patient's maps; see `vertebrae.Finder`."""
    places = peaks(heat)
    logits = read(heat[None], places)[:, 0]
    gain = (logits - math.log(LEAST / (1 - LEAST))).clamp(max=4.0) + 1.0
    scores = read(names, places).log_softmax(-1)
    chain = ordered(gain, scores - scores.amax(-1, keepdim=True) if len(places) else scores)
    kept = torch.tensor([candidate for candidate, _ in chain], dtype=torch.long)
    share = read(weights, places[kept]) if len(kept) else torch.zeros(0, len(weights))
    return Found(
        places=places[kept],
        slices=share @ torch.arange(len(weights), dtype=torch.float32),
        names=torch.tensor([level for _, level in chain], dtype=torch.long),
        heat=logits[kept].sigmoid(),
    )

"""Make one DWI and one ADC map of the many volumes of a diffusion series, and give stored maps one unit.

The parts of a diffusion acquisition are the volumes of one study, grid and echo time whose b-value is known: one for
each b-value, direction and repetition, those of b = 0 among them. Out of them come two series:

- *DWI*: the geometric mean over the directions at the b-value nearest to 800 s/mm² (the trace-weighted image).
- *ADC*: the slope of the logarithm of these means over the b-values, by least squares (Le Bihan et al. 1986, Radiology
  161:401), where there are two b-values at least 200 s/mm² apart. Below 5 % of the brightest signal at the lowest
  b-value there is noise only, and the map is 0. It is marked as computed, and a stored map goes before it.

Vendors store ADC maps in mm²/s, 10⁻³ or 10⁻⁶ mm²/s, and seldom say which. Tissue lies between 300 and 3,000 in
10⁻⁶ mm²/s, so the median of a map tells: the power of 1,000 that brings it nearest to 1,000 makes that unit of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.cache import Cache, key_of
from fedspine.cohort.contrast import DIFFUSION_FROM
from fedspine.cohort.patient import Rejected, Volume
from fedspine.cohort.select import Candidate

USUAL_B_VALUE = 800.0
LEAST_SPREAD = 200.0
# no scanner goes beyond; what does is a misread element
HIGHEST_B_VALUE = 50_000.0
# b-values that differ by less are one: vendors write 0.004 for 0, and 995 for 1000
SAME_B_VALUE = 10.0
NOISE = 0.05
# the least signal that has a logarithm, as a share of the largest
FLOOR = 1e-4
UNIT, UNIT_STEP = 1e6, 1e3
TYPICAL_ADC = 1000.0
LEAST_DIRECTIONS = 3

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Desk:
    """Where maps are computed.

    Args:
        cache: keeps what was computed; nothing is kept without.
        rejected: where the parts note what they refuse.
        trial: whether only to ask the parts for their voxels, and compute nothing.
    """

    cache: Cache | None
    rejected: list[Rejected]
    trial: bool = False


def with_maps(candidates: Sequence[Candidate], desk: Desk) -> list[Candidate]:
    """Return `candidates` with the parts of each diffusion acquisition replaced by its DWI and its ADC map."""
    groups: dict[Hashable, list[Candidate]] = defaultdict(list)
    result = []
    for one in candidates:
        if _is_part(one):
            groups[_acquisition(one)].append(one)
        elif one.contrast == "ADC":
            result.append(replace(one, load=partial(_in_unit, one, desk)))
        else:
            result.append(one)
    for parts in groups.values():
        weighted = any(one.contrast == "DWI" for one in parts)
        result += _maps(parts, desk) if weighted else parts
    return result


def _is_part(one: Candidate) -> bool:
    b_value = one.scanner.b_value
    return b_value is not None and 0 <= b_value <= HIGHEST_B_VALUE and one.contrast in ("DWI", "other")


def _acquisition(one: Candidate) -> Hashable:
    """Return what all parts of one acquisition share."""
    grid = one.grid
    affine = tuple(np.round(grid.affine, 3).ravel() + 0.0)
    echo_ms = None if one.scanner.echo_time_ms is None else round(one.scanner.echo_time_ms)
    return one.study, one.day, one.frame_of_reference, grid.shape, affine, echo_ms


def _maps(parts: Sequence[Candidate], desk: Desk) -> list[Candidate]:
    """Return the DWI and, where the b-values allow it, the ADC of the parts of one acquisition."""
    by_b: dict[float, list[Candidate]] = defaultdict(list)
    for one in sorted(parts, key=lambda one: (one.rank, one.where)):
        by_b[round((one.scanner.b_value or 0.0) / SAME_B_VALUE) * SAME_B_VALUE].append(one)
    directed = {b_value: _directions(several) for b_value, several in sorted(by_b.items())}
    high = [b_value for b_value in directed if b_value >= DIFFUSION_FROM]
    usual = min(high, key=lambda b_value: (abs(b_value - USUAL_B_VALUE), b_value))
    first = directed[usual][0]
    loaded = _once(parts)
    mean = partial(_computed, "dwi", first, {usual: directed[usual]}, loaded, lambda logs: np.exp(logs[usual]), desk)
    made = [first if len(directed[usual]) == 1 else replace(first, load=mean)]
    if max(directed) - min(directed) >= LEAST_SPREAD:
        adc = replace(first, contrast="ADC", computed=True, scanner=replace(first.scanner, b_value=None), key="")
        made.append(replace(adc, load=partial(_computed, "adc", adc, directed, loaded, _slope, desk)))
    return made


def _directions(parts: Sequence[Candidate]) -> list[Candidate]:
    """Return the parts of one b-value that are averaged: a scanner may add its own mean to the directions."""
    directed = [one for one in parts if any(one.gradient)]
    return directed if len(directed) >= LEAST_DIRECTIONS else list(parts)


def _once(parts: Sequence[Candidate]) -> Callable[[Candidate], Volume | None]:
    """Return a function that loads each of `parts` at most once, so that a refusal is noted once."""
    known: dict[int, Volume | None] = {}

    def load(one: Candidate) -> Volume | None:
        if id(one) not in known:
            known[id(one)] = one.load()
        return known[id(one)]

    return load


def _computed(
    kind: str,
    like: Candidate,
    parts: Mapping[float, Sequence[Candidate]],
    load: Callable[[Candidate], Volume | None],
    compute: Callable[[Mapping[float, Array]], Array],
    desk: Desk,
) -> Volume | None:
    """Return the map that `compute` makes of the mean logarithms of `parts` by b-value, or `None` where it cannot."""
    cache = desk.cache if all(one.key for several in parts.values() for one in several) else None
    key = key_of(kind, (f"{b_value} {one.key}" for b_value, several in parts.items() for one in several))
    voxels = cache.array(key) if cache is not None and cache.get(key) is not None else None
    if voxels is None:
        noted = len(desk.rejected)
        found = {b: [one for one in map(load, several) if one is not None] for b, several in parts.items()}
        found = {b: several for b, several in found.items() if several}
        if not found or max(found) < DIFFUSION_FROM or (kind == "adc" and max(found) - min(found) < LEAST_SPREAD):
            return None
        if desk.trial:
            return Volume(np.broadcast_to(np.float32(0), like.grid.shape), like.grid.affine, like.contrast)
        voxels = compute({b_value: _mean_log(several) for b_value, several in found.items()})
        if cache is not None and len(desk.rejected) == noted:  # else the parts shall say again what is wrong with them
            cache.put(key, {})
            voxels = cache.put_array(key, voxels)
    return Volume(voxels, like.grid.affine, like.contrast, like.scanner, computed=like.computed)


def _mean_log(volumes: Sequence[Volume]) -> Array:
    """Return the mean over `volumes` of the logarithm of their voxels, (slice, row, column)."""
    total = np.zeros(volumes[0].voxels.shape, np.float32)
    for volume in volumes:
        values = np.asarray(volume.voxels, np.float32)
        least = max(float(values.max()) * FLOOR, float(np.finfo(np.float32).tiny))
        total += np.log(np.maximum(values, np.float32(least)))
    return total / np.float32(len(volumes))


def _slope(logs: Mapping[float, Array]) -> Array:
    """Return the ADC in 10⁻⁶ mm²/s of mean logarithms by b-value, by least squares; 0 where there is noise only."""
    b_values = np.array(sorted(logs))
    weights = (b_values - b_values.mean()) / ((b_values - b_values.mean()) ** 2).sum()
    slope = np.zeros_like(logs[b_values[0]])
    for weight, b_value in zip(weights, b_values, strict=True):
        slope += np.float32(weight) * logs[b_value]
    lowest = np.exp(logs[b_values[0]])
    signal = lowest >= NOISE * np.percentile(lowest, 99.0)
    result: Array = np.where(signal, np.maximum(-slope * np.float32(UNIT), 0), 0).astype(np.float32)
    return result


def _in_unit(one: Candidate, desk: Desk) -> Volume | None:
    """Return the stored ADC map `one` in 10⁻⁶ mm²/s."""
    volume = one.load()
    if volume is None or desk.trial:
        return volume
    cache = desk.cache if one.key else None
    key = key_of("adc unit", [one.key])
    factor = None if cache is None else cache.get(key)
    if factor is None:
        factor = factor_of(volume.voxels)
        if cache is not None:
            cache.put(key, factor)
    if factor == 1.0:
        return volume
    voxels = None if cache is None else cache.array(key)
    if voxels is None:
        voxels = (np.asarray(volume.voxels, np.float64) * factor).astype(np.float32)
        voxels = voxels if cache is None else cache.put_array(key, voxels)
    return replace(volume, voxels=voxels)


def factor_of(voxels: NDArray[np.generic]) -> float:
    """Return the power of 1,000 that brings an ADC map to 10⁻⁶ mm²/s.

    >>> factor_of(np.array([0.0, 0.9, 1.1])), factor_of(np.array([0.0008])), factor_of(np.array([0, 700, 3000]))
    (1000.0, 1000000.0, 1.0)
    """
    values = np.asarray(voxels, np.float64)
    tissue = values[values > 0]
    if not tissue.size:
        return 1.0
    return float(UNIT_STEP ** round(math.log(TYPICAL_ADC / float(np.median(tissue)), UNIT_STEP)))

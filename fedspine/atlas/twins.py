"""Anchors examined twice: the same phantoms on two scanners, both re-expressed on the average one.

No hospital has such pairs. An encoder that is to put both examinations of a person in one place learns what a scanner
does and a lesion does not: invariance by design, rather than by the absence of a correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedspine.atlas.anchors import COUNT, drawn, on_grid, rows_of, scanned
from fedspine.cohort.patient import Patient
from fedspine.cohort.scanner import word_of
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.harmony.combat import adjust, batch_effect, pool
from fedspine.harmony.features import intensity_names
from fedspine.harmony.moments import sums
from fedspine.phantom.public import public_twins


@dataclass(frozen=True, eq=False)
class Anchors:
    """Public rows, image features and omics, on the average scanner.

    Args:
        values: (anchor, column).
        known: (anchor, column).
        twins: (anchor, column), the same anchors examined on another scanner; where there is one scanner, as `values`.
        twins_known: (anchor, column).
    """

    values: Tensor = field(repr=False)
    known: Tensor = field(repr=False)
    twins: Tensor = field(repr=False)
    twins_known: Tensor = field(repr=False)


def anchors(plan: Plan) -> Anchors:
    """Return the plan's anchors."""
    first, second = examined_twice(plan)
    both = [*first, *second]
    values, known = (torch.stack(rows) for rows in zip(*(rows_of(one) for one in both), strict=True))
    aligned = _on_the_average_scanner(values, known, both, len(intensity_names(plan.data.contrasts)))
    return Anchors(aligned[:COUNT], known[:COUNT], aligned[COUNT:], known[COUNT:])


def examined_twice(plan: Plan) -> tuple[list[PatientTensors], list[PatientTensors]]:
    """Return the anchors, and the same on another scanner; where phantoms have a single scanner, the same scans."""
    first = on_grid(plan, drawn(plan, COUNT, 0), 0)
    return first, _examined_again(plan) or first


def _examined_again(plan: Plan) -> list[PatientTensors]:
    """Return the anchors on other scanners; none where phantoms have a single one (CT, heads)."""
    data, contrasts = plan.data, scanned(plan.data.contrasts)
    if data.body != "spine" or all(contrast == "CT" for contrast in contrasts):
        return []
    shape = (data.slices, data.size, data.size)
    return on_grid(plan, _public(1000 * plan.seed, contrasts, shape, data.levels), 0)


@lru_cache(maxsize=2)
def _public(seed: int, contrasts: tuple[str, ...], shape: tuple[int, int, int], levels: str) -> tuple[Patient, ...]:
    return public_twins(COUNT, seed, contrasts=contrasts, shape=shape, levels=levels)


def _on_the_average_scanner(values: Tensor, known: Tensor, patients: Sequence[PatientTensors], size: int) -> Tensor:
    """Return rows whose first `size` columns are harmonised by ComBat over the phantoms' own scanners."""
    words = [None if one.scanner is None else word_of(one.scanner) for one in patients]
    names = sorted({word for word in words if word is not None})
    if len(names) < 2:
        return values
    rows, flags = values[:, :size].double().numpy(), known[:, :size].double().numpy()
    chosen = [np.array([word == name for word in words]) for name in names]
    batches = [sums(rows[own], np.zeros((int(own.sum()), 0)), flags[own]) for own in chosen]
    pooled = pool(batches)
    result = values.clone()
    for own, batch in zip(chosen, batches, strict=True):
        moved = adjust(rows[own], np.zeros((int(own.sum()), 0)), pooled, batch_effect(batch, pooled)) * flags[own]
        result[torch.from_numpy(own), :size] = torch.from_numpy(moved).float()
    return result

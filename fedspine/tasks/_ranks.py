"""How well an image finds its own omics among anchors', and the score that they tell: counts and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

RANKS = (1, 5, 10, 20)
"""Bins of the rank that a patient's own omics reach among the anchors': up to 1, 5, 10, 20, beyond."""

UNIT = 1 / math.sqrt(3)
LARGEST_ERROR = 3.0


def zeros() -> dict[str, Tensor]:
    """`rank`: patients by bin of `RANKS`; `error`: sum of the score's absolute error; `scored`: missed, within."""
    return {"rank": torch.zeros(len(RANKS) + 1), "error": torch.zeros(()), "scored": torch.zeros(2)}


def units() -> dict[str, float]:
    """Return a patient's weight: three entries of at most 1, together of norm 1."""
    return dict.fromkeys(zeros(), UNIT)


def totals(counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return that errors are over patients whose score is told."""
    return {"error": counts["scored"].sum()}


def counted(better: int, error: float | None, half: float) -> dict[str, Tensor]:
    """Return one patient's counts, of norm 1 at most.

    Args:
        better: how many anchors' omics lie nearer to the image than the patient's own.
        error: absolute, of the score that the image tells; `None` where omics tell none.
        half: half the width of the score's 90 % interval.
    """
    counts = zeros()
    counts["rank"][sum(better + 1 > limit for limit in RANKS)] = 1.0
    if error is not None:
        counts["error"] += min(error, LARGEST_ERROR) / LARGEST_ERROR
        counts["scored"][int(error <= half)] = 1.0
    return {key: value * UNIT for key, value in counts.items()}


def metrics(counts: Mapping[str, Tensor]) -> dict[str, float]:
    """Return how often a patient's own omics rank first and within ten; the score's error and intervals' coverage.

    The error is the mean absolute one, the coverage the share of patients whose score as omics tell it lies in the
    90 % interval that the image alone gives.
    """
    rank, scored = (counts["rank"] / UNIT).clamp(min=0), (counts["scored"] / UNIT).clamp(min=0)
    total, told = float(rank.sum()), float(scored.sum())
    result = {"top 1": math.nan, "top 10": math.nan, "score error": math.nan, "score coverage": math.nan}
    if total >= 0.5:
        result |= {"top 1": float(rank[0]) / total, "top 10": float(rank[:3].sum()) / total}
    if told >= 0.5:
        error = LARGEST_ERROR * float(counts["error"]) / UNIT / told
        result |= {"score error": min(max(error, 0.0), LARGEST_ERROR), "score coverage": float(scored[1]) / told}
    return result

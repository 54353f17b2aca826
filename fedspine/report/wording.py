"""Numbers and names as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

METRICS = {
    "dice": "Dice",
    "auc": "AUC",
    "auprc": "AUPRC",
    "brier": "Brier score (best 0)",
    "calibration_error": "calibration error (best 0)",
    "f1": "F1",
    "iou": "IoU",
    "hausdorff95_pixels": "Hausdorff distance, 95 % (pixels)",
    "recall": "recall (sensitivity)",
    "centre_recall": "vertebrae found, share",
    "centre_precision": "finds that are vertebrae, share",
    "named": "vertebrae found and named, share",
    "level_recall": "lesions laid to their level, recall",
    "level_precision": "lesions laid to their level, precision",
    "level_specificity": "levels without a lesion, specificity",
    "level_f1": "lesions laid to their level, F1",
    "top 1": "own omics rank first",
    "top 10": "own omics rank in the first ten",
    "score error": "error of the pseudo-genomic score (sd)",
    "score coverage": "scores within their 90 % interval",
}
"""Names of metrics that are not written as they are stored."""

FOLDS = {"train": "training", "held-out": "held-out"}
"""Whose patients a stage reads, in words."""


def metric_name(name: str) -> str:
    """Return the metric `name` for a reader."""
    return METRICS.get(name, name.replace("_", " "))


def amount(value: float | None, digits: int = 2, absent: str = "–") -> str:
    """Return `value` with `digits` decimals, or `absent`; the minus sign is a real one.

    >>> amount(-0.126), amount(None)
    ('−0.13', '–')
    """
    return absent if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float) -> str:
    """Return `value` with two decimals and its sign."""
    return f"{value:+.2f}".replace("-", "−")


def estimate(cell: Mapping[str, Any]) -> str:
    """Return a released metric as `value [low, high]`, or say that the noise is too large for one."""
    value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return "too few patients under this noise"
    return amount(value) if low is None or high is None else f"{amount(value)} [{amount(low)}, {amount(high)}]"


def epsilon_text(value: float | None) -> str:
    """Return an epsilon; `None` is unbounded, which is no privacy at all."""
    return "unbounded" if value is None else f"{value:.3g}"


def size_text(bytes_: float) -> str:
    """Return a number of bytes in decimal units.

    >>> size_text(999), size_text(12_345), size_text(4.2e6)
    ('999 B', '12.3 kB', '4.2 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes_ >= scale:
            return f"{bytes_ / scale:.3g} {unit}"
    return f"{bytes_:.0f} B"


def duration(seconds: float | None) -> str:
    """Return a time span.

    >>> duration(42.3), duration(192), duration(7320)
    ('42 s', '3 min 12 s', '2 h 2 min')
    """
    if seconds is None:
        return "not recorded"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def plural(count: int, noun: str) -> str:
    """Return `count` with `noun`, which takes an s where there is not exactly one."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def number(value: object) -> float | None:
    """Return `value` as a finite float; `None` for whatever is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None

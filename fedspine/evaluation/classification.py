"""Classification metrics from counts, by MONAI and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import torch
from monai.metrics.confusion_matrix import compute_confusion_matrix_metric
from sklearn.metrics import roc_auc_score
from torch import Tensor

BINARY = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "f1 score",
}


def binary_metrics(
    true_positive: float, false_positive: float, true_negative: float, false_negative: float
) -> dict[str, float]:
    """Return accuracy, precision, recall, specificity and F1 of one yes-no question; NaN where undefined.

    Args:
        true_positive: count, as are the others; noised counts below zero are taken as zero.
        false_positive: count.
        true_negative: count.
        false_negative: count.
    """
    counts = torch.tensor([true_positive, false_positive, true_negative, false_negative]).double().clamp(min=0)
    return {name: float(compute_confusion_matrix_metric(monai, counts)) for name, monai in BINARY.items()}


def multiclass_metrics(confusion: Tensor) -> dict[str, float]:
    """Return accuracy, and precision, recall, specificity and F1 averaged over the classes that occur (macro).

    Args:
        confusion: (truth, predicted) counts.
    """
    counts = confusion.double().clamp(min=0)
    total = float(counts.sum())
    if total < 0.5:
        return dict.fromkeys(BINARY, math.nan)
    rows: dict[str, list[float]] = {name: [] for name in BINARY}
    for c in range(len(counts)):
        hit, truth, predicted = (float(x) for x in (counts[c, c], counts[c].sum(), counts[:, c].sum()))
        if truth < 0.5:
            continue
        for name, value in binary_metrics(hit, predicted - hit, total - truth - predicted + hit, truth - hit).items():
            rows[name].append(0.0 if math.isnan(value) and name in ("precision", "f1") else value)
    averages = {name: _mean([v for v in values if not math.isnan(v)]) for name, values in rows.items()}
    return {**averages, "accuracy": float(counts.diagonal().sum()) / total}


def auc_from_histogram(histogram: Tensor) -> float:
    """Return the area under the ROC curve from score histograms, averaged over classes (one against the rest).

    Args:
        histogram: (truth, class, bin) counts of the score given to `class` by patients of class `truth`.
    """
    counts = histogram.double().clamp(min=0).numpy()
    scores = np.arange(counts.shape[2], dtype=np.float64)
    areas = []
    for c in range(counts.shape[1]):
        positive = counts[c, c]
        negative = counts[:, c].sum(0) - positive
        if positive.sum() < 0.5 or negative.sum() < 0.5:
            continue
        truth = np.repeat([1, 0], len(scores))
        weights = np.concatenate([positive, negative])
        areas.append(float(roc_auc_score(truth, np.concatenate([scores, scores]), sample_weight=weights)))
    return _mean(areas)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan

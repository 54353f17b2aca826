"""Classification metrics: from released counts and histograms, and exactly from probabilities; MONAI, scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from monai.metrics.confusion_matrix import compute_confusion_matrix_metric
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
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
    return _area_from_histogram(histogram, roc_auc_score)


def auprc_from_histogram(histogram: Tensor) -> float:
    """Return the area under the precision-recall curve as average precision, averaged over classes as the AUC is.

    Patients in one bin are ties: they enter together. By chance it is a class's share of the patients, not 0.5.
    """
    return _area_from_histogram(histogram, average_precision_score)


def brier_from_histogram(histogram: Tensor) -> float:
    """Return the Brier score: the mean over patients of the squared error of all probabilities; best is 0.

    Each probability counts as the middle of its bin, so the score is right to about the square of half a bin. Halved
    for two classes, as scikit-learn does, so that it lies in [0, 1].
    """
    counts = histogram.double().clamp(min=0)
    classes, bins = counts.shape[1:]
    patients = float(counts.sum()) / classes
    if patients < 0.5:
        return math.nan
    error = _middles(bins) - torch.eye(classes, dtype=torch.float64)[:, :, None]  # (truth, class, bin)
    return float((counts * error**2).sum()) / patients / (2 if classes == 2 else 1)


def calibration_error_from_histogram(histogram: Tensor) -> float:
    """Return the expected calibration error, class by class, averaged over classes; best is 0.

    In every bin, how far the share of patients of the class lies from the middle of the bin, weighted by the patients
    in the bin (Nixon 2019, static calibration error). It needs every class's scores and not only the highest.
    """
    counts = histogram.double().clamp(min=0)
    classes, bins = counts.shape[1:]
    totals = counts.sum(0)  # (class, bin)
    if float(totals.sum()) / max(classes, 1) < 0.5:
        return math.nan
    hits = torch.stack([counts[c, c] for c in range(classes)])
    gaps = (hits - totals * _middles(bins)).abs().sum(1) / totals.sum(1).clamp(min=1e-12)
    return float(gaps.mean())


def histogram_metrics(histogram: Tensor) -> dict[str, float]:
    """Return AUC, AUPRC, Brier score and calibration error of (truth, class, bin) counts; NaN where undefined."""
    return {
        "auc": auc_from_histogram(histogram),
        "auprc": auprc_from_histogram(histogram),
        "brier": brier_from_histogram(histogram),
        "calibration_error": calibration_error_from_histogram(histogram),
    }


def probability_metrics(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return every metric of this page from what a study has in hand; NaN where undefined.

    Args:
        truth: (patient,) indices of classes.
        probabilities: (patient, class), rows that sum to 1; the highest is the class that is named.
    """
    classes = probabilities.shape[1]
    confusion = torch.zeros(classes, classes, dtype=torch.float64)
    for true, named in zip(truth, probabilities.argmax(1), strict=True):
        confusion[true, named] += 1
    present = [c for c in range(classes) if 0 < int((truth == c).sum()) < len(truth)]
    areas = {
        name: _mean([float(area(truth == c, probabilities[:, c])) for c in present])
        for name, area in (("auc", roc_auc_score), ("auprc", average_precision_score))
    }
    rest = {"brier": math.nan, "calibration_error": math.nan}
    if len(truth):
        rest["brier"] = float(brier_score_loss(truth, probabilities, labels=list(range(classes))))
        rest["calibration_error"] = calibration_error(truth, probabilities)
    return {**multiclass_metrics(confusion), **areas, **rest}


def calibration_error(truth: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int = 10) -> float:
    """Return the expected calibration error class by class, averaged over classes, against each bin's mean score."""
    placed = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    gaps = []
    for c in range(probabilities.shape[1]):
        excess = (truth == c) - probabilities[:, c]
        gaps.append(float(np.abs(np.bincount(placed[:, c], weights=excess, minlength=bins)).sum()) / len(truth))
    return _mean(gaps)


def _area_from_histogram(histogram: Tensor, area: Callable[..., float]) -> float:
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
        areas.append(float(area(truth, np.concatenate([scores, scores]), sample_weight=weights)))
    return _mean(areas)


def _middles(bins: int) -> Tensor:
    return (torch.arange(bins, dtype=torch.float64) + 0.5) / bins


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan

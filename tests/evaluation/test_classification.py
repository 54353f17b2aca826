"""What is read off histograms equals what scikit-learn finds in the binned scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from torch import Tensor

from fedspine.evaluation.classification import (
    auprc_from_histogram,
    brier_from_histogram,
    calibration_error,
    calibration_error_from_histogram,
    histogram_metrics,
    probability_metrics,
)


def _patients(classes: int, count: int = 400) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, count)
    logits = random.normal(0, 1, (count, classes)) + 1.2 * np.eye(classes)[truth]
    exponentials = np.exp(logits)
    return truth, exponentials / exponentials.sum(1, keepdims=True)


def _histogram(truth: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int = 10) -> Tensor:
    classes = probabilities.shape[1]
    histogram = torch.zeros(classes, classes, bins)
    for true, row in zip(truth, probabilities, strict=True):
        for c in range(classes):
            histogram[true, c, min(int(row[c] * bins), bins - 1)] += 1
    return histogram


@pytest.mark.parametrize("classes", [2, 3])
def test_histograms_give_scikit_learns_values_of_binned_scores(classes: int) -> None:
    truth, probabilities = _patients(classes)
    histogram = _histogram(truth, probabilities)
    placed = np.minimum((probabilities * 10).astype(int), 9)
    areas = [average_precision_score(truth == c, placed[:, c]) for c in range(classes)]
    assert auprc_from_histogram(histogram) == pytest.approx(np.mean(areas))
    middles = (placed + 0.5) / 10
    squared = ((middles - np.eye(classes)[truth]) ** 2).sum(1).mean() / (2 if classes == 2 else 1)
    assert brier_from_histogram(histogram) == pytest.approx(squared)


@pytest.mark.parametrize("classes", [2, 3])
def test_fine_histograms_come_near_to_the_exact_metrics(classes: int) -> None:
    truth, probabilities = _patients(classes)
    exact = probability_metrics(truth, probabilities)
    binned = histogram_metrics(_histogram(truth, probabilities, bins=100))
    assert binned["auc"] == pytest.approx(exact["auc"], abs=0.005)
    assert binned["auprc"] == pytest.approx(exact["auprc"], abs=0.01)
    assert binned["brier"] == pytest.approx(exact["brier"], abs=0.002)


def test_exact_metrics_equal_scikit_learns() -> None:
    truth, probabilities = _patients(2)
    found = probability_metrics(truth, probabilities)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, probabilities[:, 1]))
    assert found["brier"] == pytest.approx(brier_score_loss(truth, probabilities[:, 1]))
    assert found["accuracy"] == pytest.approx(((probabilities[:, 1] > 0.5) == truth).mean())


def test_calibration_error_is_the_gap_between_score_and_share_by_hand() -> None:
    # four patients at 0.85, three of whom have the class; four at 0.15, one of whom has it: gaps of 0.10 in both bins
    scores = np.array([0.85] * 4 + [0.15] * 4)
    truth = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    probabilities = np.stack([1 - scores, scores], axis=1)
    assert calibration_error(truth, probabilities) == pytest.approx(0.1)
    assert calibration_error_from_histogram(_histogram(truth, probabilities)) == pytest.approx(0.1)


def test_overconfidence_costs_calibration_and_brier_but_no_area() -> None:
    truth, probabilities = _patients(2)
    sharper = probabilities**4 / (probabilities**4).sum(1, keepdims=True)
    honest, loud = (probability_metrics(truth, p) for p in (probabilities, sharper))
    assert loud["auc"] == pytest.approx(honest["auc"])
    assert loud["calibration_error"] > honest["calibration_error"] + 0.02
    assert loud["brier"] > honest["brier"]


def test_nobody_to_measure_gives_nan_and_noise_below_zero_breaks_nothing() -> None:
    assert all(math.isnan(value) for value in histogram_metrics(torch.zeros(3, 3, 10)).values())
    noisy = torch.randn(3, 3, 10, generator=torch.Generator().manual_seed(0))
    assert all(math.isfinite(value) for value in histogram_metrics(noisy).values())
    nobody = probability_metrics(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))
    assert all(math.isnan(value) for value in nobody.values())

"""Metrics from counts equal scikit-learn's from predictions, and intervals hold both people and noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from fedspine.evaluation.classification import auc_from_histogram, binary_metrics, multiclass_metrics
from fedspine.evaluation.intervals import Counts, interval


def test_macro_metrics_equal_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 3, 200), random.integers(0, 3, 200)
    predicted[:120] = truth[:120]
    confusion = torch.zeros(3, 3)
    for t, p in zip(truth, predicted, strict=True):
        confusion[t, p] += 1
    found = multiclass_metrics(confusion)
    assert found["accuracy"] == pytest.approx((truth == predicted).mean())
    assert found["recall"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["recall"] == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert found["precision"] == pytest.approx(precision_score(truth, predicted, average="macro"))
    assert found["f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_auc_from_a_histogram_equals_scikit_learns_on_binned_scores() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 300)
    score = np.clip(random.normal(0.4 + 0.2 * truth, 0.2), 0, 0.999)
    bins = (score * 10).astype(int)
    histogram = torch.zeros(2, 2, 10)
    for t, b in zip(truth, bins, strict=True):
        histogram[t, 1, b] += 1
        histogram[t, 0, 9 - b] += 1
    assert auc_from_histogram(histogram) == pytest.approx(roc_auc_score(truth, bins))


def test_metrics_without_patients_are_undefined_not_zero() -> None:
    assert math.isnan(multiclass_metrics(torch.zeros(3, 3))["accuracy"])
    assert math.isnan(auc_from_histogram(torch.zeros(3, 3, 10)))
    assert math.isnan(binary_metrics(0, 0, 5, 0)["recall"])
    assert binary_metrics(0, 0, 5, 0)["specificity"] == 1.0


def share(counts: Counts) -> dict[str, float]:
    hits, misses = (max(float(x), 0.0) for x in counts["found"])
    return {"recall": hits / (hits + misses) if hits + misses >= 0.5 else math.nan}


def test_an_interval_is_wider_with_fewer_patients_and_with_noise() -> None:
    def width(scale: float, noise: float) -> float:
        found = interval({"found": torch.tensor([30.0, 10.0]) * scale}, share, noise_sd=noise)["recall"]
        assert found["low"] is not None
        assert found["high"] is not None
        assert found["value"] is not None
        assert found["low"] <= found["value"] <= found["high"]
        return found["high"] - found["low"]

    assert width(10, 0.0) < width(1, 0.0) < width(1, 8.0)


def test_counts_that_weigh_less_than_one_give_the_same_interval() -> None:
    whole = interval({"found": torch.tensor([30.0, 10.0])}, share, noise_sd=2.0)["recall"]
    scaled = interval({"found": torch.tensor([15.0, 5.0])}, share, noise_sd=1.0, units={"found": 0.5})["recall"]
    assert scaled == pytest.approx(whole)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        hits = random.binomial(40, 0.7)
        released = torch.tensor([hits, 40 - hits], dtype=torch.float64) + torch.from_numpy(random.normal(0, 2.0, 2))
        found = interval({"found": released}, share, noise_sd=2.0, draws=200, seed=trial)["recall"]
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 0.7 <= found["high"]
    assert 0.9 <= covered / 200 <= 1.0


def test_a_metric_drowned_in_noise_is_said_to_be_unknown() -> None:
    assert interval({"found": torch.tensor([0.0, 0.1])}, share, noise_sd=0.0)["recall"]["value"] is None


def mean_value(counts: Counts) -> dict[str, float]:
    patients = max(float(counts["patients"]), 0.0)
    return {"mean": float(counts["sum"]) / patients if patients >= 0.5 else math.nan}


def of_patients(counts: Counts) -> dict[str, torch.Tensor]:
    return {"sum": counts["patients"]}


def test_a_mean_of_few_patients_most_of_whom_have_nothing_is_covered() -> None:
    random, covered = np.random.default_rng(4), 0
    for trial in range(200):
        values = np.where(random.random(5) < 0.7, 0.0, random.beta(8, 2, 5))  # mean 0.24
        released = {"patients": torch.tensor(5.0), "sum": torch.tensor(values.sum())}
        found = interval(released, mean_value, noise_sd=0.0, totals=of_patients, seed=trial)["mean"]
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 0.24 <= found["high"]
    assert covered >= 0.93 * 200


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_interval_of_a_mean_belongs_to_its_patients(noise: float) -> None:
    random = np.random.default_rng(3)
    covered, widths = 0, []
    for trial in range(200):
        values = random.beta(8, 2, 30)  # mean 0.8, as of Dice; deviation 0.12
        released = {"patients": torch.tensor(30.0), "sum": torch.tensor(values.sum())}
        released = {key: value + float(random.normal(0, noise)) for key, value in released.items()}
        found = interval(released, mean_value, noise_sd=noise, totals=of_patients, seed=trial)["mean"]
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 0.8 <= found["high"]
        widths.append(found["high"] - found["low"])
    assert covered >= 0.93 * 200
    if not noise:  # as patients of 0 or 1 spread, 0.073; sum and patients drawn apart would give 0.24
        assert 3.4 * 0.073 < np.mean(widths) < 4.4 * 0.073


def test_entries_that_count_patients_among_sums_are_drawn_as_counts() -> None:
    def first(counts: Counts) -> dict[str, float]:
        known, close = counts["centres"].tolist()
        return {"known": known, "share": close / known if known else math.nan}

    def totals(counts: Counts) -> dict[str, torch.Tensor]:
        return {"centres": torch.stack([torch.tensor(math.nan, dtype=torch.float64), counts["centres"][0]])}

    found = interval({"centres": torch.tensor([12.0, 12.0])}, first, noise_sd=0.0, totals=totals)
    assert found["share"]["high"] == found["share"]["value"] == 1.0
    assert found["share"]["low"] is not None
    assert 0.7 < found["share"]["low"] < 0.99, "twelve of twelve are not all there are"
    assert found["known"]["low"] is not None
    assert 4 <= found["known"]["low"] <= 7

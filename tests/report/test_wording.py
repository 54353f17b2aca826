"""What a reader sees of a metric's name."""

from __future__ import annotations

import torch

from fedspine.evaluation.classification import histogram_metrics
from fedspine.report.wording import metric_name


def test_metrics_of_which_nought_is_best_say_so() -> None:
    names = {name: metric_name(name) for name in histogram_metrics(torch.zeros(2, 2, 10))}
    assert names == {
        "auc": "AUC",
        "auprc": "AUPRC",
        "brier": "Brier score (best 0)",
        "calibration_error": "calibration error (best 0)",
    }

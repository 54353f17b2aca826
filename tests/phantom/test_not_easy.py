"""No raw number may tell benign from malignant; all of them together must, and omics must help."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from .measures import Measured, best_threshold, measure


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(288, seed=0, shape=(8, 64, 64))


def _forest(features: NDArray[np.float64], malignant: NDArray[np.bool_]) -> float:
    """Return the cross-validated balanced accuracy of a random forest."""
    forest = RandomForestClassifier(120, min_samples_leaf=2, random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(forest, features, malignant, cv=folds)
    return float(balanced_accuracy_score(malignant, predicted))


def test_no_single_intensity_feature_tells_benign_from_malignant(measured: Measured) -> None:
    scores = {
        name: best_threshold(measured.intensity[:, i], measured.malignant) for i, name in enumerate(measured.names)
    }
    best = max(scores, key=lambda name: scores[name])
    print(f"best single intensity feature: {best}, balanced accuracy {scores[best]:.3f} of {len(scores)} features")
    assert len(scores) == 30
    assert scores[best] < 0.70


def test_no_single_measure_of_form_or_place_tells_benign_from_malignant(measured: Measured) -> None:
    best = max(best_threshold(column, measured.malignant) for column in measured.form.T)
    print(f"best single measure of form, place or relative intensity: balanced accuracy {best:.3f}")
    assert best < 0.70


def test_the_class_is_learnable_from_all_features_and_better_with_omics(measured: Measured) -> None:
    imaging = np.hstack([measured.intensity, measured.form])
    with_images = _forest(imaging, measured.malignant)
    with_omics = _forest(np.hstack([imaging, measured.omics]), measured.malignant)
    print(f"random forest, five folds: images {with_images:.3f}, images and omics {with_omics:.3f}")
    assert with_images > 0.75
    assert with_omics > with_images + 0.02

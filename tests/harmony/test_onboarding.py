"""A scanner that joins late, or is known by its settings alone."""

from __future__ import annotations

import numpy as np
import pytest

from fedspine.errors import InputError
from fedspine.harmony.combat import pool
from fedspine.harmony.onboarding import fit_acquisition, joined, predict_effect
from simulations.combat_study import draw, late, left_out, settings


def test_fifteen_to_twenty_patients_bring_a_new_scanner_home() -> None:
    error = {count: np.mean([late(seed, count, 40) for seed in range(3)]) for count in (0, 1, 5, 15, 20, 40)}
    assert error[0] > error[1] > error[5] > error[15] > error[20] > error[40]
    assert error[15] < 0.3 * error[0]
    assert error[20] < 1.35 * error[40]


def test_settings_alone_tell_much_of_an_unseen_scanners_effect() -> None:
    nothing, _, settings_alone, inside, few, _, both, _ = np.mean(
        np.concatenate([left_out(seed, 12, 20) for seed in range(2)]), axis=0
    )
    assert settings_alone < 0.25 * nothing
    assert both < 0.8 * min(settings_alone, few)
    assert 0.8 <= inside <= 0.97


def test_settings_that_tell_nothing_are_not_believed() -> None:
    random = np.random.default_rng(0)
    gamma = random.normal(0, 1, (12, 20))  # whatever the settings
    consortium = draw(0, (40,) * 12, 20, gamma)
    batches = [consortium.sums(scanner) for scanner in range(11)]
    acquisitions = settings(0, 12)
    model = fit_acquisition(batches, acquisitions[:11], pool(batches))
    prior = predict_effect(model, acquisitions[11])
    assert model.pull < 0.2 * model.rest
    assert np.abs(prior.mean).mean() < 0.5
    assert (prior.variance > 0.4).all()


def test_an_unknown_setting_counts_as_the_usual_one_and_a_feature_may_be_unknown_at_a_scanner() -> None:
    consortium = draw(1, (40,) * 6, 5)
    acquisitions = settings(1, 6)
    acquisitions[2, 1] = np.nan
    batches = [consortium.sums(scanner) for scanner in range(5)]
    lacking = {part: value.copy() for part, value in vars(batches[0]).items() if part != "noise"}
    for value in lacking.values():
        value[..., 0] = 0.0
    batches[0] = type(batches[0])(**lacking)
    model = fit_acquisition(batches, acquisitions[:5], pool(batches))
    unknown = predict_effect(model, np.full(6, np.nan))
    assert np.isfinite(unknown.mean).all()
    assert (unknown.variance <= predict_effect(model, acquisitions[5]).variance + 1e-12).all()


def test_a_scanner_without_a_patient_yet_is_what_its_settings_let_expect() -> None:
    consortium = draw(2, (40,) * 5, 5)
    acquisitions = settings(2, 5)
    batches = [consortium.sums(scanner) for scanner in range(4)]
    pooled = pool(batches)
    model = fit_acquisition(batches, acquisitions[:4], pooled)
    prior = predict_effect(model, acquisitions[4])
    effect = joined(consortium.sums(4, 0), pooled, model, acquisitions[4])
    np.testing.assert_array_equal(effect.gamma, prior.mean)
    np.testing.assert_array_equal(effect.gamma_variance, prior.variance)
    assert (joined(consortium.sums(4), pooled, model, acquisitions[4]).gamma_variance < prior.variance).all()


def test_two_scanners_teach_nothing_about_settings() -> None:
    consortium = draw(3, (20, 20), 3)
    batches = [consortium.sums(0), consortium.sums(1)]
    with pytest.raises(InputError, match="3 scanners or more"):
        fit_acquisition(batches, settings(3, 2), pool(batches))

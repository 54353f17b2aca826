"""The whole path by sums on made patients: from features to tokens, within its budget."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from simulations.map_study.cohort import SITES, draw
from simulations.map_study.federated import budget, run
from simulations.map_study.measures import cross_site_purity


@pytest.mark.parametrize("epsilon", [8.0, 3.0, 1.0])
def test_components_and_rounds_together_cost_what_was_allowed(epsilon: float) -> None:
    assert 0.98 * epsilon < budget(epsilon).epsilon <= epsilon


def test_made_patients_are_alike_in_type_and_skewed_over_sites() -> None:
    cohort = draw(600, seed=0)
    assert np.bincount(cohort.types).tolist() == [100] * 6
    mix = np.array([np.bincount(cohort.types[cohort.sites == site], minlength=6) for site in range(SITES)])
    assert mix.max() > 3 * 600 / (SITES * 6)
    assert 0.8 < cohort.rows.var() < 1.2
    assert draw(600, seed=0).rows.tobytes() == cohort.rows.tobytes()


def test_sums_with_noise_make_one_map_for_all_sites() -> None:
    cohort = draw(1200, seed=10)
    found = run(cohort, 8.0, seed=10)
    assert adjusted_rand_score(cohort.types, found.placed.tokens) > 0.7
    assert cross_site_purity(found.placed.places, cohort.types, cohort.sites) > 0.7

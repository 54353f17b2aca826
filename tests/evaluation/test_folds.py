"""No patient is on both sides, everybody is tested once, classes and sites stay in balance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspine.errors import InputError
from fedspine.evaluation.folds import patient_folds, site_folds


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=40, max_size=60), st.integers(2, 4))
def test_everybody_is_tested_once_and_no_patient_is_on_both_sides(entries: list[tuple[int, int]], k: int) -> None:
    patients, labels = [p for p, _ in entries], [label for _, label in entries]
    if len(set(patients)) < k:
        return
    folds = patient_folds(labels, k, patients=patients, seed=3)
    assert sorted(i for fold in folds for i in fold.test) == list(range(len(entries)))
    for fold in folds:
        assert not {patients[i] for i in fold.train} & {patients[i] for i in fold.test}
        assert sorted(fold.train + fold.test) == list(range(len(entries)))


def test_each_fold_holds_its_share_of_every_class_at_every_site() -> None:
    strata = [(site, label) for site in ("a", "b") for label in (0, 1) for _ in range(10)]
    for fold in patient_folds(strata, 5, seed=1):
        inside = [strata[i] for i in fold.test]
        assert all(inside.count(kind) == 2 for kind in set(strata))


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    labels = [i % 2 for i in range(30)]
    assert patient_folds(labels, 5, seed=0) == patient_folds(labels, 5, seed=0)
    assert patient_folds(labels, 5, seed=0) != patient_folds(labels, 5, seed=1)


def test_classes_rarer_than_the_folds_are_spread_and_not_refused() -> None:
    folds = patient_folds(["rare", *["common"] * 9], 5)
    assert sorted(len(fold.test) for fold in folds) == [2, 2, 2, 2, 2]
    assert len(patient_folds(list("abcdef"), 3)) == 3


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(InputError, match="2 patients"):
        patient_folds([0, 1, 0, 1], 3, patients=["a", "b", "a", "b"])


def test_a_site_that_is_left_out_trains_nobody_even_under_another_sites_name() -> None:
    sites = ["a", "a", "b", "b", "c"]
    patients = ["ann", "bob", "ann", "cid", "dee"]
    folds = {fold.name: fold for fold in site_folds(sites, patients)}
    assert folds["a"].test == (0, 1)
    assert folds["a"].train == (3, 4)
    assert np.array([len(f.test) for f in folds.values()]).sum() == len(sites)
    with pytest.raises(InputError, match="two"):
        site_folds(["a", "a"])

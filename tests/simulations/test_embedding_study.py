"""The embedding study, small: one arm and one fold give figures that can be probabilities and a correlation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedspine.config import PrivacyPlan
from fedspine.evaluation.folds import patient_folds
from fedspine.plans.default import default_plan
from simulations.embedding_study import fitting
from simulations.embedding_study.fitting import ARMS, NETWORK, STAGES
from simulations.embedding_study.people import SEEN, people
from simulations.embedding_study.study import COLUMNS, one_fold


@pytest.mark.slow
def test_a_fold_probes_rows_space_and_embedding_of_held_out_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "TEACHERS", 12)
    quick = replace(STAGES[2], rounds=1, steps=1, pretrain_steps=20)
    data = replace(default_plan().data, size=32, slices=2)
    stages = (*STAGES[:2], quick, replace(NETWORK, rounds=1, steps=1, pretrain_steps=4))
    plan = replace(default_plan(), data=data, seed=3, privacy=PrivacyPlan("none"), stage=stages)
    group = people(plan, 12, 0)
    assert [int((group.site == site).sum()) for site in range(len(SEEN))] == [12] * len(SEEN)
    keys = [f"{site} {label}" for site, label in zip(group.site, group.label, strict=True)]
    fold = patient_folds(keys, 3, seed=0)[0]
    train, test = list(fold.train), list(fold.test)
    raw = one_fold(plan, ARMS[1], group, train, test, 0)
    found = one_fold(plan, ARMS[-1], group, train, test, 0)
    assert len(found) == len(COLUMNS)
    assert all(0 <= value <= 1 for value in found[:-1])
    assert -1 <= found[-1] <= 1
    assert np.isnan(raw[2]) and np.isnan(raw[3])  # noqa: PT018 (one arm has no space)
    assert raw[0] > found[0]  # scanners are told from raw features, hardly from harmonised ones

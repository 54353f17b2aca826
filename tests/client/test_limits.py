"""What a round's answer is held against: honest rounds pass, raw values in their place do not."""

from __future__ import annotations

import pytest
import torch

from client.limits import sum_limit
from fedspine.errors import EgressBlocked
from fedspine.privacy.patient_sum import noise_generator
from fedspine.tasks._rounds import Strength

NUMBERS = {"patients": 6.0}


def test_a_sum_limit_stops_what_is_no_noised_sum() -> None:
    limit = sum_limit(Strength(1.0, 2.0), 6)
    honest = torch.from_numpy(noise_generator(1, "limit").standard_normal(400)).float() * 2
    limit({"a": honest[:100], "b": honest[100:]}, NUMBERS)
    for wrong in (honest * 3, honest * 0.1, torch.zeros(400), honest.round()):
        with pytest.raises(EgressBlocked, match="nothing was sent"):
            limit({"a": wrong[:100], "b": wrong[100:]}, NUMBERS)
    with pytest.raises(EgressBlocked, match="number of patients"):
        limit({"a": honest[:100], "b": honest[100:]}, {"patients": 7.0})


def test_without_privacy_a_sum_has_no_limit() -> None:
    sum_limit(Strength(float("inf"), 0.0), 6)({"a": torch.full((4,), 1e9)}, NUMBERS)

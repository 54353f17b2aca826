"""The noise of secure sums, in whole numbers and in shares, is measured too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedspine.audit.line import Grade
from fedspine.audit.noise import noise
from fedspine.privacy import integer_sum
from tests.audit.conftest import SMALL, Seeded, made_subject, small_plan

SECURE = SMALL.replace("steps = 8", "steps = 1").replace("[[stage]]", '[privacy]\nsums = "secure"\n[[stage]]', 1)


def test_shares_of_noise_are_as_large_as_booked(seeded: Seeded) -> None:
    seeded(0)
    line = noise(made_subject(small_plan(SECURE), patients=1))
    assert line.grade is Grade.PASS
    assert line.figures["classify: size"] == pytest.approx(1, abs=0.02)


def test_shares_that_are_too_small_are_found(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded(0)
    real = integer_sum.skellam

    def low(size: int, variance: float, generator: np.random.Generator) -> Any:
        return real(size, 0.95**2 * variance, generator)

    monkeypatch.setattr(integer_sum, "skellam", low)
    line = noise(made_subject(small_plan(SECURE), patients=1))
    assert line.grade is Grade.FAIL
    assert "classify" in line.finding

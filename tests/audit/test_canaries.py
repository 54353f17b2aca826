"""Canaries through the real engine at a claim of about 5.8: honest code below it, noise halved above it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fedspine.audit import canaries
from fedspine.audit.stages import opened
from fedspine.audit.subject import Subject
from fedspine.audit.watched import Watched, divisor, gradient_share, watch
from fedspine.audit.watched import canaries as fake_patients
from fedspine.privacy.patient_sum import PatientSum, noise_generator
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Trained
from tests.audit.conftest import Seeded, made_subject, small_plan

CLAIMED = """
name = "claimed"
[data]
size = 32
slices = 2
[privacy]
epsilon = 6.5
[[stage]]
task = "classify"
rounds = 1
steps = 469
sample_rate = 0.1067
noise_multiplier = 2.0
[stage.options]
widths = [4, 4, 4, 4]
features = 4
"""


def test_a_canary_moves_its_own_coordinate_as_far_as_the_clip_allows() -> None:
    plan = small_plan()
    subject = made_subject(plan, patients=1)
    stage = plan.stage[1]
    one = opened(subject, stage)
    assert isinstance(one.task, Trained)
    assert one.model is not None
    cohort = fake_patients(plan, [0, 2])
    task = Watched(one.task)
    seen = watch(task, one.model, cohort, stage, Strength(1.5, 0.0), noise_generator(1), coordinates=4)
    assert len(seen.steps) == stage.steps
    assert seen.failures == 0
    for step in seen.steps:
        *network, dummies = step.released
        assert all(not bool(each.any()) for each in network)
        wanted = torch.zeros(4)
        wanted[list(step.canaries)] = gradient_share(1.5) / divisor(stage, 2)
        torch.testing.assert_close(dummies, wanted)


@pytest.mark.slow
def test_halved_noise_is_above_the_claim_and_honest_noise_below(
    seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = made_subject(small_plan(CLAIMED), patients=1)
    seeded(0)
    honest = canaries.canary_epsilon(subject)
    real = PatientSum.release

    def half(self: PatientSum, noise_multiplier: float, generator: np.random.Generator) -> list[Tensor]:
        return real(self, noise_multiplier / 2, generator)

    monkeypatch.setattr(PatientSum, "release", half)
    halved = canaries.canary_epsilon(subject)
    claim = honest.figures["classify: claim"]
    assert claim == pytest.approx(5.77, abs=0.02)
    assert honest.figures["classify: gaussian"] < claim < halved.figures["classify: gaussian"]
    assert (honest.grade.value, halved.grade.value) == ("PASS", "FAIL")
    # the one-run bound, which is all that is usually reported, passes both
    assert halved.figures["classify: one_run"] < claim


def test_a_plan_without_noise_promises_nothing_to_test() -> None:
    plan = small_plan(SMALL_NONE)
    nothing = Subject(Path("nowhere"), plan, {}, {}, (), True)
    assert canaries.canary_epsilon(nothing).grade.value == "NOT TESTED"


SMALL_NONE = CLAIMED.replace("epsilon = 6.5", 'mechanism = "none"')

"""Faults planted in the real code: each is found by the line meant for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedspine.audit import canaries, noise, sampler, sensitivity
from fedspine.audit.line import Grade, Line
from fedspine.audit.subject import Subject
from fedspine.cohort.tensors import PatientTensors
from fedspine.privacy import sgd
from fedspine.privacy.patient_sum import PatientSum
from fedspine.privacy.sgd import Released, private_gradient
from fedspine.tasks import _rounds
from fedspine.tasks.classify import Classify
from tests.audit.conftest import Seeded, made_subject, small_plan

LINES: tuple[Callable[[Subject], Line], ...] = (
    sensitivity.sensitivity,
    sensitivity.alone,
    sampler.sampling,
    noise.noise,
    canaries.canary_epsilon,
)
"""A4 to A8."""


def grades(subject: Subject, lines: Sequence[Callable[[Subject], Line]] = LINES) -> dict[str, Grade]:
    found = [line(subject) for line in lines]
    return {line.check: line.grade for line in found}


def failing(subject: Subject, lines: Sequence[Callable[[Subject], Line]] = LINES) -> set[str]:
    return {check for check, grade in grades(subject, lines).items() if grade is Grade.FAIL}


def with_noise(factor: float) -> Callable[[PatientSum, float, np.random.Generator], list[Tensor]]:
    """Return a release whose noise is `factor` times as large as it should be."""
    real = PatientSum.release

    def release(self: PatientSum, noise_multiplier: float, generator: np.random.Generator) -> list[Tensor]:
        return real(self, factor * noise_multiplier, generator)

    return release


def test_an_honest_system_passes_every_line(subject: Subject, seeded: Seeded) -> None:
    seeded(0)
    assert grades(subject) == dict.fromkeys(("A4", "A5", "A6", "A7", "A8"), Grade.PASS)


def test_noise_that_is_off_is_found(subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded(0)
    monkeypatch.setattr(PatientSum, "release", with_noise(0.0))
    assert failing(subject) == {"A6", "A7", "A8"}  # A6 sees that steps without anybody are silent


def test_noise_five_percent_low_is_found(subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded(0)
    monkeypatch.setattr(PatientSum, "release", with_noise(0.95))
    assert failing(subject) == {"A7"}


def test_noise_two_percent_low_is_found(subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded(0)
    monkeypatch.setattr(PatientSum, "release", with_noise(0.98))
    assert failing(subject, [noise.noise]) == {"A7"}


def test_noise_that_repeats_in_every_round_is_found(
    subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(0)
    real = PatientSum.release

    def release(self: PatientSum, noise_multiplier: float, generator: np.random.Generator) -> list[Tensor]:
        return real(self, noise_multiplier, np.random.default_rng(5))

    monkeypatch.setattr(PatientSum, "release", release)
    line = noise.noise(subject)
    assert line.grade is Grade.FAIL
    assert "rounds" in line.finding


def slices_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clip every slice of a patient by itself, as per-sample libraries do."""
    shown: list[int] = []
    real_view = _rounds._view

    def view(task: Any, stage: Any, patient: PatientTensors, *rest: Any) -> PatientTensors:
        seen = real_view(task, stage, patient, *rest)
        return replace(seen, images=seen.images[shown], mask=None if seen.mask is None else seen.mask[shown])

    def gradient(
        parameters: Sequence[Tensor], sample: Sequence[int], loss: Callable[[int], Tensor | None], **settings: Any
    ) -> Released:
        def of_slice(pair: tuple[int, int]) -> Tensor | None:
            shown[:] = [pair[1]]
            return loss(pair[0])

        pairs = [(patient, each) for patient in sample for each in range(3)]
        return private_gradient(parameters, pairs, of_slice, **settings)

    monkeypatch.setattr(_rounds, "_view", view)
    monkeypatch.setattr(_rounds, "private_gradient", gradient)


def test_slices_clipped_one_by_one_are_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    slices_one_by_one(monkeypatch)
    line = sensitivity.sensitivity(subject)
    assert line.grade is Grade.FAIL
    assert 1.5 < line.figures["classify"] < 3.001  # three slices, each as long as the bound


def mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Push a patient away from those seen before it, as a queue of negatives does (He 2020)."""
    queue: list[Tensor] = []
    real = Classify.patient_loss

    def loss_with_others(
        self: Classify, model: nn.Module, patient: PatientTensors, draws: torch.Generator
    ) -> Tensor | None:
        loss = real(self, model, patient, draws)
        logits = self.predict(model, patient)
        for other in queue:
            loss = loss + torch.nn.functional.cosine_similarity(logits, other, dim=0) if loss is not None else None
        queue.append(logits.detach())
        del queue[:-4]
        return loss

    monkeypatch.setattr(Classify, "patient_loss", loss_with_others)


def test_a_loss_that_mixes_patients_is_found(subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded(0)
    mixing(monkeypatch)
    line = sensitivity.sensitivity(subject)
    assert line.grade is Grade.FAIL
    assert line.figures["classify"] > 1.05
    assert failing(subject, LINES[2:]) == set()


def test_a_sum_over_more_than_the_patient_is_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that hands a patient part of the gradient of the one before."""
    real, before = sgd._mean_gradient, list[Tensor]()

    def leaking(*arguments: Any) -> tuple[list[Tensor], Tensor] | None:
        found = real(*arguments)
        if found is None:
            return None
        term, value = found
        mixed = [own + 1e-4 * other for own, other in zip(term, before or term, strict=True)]
        before[:] = term
        return mixed, value

    monkeypatch.setattr(sgd, "_mean_gradient", leaking)
    assert failing(subject, [sensitivity.alone]) == {"A5"}


def shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load patients in batches of one size, each once an epoch, as loaders do."""
    waiting: list[int] = []

    def batch(count: int, rate: float, generator: np.random.Generator) -> list[int]:
        if rate >= 1:
            return list(range(count))
        taken = []
        for _ in range(round(count * rate)):
            if not waiting:
                waiting.extend(generator.permutation(count).tolist())
            taken.append(waiting.pop() % count)
        return taken

    monkeypatch.setattr(_rounds, "poisson_sample", batch)


def test_a_shuffled_loader_booked_as_poisson_is_found(
    subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(0)
    shuffled(monkeypatch)
    assert failing(subject, LINES[2:4]) == {"A6"}


def test_a_sum_divided_by_the_size_drawn_is_found(
    subject: Subject, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(0)

    def gradient(parameters: Any, sample: Any, loss: Any, **settings: Any) -> Released:
        return private_gradient(parameters, sample, loss, **{**settings, "expected": float(max(len(sample), 1))})

    monkeypatch.setattr(_rounds, "private_gradient", gradient)
    assert failing(subject, [sampler.sampling]) == {"A6"}


@pytest.mark.slow
def test_an_honest_system_fails_no_line_in_twenty_runs(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer draws a test: they lower the power, not the level of false alarms."""
    monkeypatch.setattr(sampler, "STEPS", 128)
    monkeypatch.setattr(noise, "ENTRIES", 20_000)
    monkeypatch.setattr(canaries, "CANARIES", 400)
    for seed in range(20):
        seeded(seed)
        assert failing(made_subject(small_plan(), patients=3, seed=seed)) == set()

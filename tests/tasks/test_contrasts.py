"""Contrasts that are left out in training."""

from __future__ import annotations

import pytest
import torch

from fedspine.cohort.tensors import PatientTensors
from fedspine.tasks._contrasts import with_fewer_contrasts


def patient(*present: float) -> PatientTensors:
    flags = torch.tensor(present, dtype=torch.float32)
    images = torch.ones(2, len(present), 4, 4) * flags[:, None, None]
    return PatientTensors(images, flags, None, 0, torch.zeros(1), torch.zeros(1))


def test_contrasts_go_as_often_as_asked_and_say_so_and_one_always_stays() -> None:
    draws = torch.Generator().manual_seed(0)
    full = patient(1, 1, 0, 1)
    copies = [with_fewer_contrasts(full, 0.6, draws) for _ in range(400)]
    kept = torch.stack([copy.present for copy in copies])
    assert bool((kept.sum(1) >= 1).all())
    assert not kept[:, 2].any()
    assert float(kept[:, 0].mean()) == pytest.approx(0.4 + 0.6**3 / 3, abs=0.07)
    for copy in copies[:20]:
        assert torch.equal(copy.images[0, :, 0, 0], copy.present)


def test_nothing_is_left_out_of_a_patient_with_one_contrast_or_at_probability_zero() -> None:
    draws = torch.Generator().manual_seed(0)
    single, full = patient(0, 1), patient(1, 1)
    assert with_fewer_contrasts(single, 0.9, draws) is single
    assert with_fewer_contrasts(full, 0.0, draws) is full

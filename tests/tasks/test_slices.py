"""Made slices become patients of as many slices as real ones."""

from __future__ import annotations

import torch

from fedspine.cohort.tensors import PatientTensors
from fedspine.tasks._slices import stacked


def test_made_slices_are_stacked_into_patients_of_as_many_slices_as_real_ones() -> None:
    made = [
        PatientTensors(
            torch.full((1, 2, 4, 4), float(i)),
            torch.tensor([1.0, float(i != 1)]),
            torch.full((1, 1, 4, 4), float(i % 2)),
            i % 3,
            torch.zeros(0),
            torch.zeros(0),
        )
        for i in range(5)
    ]
    first, second = stacked(made, 3, by_class=False)
    assert first.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert first.mask is not None
    assert first.mask[:, 0, 0, 0].tolist() == [0, 1, 0]
    assert first.present.tolist() == [1, 0]
    assert not bool(first.images[:, 1].any())
    assert len(second.images) == 2
    assert first.label == second.label == -1
    assert stacked([first], 3, by_class=False) == [first]
    alike = stacked(made, 2, by_class=True)
    assert [(one.label, one.images[:, 0, 0, 0].tolist()) for one in alike] == [(0, [0, 3]), (1, [1, 4])]

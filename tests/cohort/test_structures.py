"""A mask may tell structures apart: by the numbers in a file, and a plan's names for them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.drawing import _numbered
from fedspine.cohort.patient import Patient, Scanner, Volume
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors, largest_lesion_slices, to_tensors
from fedspine.config import DataPlan, Plan, Stage, check_plan
from fedspine.errors import ConfigError
from fedspine.phantom.public import public_patients
from fedspine.phantom.writer import write_consortium

SPINE = ("vertebra", "disc", "canal")


def drawn(values: np.ndarray) -> Patient:
    image = Volume(np.ones(values.shape, np.float32), np.eye(4), "T2", Scanner())
    mask = Volume(values.astype(np.uint8), np.eye(4), "other", Scanner())
    return Patient("P", volumes={"T2": image}, mask=mask)


def test_each_structure_of_a_plan_has_a_channel_and_a_plan_without_has_the_lesion() -> None:
    values = np.zeros((2, 16, 16))
    values[0, :4], values[1, 4:8], values[:, 12:] = 1, 2, 3
    named = to_tensors(drawn(values), (), DataPlan(contrasts=("T2",), size=16, slices=2, structures=SPINE)).mask
    bare = to_tensors(drawn(values), (), DataPlan(contrasts=("T2",), size=16, slices=2)).mask
    assert named is not None
    assert bare is not None
    assert named.shape == (2, 3, 16, 16)
    assert bare.shape == (2, 1, 16, 16)
    for number in range(3):
        assert named[:, number].sum() == (values == number + 1).sum()
    assert torch.equal(bare, named.amax(1, keepdim=True))


def test_where_any_structure_is_counts_as_the_lesion_of_whoever_asks_for_one() -> None:
    mask = torch.zeros(2, 2, 4, 4)
    mask[1, 0, 0], mask[1, 1, 1] = 1, 1
    empty = torch.zeros(0)
    patient = PatientTensors(torch.zeros(2, 1, 4, 4), torch.ones(1), mask, -1, empty, empty)
    assert patient.lesion is not None
    assert patient.lesion.shape == (2, 1, 4, 4)
    assert patient.lesion.sum() == 8
    _, shown, rows = largest_lesion_slices([patient])
    assert rows == [1]
    assert shown.sum() == 8


@pytest.mark.parametrize("values", [[0, 1, 3], [0.0, 255.0, 2.0]])
def test_whole_numbers_of_a_mask_are_kept(values: list[float]) -> None:
    assert _numbered(np.array(values)).tolist() == values


@pytest.mark.parametrize("values", [[0.0, 0.4, 1.0], [0, -1, 2], [0, 256, 1000]])
def test_other_numbers_of_a_mask_say_only_inside_or_outside(values: list[float]) -> None:
    assert _numbered(np.array(values)).tolist() == [0, 1, 1]


def test_the_numbers_in_a_nifti_mask_reach_the_cohort(tmp_path: Path) -> None:
    write_consortium(tmp_path, sites=1, patients=6, shape=(3, 32, 32))
    (site,) = tmp_path.iterdir()
    file = min((site / "masks").iterdir())
    old = nib.load(file)
    values = np.zeros(old.shape, np.uint8)
    values[:8], values[8:12] = 1, 2
    nib.save(nib.Nifti1Image(values, old.affine), file)
    found = [one.mask for one in load_cohort(site).patients if one.mask is not None]
    assert any(set(np.unique(mask.voxels)) == {0, 1, 2} for mask in found)


def test_phantoms_know_the_structures_of_the_spine() -> None:
    for patient in public_patients(3, 0, contrasts=("T2",), shape=(6, 48, 48), structures=SPINE):
        assert patient.mask is not None
        values = np.asarray(patient.mask.voxels)
        shares = [(values == number).mean() for number in (1, 2, 3)]
        assert set(np.unique(values)) == {0, 1, 2, 3}
        assert shares[0] > shares[1] > 0.005


def test_a_phantoms_lesion_is_as_large_beside_other_structures_as_alone() -> None:
    alone = public_patients(3, 0, contrasts=("T2",), shape=(6, 48, 48))
    beside = public_patients(3, 0, contrasts=("T2",), shape=(6, 48, 48), structures=("vertebra", "lesion"))
    for one, other in zip(alone, beside, strict=True):
        assert one.mask is not None
        assert other.mask is not None
        same = (np.asarray(one.mask.voxels) != 0) == (np.asarray(other.mask.voxels) == 2)
        assert same.mean() > 0.995


def test_a_structure_that_phantoms_do_not_know_leaves_them_without_a_mask() -> None:
    data = DataPlan(contrasts=("T2",), size=32, slices=2, structures=("kidney",))
    assert all(one.mask is None for one in phantoms(Plan("p", data=data), 3, purpose=1))


def test_structures_must_differ() -> None:
    with pytest.raises(ConfigError, match="structures must differ"):
        check_plan(Plan("p", data=DataPlan(structures=("disc", "disc")), stage=(Stage("segment", "segment"),)))

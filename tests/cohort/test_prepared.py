"""Patients are made when they are asked for, and kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedspine.cohort import prepared as module
from fedspine.cohort.patient import Patient, Volume
from fedspine.cohort.prepared import Lazily, joined, mapped, prepared
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan
from fedspine.phantom.writer import write_consortium

PLAN = DataPlan(contrasts=("T1", "T2"), classes=("benign", "malignant"), size=32, slices=3)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_consortium(tmp_path_factory.mktemp("data") / "out", sites=1, patients=4, shape=(4, 32, 32))[0]


def same(one: PatientTensors, other: PatientTensors) -> bool:
    masks = (one.mask is None) == (other.mask is None)
    if one.mask is not None and other.mask is not None:
        masks = torch.equal(one.mask, other.mask)
    return masks and torch.equal(one.images, other.images) and torch.equal(one.omics, other.omics)


def test_what_comes_from_the_disk_is_what_was_made(site: Path, tmp_path: Path) -> None:
    cohort = load_cohort(site)
    load_cohort(site)
    made = [to_tensors(patient, cohort.omics_columns, PLAN) for patient in cohort.patients]
    first = prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path)
    assert all(same(a, b) for a, b in zip(first, made, strict=True))
    again = prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path)
    assert all(same(a, b) for a, b in zip(again, made, strict=True))


def test_a_second_start_makes_no_tensors(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = load_cohort(site)
    list(prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path))

    def never(*_: object) -> PatientTensors:
        raise AssertionError("tensors were made although they lay on disk")

    monkeypatch.setattr(module, "to_tensors", never)
    assert len(list(prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path))) == len(cohort.patients)


def test_a_network_sees_every_patient_the_same_way_up(site: Path) -> None:
    cohort = load_cohort(site)
    patient = next(p for p in cohort.patients if p.mask is not None and p.mask.voxels.any() and "T2" in p.volumes)
    turn = np.eye(4)
    turn[1, 1], turn[1, 3] = -1.0, patient.volumes["T2"].voxels.shape[1] - 1  # rows from the feet to the head
    swap = np.eye(4)[[0, 2, 1, 3]]

    def other(volume: Volume) -> Volume:
        voxels = np.asarray(volume.voxels)[:, ::-1].transpose(0, 2, 1)
        return replace(volume, voxels=voxels, affine=volume.affine @ turn @ swap)

    volumes = {name: other(volume) for name, volume in patient.volumes.items()}
    assert patient.mask is not None
    lying = replace(patient, volumes=volumes, mask=other(patient.mask))
    usual, upright = (to_tensors(p, cohort.omics_columns, PLAN) for p in (patient, lying))
    assert torch.allclose(usual.images, upright.images, atol=1e-5)
    assert same(replace(usual, images=upright.images), upright)


def test_counting_opens_no_patient(tmp_path: Path) -> None:
    def broken() -> PatientTensors:
        raise OSError

    assert len(Lazily([broken, broken])) == 2


def test_another_plan_or_another_volume_meets_no_old_tensors(site: Path, tmp_path: Path) -> None:
    cohort = load_cohort(site)
    (patient, *_), columns = cohort.patients, cohort.omics_columns
    small = prepared([patient], columns, PLAN, tmp_path)[0]
    large = prepared([patient], columns, replace(PLAN, size=64), tmp_path)[0]
    assert small.images.shape[-1] == 32
    assert large.images.shape[-1] == 64
    moved = {c: replace(v, affine=v.affine + np.diag([0.0, 1.0, 0.0, 0.0])) for c, v in patient.volumes.items()}
    other = prepared([replace(patient, volumes=moved)], columns, PLAN, tmp_path)[0]
    assert not torch.equal(other.images, small.images)


@pytest.mark.parametrize("kind", ["images", "mask"])
@pytest.mark.parametrize("left", [100, 0, None])
def test_a_damaged_entry_is_made_again(site: Path, tmp_path: Path, kind: str, left: int | None) -> None:
    cohort = load_cohort(site)
    made = [to_tensors(patient, cohort.omics_columns, PLAN) for patient in cohort.patients]
    list(prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path))
    assert any(patient.mask is not None for patient in made)
    for file in tmp_path.rglob(f"*.{kind}.npy"):
        if left is None:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:left])
    again = prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path)
    assert all(same(a, b) for a, b in zip(again, made, strict=True))


def test_only_the_owner_may_read_what_is_kept(site: Path, tmp_path: Path) -> None:
    cohort = load_cohort(site)
    list(prepared(cohort.patients, cohort.omics_columns, PLAN, tmp_path / "kept"))
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_memory_is_bounded_and_the_last_used_stay(site: Path) -> None:
    cohort = load_cohort(site)
    calls: list[int] = []

    def maker(index: int, patient: Patient) -> PatientTensors:
        calls.append(index)
        return to_tensors(patient, cohort.omics_columns, PLAN)

    one = to_tensors(cohort.patients[0], cohort.omics_columns, PLAN)
    room_for_two = 2 * (one.images.nbytes + one.images.nbytes // len(PLAN.contrasts))
    lazily = Lazily([lambda i=i, p=p: maker(i, p) for i, p in enumerate(cohort.patients)], room_for_two)  # type: ignore[misc]
    for index in (0, 1, 0, 1, 2, 1, 0):
        lazily[index]
    assert calls == [0, 1, 2, 0]


def test_making_tensors_leaves_no_voxels_in_memory(tmp_path: Path) -> None:
    folder = write_consortium(tmp_path / "out", sites=1, patients=2, shape=(12, 128, 128))[0]
    load_cohort(folder)
    cohort = load_cohort(folder)
    patient = next(p for p in cohort.patients if len(p.volumes) > 3)
    for volume in patient.volumes.values():
        assert not resident(volume)
    prepared([patient], cohort.omics_columns, PLAN, tmp_path / "kept")[0]
    assert sum(map(resident, patient.volumes.values())) == 0
    assert int(patient.volumes["T2"].voxels.max()) > 0  # the map is still good


def resident(volume: Volume) -> int:
    """Return how many kilobytes of a memory-mapped volume lie in this process's memory."""
    name = Path(str(volume.voxels.filename)).name  # type: ignore[attr-defined]
    _, _, rest = Path("/proc/self/smaps").read_text().partition(name)
    return int(rest.partition("Rss:")[2].split()[0])


def test_sequences_are_changed_and_joined_in_order(site: Path) -> None:
    cohort = load_cohort(site)
    patients = prepared(cohort.patients, cohort.omics_columns, PLAN, None)
    doubled = mapped(patients, lambda patient: replace(patient, images=2 * patient.images))
    both = joined(patients, doubled)
    assert len(both) == 2 * len(patients)
    assert torch.equal(both[len(patients)].images, 2 * both[0].images)
    assert torch.equal(both[-1].images, doubled[-1].images)


def test_only_a_few_plans_stay_on_disk(site: Path, tmp_path: Path) -> None:
    cohort = load_cohort(site)
    for slices in range(1, 8):
        prepared(cohort.patients, cohort.omics_columns, replace(PLAN, slices=slices), tmp_path)
    assert len(list(tmp_path.iterdir())) == module.PLANS_KEPT


def test_a_contrast_of_a_plane_that_is_the_main_one_is_no_other_patients(site: Path, tmp_path: Path) -> None:
    cohort = load_cohort(site)
    plan = replace(PLAN, contrasts=("T2 sagittal",))
    bare = [replace(patient, mask=None) for patient in cohort.patients if "T2" in patient.volumes]
    made = [to_tensors(patient, cohort.omics_columns, plan) for patient in bare]
    kept = prepared(bare, cohort.omics_columns, plan, tmp_path)
    assert all(same(a, b) for a, b in zip(kept, made, strict=True))

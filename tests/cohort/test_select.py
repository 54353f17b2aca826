"""Which series of a patient is used: studies, planes, the better of two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import PLANES, Patient, Rejected, Volume
from fedspine.cohort.select import EARLIER, SPARE, UNDATED, Candidate, Study, choose
from fedspine.cohort.site import load_cohort
from fedspine.cohort.summary import describe
from fedspine.cohort.tensors import to_tensors
from fedspine.config import DataPlan

Write = Callable[..., list[Path]]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def series(contrast: str, plane: str = "sagittal", *, broken: bool = False, **more: Any) -> Candidate:
    affine = np.eye(4)[:, [PLANES.index(plane), *(i for i in range(3) if i != PLANES.index(plane)), 3]]
    grid = Grid((2, 3, 4), affine)
    load: Callable[[], Volume | None] = lambda: None if broken else Volume(np.zeros((2, 3, 4)), affine, contrast)  # noqa: E731
    more = {"where": f"{contrast} {plane}", "rank": (0,)} | more
    return Candidate(contrast=contrast, grid=grid, load=load, **more)


def chosen(*candidates: Candidate) -> tuple[tuple[Study, ...], list[tuple[str, str]]]:
    rejected: list[Rejected] = []
    studies = choose("P", candidates, rejected)
    return studies, [(one.where, one.reason) for one in rejected]


def names(study: Study) -> dict[str, str]:
    return {name: image.volume.plane for name, image in study.images.items()}


def test_each_plane_of_a_contrast_has_a_name_of_its_own() -> None:
    (study,), rejected = chosen(series("T1"), series("T2"), series("T2", "axial"), series("T2", "coronal"))
    assert names(study) == {"T1": "sagittal", "T2": "sagittal", "T2 axial": "axial", "T2 coronal": "coronal"}
    assert rejected == []


def test_a_contrast_that_the_main_plane_lacks_is_taken_from_another() -> None:
    (study,), _ = chosen(series("T1"), series("T2"), series("DWI", "axial"))
    assert names(study)["DWI"] == "axial"


def test_all_contrasts_come_from_one_plane_where_two_planes_have_as_many() -> None:
    (study,), _ = chosen(
        series("T1", "axial", rank=(-9,)), series("T1"), series("T2", "axial"), series("T2", rank=(-9,))
    )
    assert (names(study)["T1"], names(study)["T2"]) == ("sagittal", "sagittal")


def test_the_plane_that_a_mask_was_drawn_in_is_the_main_one() -> None:
    (study,), _ = chosen(series("T1"), series("T2"), series("T2", "axial", drawn_on=True))
    assert names(study) == {"T1": "sagittal", "T2": "axial", "T2 sagittal": "sagittal"}


def test_the_better_of_two_in_one_plane_is_used_and_the_other_reported() -> None:
    (study,), rejected = chosen(series("T1", where="worse", rank=(2,)), series("T1", where="better", rank=(1,)))
    assert list(study.images) == ["T1"]
    assert rejected == [("worse", SPARE)]


def test_the_next_best_takes_the_place_of_one_that_cannot_be_decoded() -> None:
    (study,), rejected = chosen(series("T1", broken=True), series("T1", rank=(1,)), series("T1", "axial"))
    assert names(study) == {"T1": "sagittal", "T1 axial": "axial"}
    assert rejected == []


def test_another_plane_takes_the_name_where_nothing_of_the_main_plane_can_be_decoded() -> None:
    (study,), _ = chosen(series("T1"), series("T2", broken=True), series("T2", "axial"))
    assert names(study) == {"T1": "sagittal", "T2": "axial"}


def test_the_fullest_study_is_the_baseline_and_later_ones_follow() -> None:
    scout = series("T2", day=100, study="a", where="scout")
    full = [series(one, day=130, study="b") for one in ("T1", "T2", "STIR")]
    later = [series(one, day=130 + 365, study="c") for one in ("T1", "T2", "STIR")]
    last = series("T1", day=130 + 730, study="d")
    studies, rejected = chosen(last, *later, *full, scout)
    assert [set(study.images) for study in studies] == [{"T1", "T2", "STIR"}, {"T1", "T2", "STIR"}, {"T1"}]
    assert [study.months for study in studies] == pytest.approx([0, 11.99, 23.98], abs=0.01)
    assert rejected == [("scout", EARLIER)]


def test_other_pictures_do_not_make_a_study_fuller() -> None:
    studies, rejected = chosen(series("T1", day=1, study="a"), series("T1", day=9, study="b"), series("other", day=9))
    assert [set(study.images) for study in studies] == [{"T1"}, {"T1", "other"}]
    assert rejected == []


def test_two_studies_of_one_day_are_one() -> None:
    (study,), _ = chosen(series("T1", day=5, study="plain"), series("T1c", day=5, study="with agent"))
    assert set(study.images) == {"T1", "T1c"}
    assert study.keys == {"plain", "with agent"}


def test_studies_without_a_date_are_never_mixed() -> None:
    (study,), rejected = chosen(series("T1", study="a"), series("T2", study="b", where="second"))
    assert set(study.images) == {"T1"}
    assert rejected == [("second", UNDATED)]


def test_the_next_study_is_the_baseline_where_nothing_of_the_first_can_be_decoded() -> None:
    (study,), _ = chosen(series("T1", day=1, study="a", broken=True), series("T1", day=99, study="b"))
    assert study.months == 0


def test_without_any_series_there_is_no_study() -> None:
    assert chosen() == ((), [])


@given(st.permutations([(c, p, d) for c in ("T1", "T2", "other") for p in ("sagittal", "axial") for d in (3, 40)]))
def test_the_choice_does_not_depend_on_the_order_of_files(order: list[tuple[str, str, int]]) -> None:
    studies, rejected = chosen(*(series(c, p, day=d, study=str(d), where=f"{c}{p}{d}") for c, p, d in order))
    assert [sorted(study.images) for study in studies] == [["T1", "T1 axial", "T2", "T2 axial", "other"]] * 2
    assert sorted(where for where, _ in rejected) == ["otheraxial3", "otheraxial40"]


def test_a_plan_may_ask_for_a_plane() -> None:
    sagittal, axial = (series("T2", plane).load() for plane in ("sagittal", "axial"))
    assert sagittal is not None
    assert axial is not None
    both, turned = Patient("P", {"T2": sagittal, "T2 axial": axial}), Patient("P", {"T2": axial})
    assert both.find("T2 axial") is axial
    assert both.find("T2 sagittal") is sagittal
    assert turned.find("T2 axial") is axial
    assert turned.find("T2 sagittal") is None
    plan = DataPlan(contrasts=("T2", "T2 axial", "T2 coronal"), size=16, slices=2)
    assert to_tensors(both, (), plan).present.tolist() == [1, 1, 0]
    assert to_tensors(Patient("P"), (), plan).present.tolist() == [0, 0, 0]


def two_studies(site: Path, write_series: Write, make_picture: Callable[..., Any]) -> None:
    for number, date in enumerate(("20200101", "20200701")):
        for contrast in ("T1", "T2"):
            write_series(
                site,
                "P",
                contrast,
                folder=f"{date}-{contrast}",
                voxels=make_picture(seed=number),
                StudyDate=date,
                StudyInstanceUID=f"1.2.{number}",
            )


def write_mask(site: Path, name: str, voxel: int) -> None:
    (site / "masks").mkdir(exist_ok=True)
    volume = load_cohort(site).patients[0].volumes["T1"]
    values = np.zeros(volume.voxels.shape, np.uint8)
    values[voxel] = 1
    nibabel.save(nibabel.Nifti1Image(values, RAS @ volume.affine), site / "masks" / name)


def test_contrasts_of_two_dates_are_not_mixed(
    tmp_path: Path, write_series: Write, make_picture: Callable[..., Any]
) -> None:
    two_studies(tmp_path, write_series, make_picture)
    write_series(tmp_path, "P", "STIR", StudyDate="20200701", StudyInstanceUID="1.2.1", voxels=make_picture(seed=1))
    for folder in (tmp_path / "dicom").glob("20200101-T2"):
        for file in folder.iterdir():
            file.unlink()
    cohort = load_cohort(tmp_path)
    (patient,) = cohort.patients
    assert set(patient.volumes) == {"T1", "T2", "STIR"}
    assert all(np.array_equal(one.voxels, make_picture(seed=1)) for one in patient.volumes.values())
    assert [one.reason for one in cohort.rejected] == [EARLIER]


def test_each_study_gets_the_mask_that_its_name_says(
    tmp_path: Path, write_series: Write, make_picture: Callable[..., Any]
) -> None:
    two_studies(tmp_path, write_series, make_picture)
    write_mask(tmp_path, "P.nii.gz", 0)
    write_mask(tmp_path, "P_2.nii.gz", 1)
    write_mask(tmp_path, "P_3.nii.gz", 1)
    cohort = load_cohort(tmp_path)
    (patient,) = cohort.patients
    (later,) = patient.follow_up
    assert later.months == pytest.approx(182 / 30.4375)
    np.testing.assert_array_equal(later.volumes["T1"].voxels, make_picture(seed=1))
    assert patient.mask is not None
    assert later.mask is not None
    assert (int(np.argwhere(patient.mask.voxels)[0, 0]), int(np.argwhere(later.mask.voxels)[0, 0])) == (0, 1)
    assert [one.where for one in cohort.rejected] == ["masks/P_3.nii.gz"]
    console = Console(width=100, record=True)
    console.print(describe(cohort))
    shown = console.export_text()
    assert "1 with a follow-up" in shown
    assert "6.0" in shown


def test_a_mask_named_after_the_patient_goes_by_its_grid(
    tmp_path: Path, write_series: Write, make_picture: Callable[..., Any]
) -> None:
    write_series(tmp_path, "P", "T1", folder="one", StudyDate="20200101", StudyInstanceUID="1.2.1")
    write_series(
        tmp_path, "P", "T1", folder="two", StudyDate="20210101", StudyInstanceUID="1.2.2", origin=(0.0, 0.0, 0.0)
    )
    later = load_cohort(tmp_path).patients[0].follow_up[0].volumes["T1"]
    (tmp_path / "masks").mkdir()
    mask = nibabel.Nifti1Image(np.ones(later.voxels.shape, np.uint8), RAS @ later.affine)
    nibabel.save(mask, tmp_path / "masks" / "P.nii.gz")
    patient = load_cohort(tmp_path).patients[0]
    assert patient.mask is None
    assert patient.follow_up[0].mask is not None


def test_a_numbered_name_that_is_a_patients_own_means_that_patient(
    tmp_path: Path, write_series: Write, make_picture: Callable[..., Any]
) -> None:
    write_series(tmp_path, "P", "T1")
    write_series(tmp_path, "P_2", "T1")
    write_mask(tmp_path, "P_2.nii.gz", 0)
    first, second = load_cohort(tmp_path).patients
    assert (first.mask, second.mask is not None) == (None, True)

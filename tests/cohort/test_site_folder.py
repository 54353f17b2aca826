"""A site folder becomes a cohort; what is bad is named and stops nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from fedspine.cohort import files
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort
from fedspine.errors import CohortError

Write = Callable[..., list[Path]]


def own(cohort: Cohort) -> list[str]:
    """Return the hospital's own ids of the patients, in their order."""
    return [cohort.own_ids[patient.identifier] for patient in cohort.patients]


def refusals(cohort: Cohort) -> dict[str, str]:
    return {one.where: one.reason for one in cohort.rejected}


def test_a_good_site_gives_everything_it_holds(site: Path) -> None:
    cohort = load_cohort(site)
    assert cohort.name == "site"
    assert cohort.rejected == ()
    assert cohort.omics_columns == ("BRAF", "expression")
    first, second = cohort.patients
    assert own(cohort) == ["P1", "P2"]
    assert (first.label, set(first.volumes), second.label) == ("benign", {"T1", "T2"}, "malignant")
    assert second.omics is not None
    np.testing.assert_array_equal(second.omics, [0, np.nan])
    scanner = first.volumes["T1"].scanner
    assert (scanner.vendor, scanner.model, scanner.field_tesla, scanner.echo_time_ms) == ("Maker", "Model", 1.5, 10)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="a site must be a folder; found none at the place given; give the folder"):
        load_cohort(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CohortError, match=r"must hold patients.csv and dicom/, or BIDS; found none of them; give the folder"
    ):
        load_cohort(tmp_path)


def test_tables_without_any_image_are_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "patients.csv").write_text("patient,label\nP1,benign\n")
    with pytest.raises(CohortError, match="at least one patient must have a usable image; found 0 files"):
        load_cohort(tmp_path / "bare")


def test_a_folder_of_useless_files_is_refused_with_the_usual_reason(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    for number in range(3):
        (tmp_path / "dicom" / f"{number}.dcm").write_text("not an image")
    with pytest.raises(
        CohortError, match=r"found 3 files .* none usable \(most often: .* must be DICOM Part 10"
    ) as found:
        load_cohort(tmp_path)
    assert found.value.remedy == "remove it or export it again as DICOM"


def test_dicom_alone_is_a_cohort_without_labels(site: Path) -> None:
    (site / "patients.csv").unlink()
    (site / "omics.csv").unlink()
    cohort = load_cohort(site)
    assert own(cohort) == ["P1", "P2"]
    assert all(patient.label is None and patient.omics is None for patient in cohort.patients)


def test_two_rows_for_one_patient_are_refused(site: Path) -> None:
    (site / "patients.csv").write_text("patient,label\nP1,benign\nP2,malignant\nP1,malignant\n")
    with pytest.raises(CohortError, match=r"one row in patients.csv; found 1 more for an id that already has one"):
        load_cohort(site)


@pytest.mark.parametrize("part", [{"PatientName": "Other^Person"}, {"PatientBirthDate": "19800202"}])
def test_two_people_under_one_id_are_left_out(site: Path, write_series: Write, part: dict[str, str]) -> None:
    write_series(site, "P1", "STIR", **part)
    cohort = load_cohort(site)
    assert own(cohort) == ["P2"]
    (one,) = cohort.rejected
    assert one.reason.startswith("one PatientID must mean one person; found two names or birth dates")
    assert one.patient == "P1"


@pytest.mark.parametrize("name", ["", "NAME^P1", "Name P1"])
def test_a_blank_or_another_spelling_of_a_name_is_the_same_person(site: Path, write_series: Write, name: str) -> None:
    write_series(site, "P1", "STIR", PatientName=name, PatientBirthDate="")
    assert set(load_cohort(site).patients[0].volumes) == {"T1", "T2", "STIR"}


def test_a_patient_who_is_not_in_the_table_is_refused(site: Path, write_series: Write) -> None:
    write_series(site, "P3")
    cohort = load_cohort(site)
    assert own(cohort) == ["P1", "P2"]
    assert refusals(cohort)["dicom/P3-T1/000.dcm"].startswith("a PatientID must stand in patients.csv")


def test_a_patient_with_omics_and_no_image_stays_and_one_with_nothing_goes(site: Path) -> None:
    (site / "patients.csv").write_text("patient,label\nP1,benign\nP2,malignant\nP3,benign\nP4,benign\n")
    (site / "omics.csv").write_text("patient,BRAF\nP3,1\n")
    cohort = load_cohort(site)
    assert [(one, bool(patient.volumes)) for one, patient in zip(own(cohort), cohort.patients, strict=True)] == [
        ("P1", True),
        ("P2", True),
        ("P3", False),
    ]
    (one,) = cohort.rejected
    assert (one.patient, one.reason.split(";")[0]) == ("P4", "a patient must have images or omics")


def test_a_row_of_omics_without_a_patient_is_refused(site: Path) -> None:
    (site / "omics.csv").write_text("patient,BRAF\nP1,1\nP8,1\n")
    (one,) = load_cohort(site).rejected
    assert (one.patient, one.reason.split(";")[0]) == (
        "P8",
        "a patient in omics.csv must stand in patients.csv or have images",
    )


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def truncate_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def unknown_syntax(file: Path) -> None:
    # the same length keeps the file whole
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", 1))


def text(file: Path) -> None:
    file.write_text("a letter")


def infinite(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    dataset.RescaleSlope, dataset.RescaleIntercept = "1e300", "0"
    dataset.save_as(file)


def no_position(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    del dataset.ImagePositionPatient
    dataset.save_as(file)


def no_patient(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    dataset.PatientID = ""
    dataset.save_as(file)


def colour(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.save_as(file)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "every slice of a series must be complete; found one cut short or broken; export the series again."),
        (truncate_header, "an image must have rows and columns; found a header without them"),
        (unknown_syntax, "pixels must be stored in a known transfer syntax; found an unknown one; export the series"),
        (text, "a file below dicom/ must be DICOM Part 10; found something else; remove it or export it again"),
        (infinite, "voxels must be finite; found infinite or missing values; export the series again."),
        (no_position, "an image must give its position, orientation and pixel spacing; found a header without them"),
        (no_patient, "a DICOM file must have a PatientID; found none; export it with the identifier of patients.csv."),
        (colour, "an image must be grey; found a coloured one; leave colour maps and screen shots out."),
    ],
)
def test_a_bad_file_is_refused_with_a_reason_and_the_others_go_on(
    site: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(site / "dicom" / "P1-T1" / "001.dcm")
    cohort = load_cohort(site)
    assert any(one.startswith(reason) for one in refusals(cohort).values()), refusals(cohort)
    first, second = cohort.patients
    assert set(first.volumes) == {"T2"}
    assert set(second.volumes) == {"T1", "T2"}


def test_an_empty_file_is_refused(site: Path) -> None:
    (site / "dicom" / "empty").touch()
    assert "dicom/empty" in refusals(load_cohort(site))


def test_hidden_files_are_skipped(site: Path) -> None:
    (site / "dicom" / ".DS_Store").write_bytes(b"x")
    (site / "dicom" / ".hidden").mkdir()
    (site / "dicom" / ".hidden" / "file").write_bytes(b"x")
    assert load_cohort(site).rejected == ()


def test_a_link_that_leaves_the_site_is_not_followed(site: Path, tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path / "elsewhere", "P1", "STIR")
    (site / "dicom" / "link").symlink_to(tmp_path / "elsewhere")
    cohort = load_cohort(site)
    assert "STIR" not in cohort.patients[0].volumes
    assert refusals(cohort)["dicom/link"].startswith("a link must stay inside the site folder")


def test_a_link_inside_the_site_is_followed_once(site: Path, write_series: Write) -> None:
    write_series(site / "store", "P1", "STIR")
    (site / "dicom" / "link").symlink_to(site / "store" / "dicom")
    (site / "dicom" / "round").symlink_to(site / "dicom")
    cohort = load_cohort(site)
    assert set(cohort.patients[0].volumes) == {"T1", "T2", "STIR"}
    assert cohort.rejected == ()


def test_a_file_without_access_rights_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = files._without_waiting

    def guarded(place: str, flags: int) -> int:
        if Path(place).parts[-2:] == ("P1-T1", "001.dcm"):
            raise PermissionError(f"no access to {place}")
        return opened(place, flags)

    monkeypatch.setattr(files, "_without_waiting", guarded)
    assert refusals(load_cohort(site))["dicom/P1-T1/001.dcm"] == (
        "a file must be readable; found one that is not; check its access rights."
    )


def test_a_link_to_nothing_is_refused(site: Path) -> None:
    (site / "dicom" / "nothing").symlink_to(site / "dicom" / "gone")
    assert refusals(load_cohort(site))["dicom/nothing"].startswith("an entry must be a file or a folder")


def test_progress_counts_up_to_the_end(site: Path) -> None:
    steps: list[tuple[int, int]] = []
    load_cohort(site, progress=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert {total for _, total in steps} == {32}
    assert steps[-1] == (32, 32)


def odd_values(file: Path) -> None:
    """Write values that pydicom warns of, quoting them."""
    content = file.read_bytes()
    file.write_bytes(content.replace(b"19330303", b"zq330303").replace(b"1.2.77777.", b"1.2.zqzqz."))


def test_nothing_of_a_patient_shows_in_any_reason_error_repr_or_log(
    tmp_path: Path, write_series: Write, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Mark every place that a patient shows in, spoil the files in every way, and look for the marks."""
    site = tmp_path / "zqsite"
    marks = {"PatientName": "Zqname^Zqgiven", "PatientBirthDate": "19330303", "StudyDate": "20040404"}

    def mark(i: int, dataset: Dataset) -> None:
        for keyword, value in marks.items():
            setattr(dataset, keyword, value)
        dataset.SeriesInstanceUID = f"1.2.77777.{dataset.SeriesNumber}"

    spoilers: list[Any] = [
        truncate,
        truncate_header,
        unknown_syntax,
        text,
        infinite,
        no_position,
        no_patient,
        colour,
        odd_values,
    ]
    for number, spoil in enumerate(spoilers):
        options = {"folder": f"zqfolder{number}", "SeriesNumber": number, "names": lambda i: f"zqfile{i}"}
        spoil(write_series(site, "zqpatient", "T1", change=mark, **options)[1])
    write_series(site, "zqother", change=mark)
    write_series(site, "zqsecond", PatientName="Zqname^One")
    write_series(site, "zqsecond", "T2", PatientName="Zqname^Two")
    write_series(site, "zqgood")
    (site / "patients.csv").write_text(
        "patient,label,grade,time,event,zqcolumn\nzqpatient,zqlabel,zqgrade,inf,7,1\nzqsecond,zqlabel,1,2,1,1\n"
        "zqgood,zqlabel,1,2,1,1\nzqextra\n"
    )
    (site / "omics.csv").write_text("patient,zqgene,zqtext\nzqpatient,zqcell,zqword\nzqgood,inf,zqword\nzqlost,1,x\n")
    (site / "masks").mkdir()
    (site / "masks" / "zqgood.nii.gz").write_bytes(b"zqmask")
    cohort = load_cohort(site)
    assert len({one.reason for one in cohort.rejected}) >= 15
    said = [one.reason for one in cohort.rejected] + [repr(one) for one in cohort.rejected]
    said += [repr(cohort.patients), *(repr(volume) for one in cohort.patients for volume in one.volumes.values())]
    for place in ("patients.csv", "dicom"):
        (site / "patients.csv").write_text("patient,label\nzqgood,zqlabel\nzqgood,zqlabel\n")
        if place == "dicom":
            (site / "patients.csv").write_text("patient,label\nzqnobody,zqlabel\n")
        with pytest.raises(CohortError) as caught:
            load_cohort(site)
        said += [str(caught.value), repr(caught.value)]
    said += [caplog.text, *capfd.readouterr()]
    everything = "\n".join(said).lower()
    for secret in ("zq", "1933", "2004", "77777", str(tmp_path).lower()):
        assert secret not in everything, secret


def test_random_damage_to_files_never_stops_a_load(site: Path) -> None:
    random = np.random.default_rng(5)
    files = sorted((site / "dicom" / "P1-T1").iterdir())
    whole = [file.read_bytes() for file in files]
    refused = 0
    for _ in range(40):
        for file, content in zip(files, whole, strict=True):
            damaged = bytearray(content)
            for place in random.integers(len(content), size=random.integers(8)):
                damaged[place] = random.integers(256)
            file.write_bytes(damaged[: random.integers(len(damaged))] if random.random() < 0.1 else damaged)
        cohort = load_cohort(site, cache=site / "patients.csv")
        assert set(cohort.patients[-1].volumes) == {"T1", "T2"}
        refused += len(cohort.rejected)
    assert refused > 40

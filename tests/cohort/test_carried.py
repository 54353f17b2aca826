"""What `fedspine check SITE --identifiers` finds, and how it shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from rich.console import Console

from fedspine.cohort.deidentify.carried import Carried, survey
from fedspine.cohort.deidentify.carried_elsewhere import looks_like, tells
from fedspine.cohort.deidentify.copy import write_copy
from fedspine.cohort.deidentify.view import describe_carried, is_clean
from fedspine.errors import CohortError

Write = Callable[..., list[Path]]


def printed(carried: Carried) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(describe_carried(carried))
    return capture.get()


def rows(text: str, first: str) -> list[list[str]]:
    """Return the cells of every row that begins with `first`."""
    found = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return [cells for cells in found if cells[:1] == [first]]


def test_every_identifying_attribute_is_counted_by_files_and_patients(site: Path) -> None:
    text = printed(survey(site))
    assert rows(text, "PatientName") == [["PatientName", "0010,0010", "16", "2", "emptied"]]
    assert rows(text, "PatientBirthDate") == [["PatientBirthDate", "0010,0030", "16", "2", "emptied"]]
    assert rows(text, "SOPInstanceUID") == [["SOPInstanceUID", "0008,0018", "16", "2", "replaced"]]
    assert rows(text, "SeriesDescription") == [["SeriesDescription", "0008,103e", "16", "2", "cleaned"]]
    assert not rows(text, "EchoTime")
    assert text.startswith("16 DICOM files read; 0 say that they are de-identified")
    assert not (site / ".fedspine" / "cache").exists(), "a look changes nothing"


def test_no_value_shows(site: Path, write_series: Write) -> None:
    def mark(number: int, dataset: Dataset) -> None:
        dataset.PatientName, dataset.InstitutionName, dataset.AccessionNumber = "Zqname^Zqgiven", "zqhospital", "zq1"
        dataset.private_block(0x0009, "VENDOR", create=True).add_new(1, "LO", "zqprivate")

    write_series(site, "zqid", folder="zqname/zqid", change=mark, names=lambda i: f"zq1_{i}.dcm")
    (site / "patients.csv").write_text("patient,label,Name,DOB,zip code\nzqid,benign,zq,zq,zq\n")
    carried = survey(site)
    text = printed(carried)
    assert "zq" not in text.lower() + repr(carried).lower()
    assert rows(text, "VENDOR") == [["VENDOR", "4", "1", "removed"]]
    assert rows(text, "part of the patient's name") == [["part of the patient's name", "4", "1"]]
    assert rows(text, "patient's id") == [["patient's id", "20", "3"]]
    assert rows(text, "accession number") == [["accession number", "4", "1"]]
    assert [cells[1:] for cells in rows(text, "patients.csv")] == [
        ["patient", "patients' own ids"],
        ["Name", "a name"],
        ["DOB", "a birth date"],
        ["zip code", "an address"],
    ]
    assert max(len(line) for line in text.splitlines()) <= 100


def test_pictures_that_may_show_a_person_and_unreadable_files_are_told(site: Path, write_series: Write) -> None:
    write_series(site, "P3", BurnedInAnnotation="YES")
    (site / "dicom" / "letter").write_text("x")
    carried = survey(site)
    assert (carried.files, carried.unread) == (20, 1)
    assert [(count.files, len(count.patients)) for count in carried.pictures.values()] == [(4, 1)]
    assert "Pictures that may show a person" in printed(carried)


def test_a_bids_data_set_is_looked_through_too(tmp_path: Path) -> None:
    anat = tmp_path / "sub-zq7" / "anat"
    anat.mkdir(parents=True)
    sidecar = {"EchoTime": 0.1, "PatientName": "zq", "InstitutionName": "zq", "AcquisitionTime": "10:11:12"}
    sidecar |= {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "zq", "Manufacturer": "Maker", "BodyPart": "SPINE"}
    (anat / "sub-zq7_T2w.json").write_text(json.dumps(sidecar))
    (anat / "sub-zq7_T1w.json").write_text("[broken")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tlabel\nsub-zq7\t63\tbenign\n")
    carried = survey(tmp_path)
    assert dict(carried.sidecars) == {
        "InstitutionName": 1,
        "PatientName": 1,
        "SeriesDescription": 1,
        "SeriesInstanceUID": 1,
    }
    assert carried.tables == (
        ("participants.tsv", "participant_id", "patients' own ids"),
        ("participants.tsv", "age", "an age"),
    )
    assert {what: count.files for what, count in carried.names.items()} == {"patient's id": 2}
    assert "zq" not in printed(carried)


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="a site must be a folder"):
        survey(tmp_path / "nowhere")
    with pytest.raises(CohortError, match="a site folder must hold"):
        survey(tmp_path)


def test_a_column_that_is_read_as_it_is_is_named_as_such(site: Path) -> None:
    assert "Columns of omics.csv are read" not in printed(survey(site))
    (site / "omics.csv").write_text("patient,age\nP1,63\n")
    assert "Columns of omics.csv are read, and copied, as they are" in printed(survey(site))


def test_a_clean_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("patient,label\nP-Z10V-1W07-EVWM,benign\n")
    carried = survey(tmp_path)
    assert is_clean(carried)
    assert "Nothing was found that identifies. Pixels were not looked at." in printed(carried)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("PatientName", "a name"),
        ("Geburtsdatum", "a birth date"),
        ("scan_date", "another date"),
        ("MRN", "a record number"),
        ("E-Mail", "a way to reach someone"),
        ("referring_physician", "staff or place"),
        ("MKI67", None),
        ("agent", None),
        ("grade", None),
        ("time", None),
        ("stage", None),
    ],
)
def test_columns_are_told_by_the_words_of_their_names(column: str, what: str | None) -> None:
    assert looks_like(column) == what


def test_a_sidecars_field_follows_the_rule_of_its_dicom_keyword() -> None:
    assert tells("PatientBirthDate", "1")
    assert tells("StudyInstanceUID", "1.2")
    assert tells("SeriesDescription", "t2 zq")
    assert not tells("RepetitionTime", 1)
    assert not tells("SliceTiming", [1])
    assert not tells("ContrastBolusAgent", "agent")


@pytest.mark.parametrize("name", ["masks/x.nii.gz", "bids/sub-1/anat/sub-1_T1w.nii", "bids/T1w.json", "dicom/x.dcm"])
def test_what_cannot_be_read_is_never_an_all_clear(tmp_path: Path, site: Path, name: str) -> None:
    write_copy(site, tmp_path / "copy")
    assert is_clean(survey(tmp_path / "copy"))
    broken = tmp_path / "copy" / name
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"JANE DOE")
    carried = survey(tmp_path / "copy")
    assert carried.unread == 1
    text = printed(carried)
    assert "Nothing was found" not in text
    assert "may carry anything" in text

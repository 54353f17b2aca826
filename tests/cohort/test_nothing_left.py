"""Mark every place that a patient shows in, read the site, and look for the marks in all that fedspine keeps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]


def mark(number: int, dataset: Dataset) -> None:
    """Write the mark `zq` into every kind of place that may hold a patient, and a date and a UID."""
    dataset.PatientName, dataset.PatientBirthDate, dataset.StudyDate = "Zqname^Zqgiven", "19330303", "20040404"
    dataset.OtherPatientIDs, dataset.InstitutionName, dataset.OperatorsName = "zqother", "zqhospital", "zqoperator"
    dataset.StudyDescription, dataset.ProtocolName = "zqstudy", "t1 zqprotocol"
    dataset.SeriesDescription += " zqseries"
    dataset.ImageComments, dataset.AccessionNumber, dataset.StationName = "zqcomment", "zq1", "zqstation"
    dataset.StudyInstanceUID = "1.2.77777.1"
    dataset.FrameOfReferenceUID = "1.2.77777.2"
    dataset.SeriesInstanceUID = f"1.2.77777.3.{dataset.SeriesNumber}"
    dataset.SOPInstanceUID = f"1.2.77777.4.{dataset.SeriesNumber}.{number}"
    dataset.private_block(0x0009, "ZQ PRIVATE", create=True).add_new(1, "LO", "zqprivate")
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.CodeMeaning, item.PersonName = "1.2.77777.5", "zqmeaning", "Zqperson"
    dataset.ReferencedImageSequence, dataset.RequestAttributesSequence = Sequence([item]), Sequence([item])


@pytest.fixture
def marked(tmp_path: Path, write_series: Write) -> Path:
    """Return a site folder of two patients whose every identifier holds a mark."""
    site = tmp_path / "site"
    for patient in ("zqid1", "zqid2"):
        for number, contrast in enumerate(("T1", "T2"), 1):
            options = {"folder": f"zqfolder/{patient}-{contrast}", "names": lambda i: f"zqfile{i}"}
            write_series(site, patient, contrast, change=mark, SeriesNumber=number, **options)
    # a slice sent twice, and one that is another size: what is said of them goes into the cache too
    write_series(site, "zqid1", "STIR", change=mark, SeriesNumber=3, folder="zqfolder/stir", names=lambda i: f"zq{i}")
    copy = site / "dicom" / "zqfolder" / "stir"
    (copy / "zqcopy").write_bytes((copy / "zq1").read_bytes())
    (site / "patients.csv").write_text("patient,label\nzqid1,benign\nzqid2,malignant\nzqid3,benign\n")
    (site / "omics.csv").write_text("patient,gene\nzqid1,1\nzqid2,0\n")
    (site / "masks").mkdir()
    (site / "masks" / "zqid1.nii.gz").write_bytes(b"zqbroken")
    return site


SECRETS = ("zq", "19330303", "20040404", "77777")


def found_below(folder: Path) -> list[str]:
    """Return the files below `folder` whose name or content holds a secret, with it."""
    found = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes().lower() if path.is_file() else b""
        found += [f"{path.name}: {one}" for one in SECRETS if one in path.name.lower() or one.encode() in content]
    return found


def check(cohort: Cohort) -> None:
    said = [repr(cohort), repr(cohort.patients), repr(cohort.rejected), repr(cohort.own_ids and cohort.cleared)]
    said += [one.reason for one in cohort.rejected]
    said += [repr(volume) for patient in cohort.patients for volume in patient.volumes.values()]
    said += [patient.identifier for patient in cohort.patients]
    everything = "\n".join(said).lower()
    assert [one for one in SECRETS if one in everything] == []


def test_nothing_of_a_patient_is_in_the_cache_or_in_any_value(marked: Path) -> None:
    cohort = load_cohort(marked)
    assert len(cohort.patients) == 2
    assert any("a slice must be sent once" in one.reason for one in cohort.rejected)
    check(cohort)
    check(load_cohort(marked))
    kept = marked / ".fedspine"
    table = (kept / "pseudonyms.csv").read_text()
    assert table.count("zq") == 3
    os.remove(kept / "pseudonyms.csv")
    assert found_below(kept) == []


def test_the_hospital_still_sees_its_own_ids(marked: Path) -> None:
    cohort = load_cohort(marked)
    assert {cohort.own_ids[one.identifier] for one in cohort.patients} == {"zqid1", "zqid2"}
    assert {one.patient for one in cohort.rejected} >= {"zqid1", "zqid3"}


def test_a_second_start_opens_no_file_and_knows_the_same(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_cohort(marked)
    monkeypatch.setattr("fedspine.cohort.dicom.passes.read_header", None)
    second = load_cohort(marked)
    assert second.own_ids == first.own_ids
    assert second.cleared == first.cleared
    assert {(tag, done) for tag, done, _, _ in first.cleared} >= {(0x00100010, "emptied"), (0, "removed")}
    files = {files for tag, _, files, _ in first.cleared if tag == 0x00100010}
    assert files == {21}

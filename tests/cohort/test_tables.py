"""The two tables of a site folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedspine.cohort.patient import Rejected
from fedspine.cohort.tables import Omics, read_omics, read_patients
from fedspine.errors import CohortError


def omics(folder: Path, text: str) -> tuple[Omics, list[Rejected]]:
    (folder / "omics.csv").write_text(text)
    rejected: list[Rejected] = []
    return read_omics(folder, rejected), rejected


def test_no_table_is_no_fault(tmp_path: Path) -> None:
    rejected: list[Rejected] = []
    assert read_patients(tmp_path, rejected) is None
    assert read_omics(tmp_path, rejected).columns == ()
    assert rejected == []


@pytest.mark.parametrize("cell", ["", "NA", "nan", "NaN", "n/a", "None", " "])
def test_every_word_for_missing_means_missing(tmp_path: Path, cell: str) -> None:
    table, rejected = omics(tmp_path, f"patient,a\nP1,{cell}\nP2,2\n")
    assert np.isnan(table.rows["P1"][0])
    assert table.rows["P2"][0] == 2
    assert rejected == []


def test_a_text_in_a_numeric_column_is_refused_alone(tmp_path: Path) -> None:
    table, (one,) = omics(tmp_path, "patient,a,b\nP1,1,5\nP2,high,6\nP3,3,7\n")
    assert one.reason == "a numeric column must hold numbers; found text; correct the cell or leave it empty."
    assert (one.where, one.patient) == ("omics.csv, line 3, column 2", "P2")
    np.testing.assert_array_equal(table.rows["P2"], [np.nan, 6])
    np.testing.assert_array_equal(table.rows["P3"], [3, 7])


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_an_infinite_number_is_refused_alone(tmp_path: Path, cell: str) -> None:
    table, (one,) = omics(tmp_path, f"patient,a,b\nP1,{cell},5\n")
    assert one.reason.startswith("an omics value must be finite")
    np.testing.assert_array_equal(table.rows["P1"], [np.nan, 5])


def test_a_column_of_words_is_refused_once(tmp_path: Path) -> None:
    table, (one,) = omics(tmp_path, "patient,type,b\nP1,x,1\nP2,y,2\nP3,3,3\n")
    assert table.columns == ("type", "b"), "kept, so that one patient's word cannot take away another's number"
    assert [table.rows[p][0] for p in ("P1", "P3")] == [pytest.approx(np.nan, nan_ok=True), 3.0]
    assert one.reason.startswith("an omics column must hold numbers; found text in most cells")


def test_an_empty_column_stays_because_other_sites_may_fill_it(tmp_path: Path) -> None:
    table, rejected = omics(tmp_path, "patient,a\nP1,\nP2,\n")
    assert (table.columns, rejected) == (("a",), [])


def test_names_of_columns_must_differ_and_be_there(tmp_path: Path) -> None:
    table, rejected = omics(tmp_path, "patient,a,a,\nP1,1,2,3\n")
    assert table.columns == ("a",)
    assert table.rows["P1"].tolist() == [1]
    assert len(rejected) == 2


def test_two_rows_of_omics_for_one_patient_are_both_refused(tmp_path: Path) -> None:
    table, rejected = omics(tmp_path, "patient,a\nP1,1\nP1,2\nP2,3\n")
    assert set(table.rows) == {"P2"}
    assert [one.where for one in rejected] == ["omics.csv, line 2", "omics.csv, line 3"]


def test_omics_without_a_patient_column_are_refused(tmp_path: Path) -> None:
    table, (one,) = omics(tmp_path, "id,a\nP1,1\n")
    assert table.rows == {}
    assert one.reason.startswith("omics.csv must have a column named patient")


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfPatient;A;B\r\nP1;1,5;M\xc3\xbc\r\n;;\r\nP2;-2,25;x\r\n".replace(b";M\xc3\xbc", b";4").replace(
            b";x", b";"
        ),
        b"patient\tA\tB\nP1\t1.5\t4\nP2\t-2.25\t\n",
        b'patient,A,B\n"P1"," 1.5 ",4\n\nP2,-2.25,NA',
    ],
)
def test_spreadsheets_of_any_country_are_read(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "omics.csv").write_bytes(raw)
    table = read_omics(tmp_path, [])
    assert table.columns == ("A", "B")
    np.testing.assert_array_equal([table.rows["P1"], table.rows["P2"]], [[1.5, 4], [-2.25, np.nan]])


def test_latin_1_is_understood(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_bytes("patient,label\nP1,gutartig für\n".encode("latin-1"))
    rows = read_patients(tmp_path, [])
    assert rows is not None
    assert rows["P1"].label == "gutartig für"


def test_a_row_with_too_few_or_too_many_cells_is_refused(tmp_path: Path) -> None:
    table, rejected = omics(tmp_path, "patient,a,b\nP1,1\nP2,1,2,3\nP3,1,2\n")
    assert set(table.rows) == {"P3"}
    assert [one.where for one in rejected] == ["omics.csv, line 2", "omics.csv, line 3"]


def test_every_field_of_a_patient_is_read(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(
        "Level,patient,LABEL,grade,time,event,Age,sex\nT5,P1,benign,2,14.5,1,63,female\n,P2,,,,,,O\n"
    )
    rejected: list[Rejected] = []
    rows = read_patients(tmp_path, rejected)
    assert rows is not None
    first, second = rows["P1"], rows["P2"]
    assert (first.level, first.label, first.grade, first.time, first.event) == ("T5", "benign", 2, 14.5, 1)
    assert (first.age, first.sex) == (63, "F")
    assert (second.level, second.label, second.grade, second.time, second.event) == (None,) * 5
    assert (second.age, second.sex) == (None, None)
    assert rejected == []


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("grade", "high", "grade must be a number; found text; give a number or leave the cell empty."),
        ("grade", "inf", "grade must be finite; found an infinite number; give a number or leave the cell empty."),
        ("event", "2", "event must be 1 (it happened) or 0 (it did not); found another number; correct the cell."),
        ("age", "***", "age must be a number; found text; give a number or leave the cell empty."),
        ("age", "-1", "age must be 0 to 130 years; found another number; correct the cell."),
        ("time", "-3", "time must be zero or more months; found a negative number; correct the cell."),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused_alone(tmp_path: Path, column: str, cell: str, reason: str) -> None:
    (tmp_path / "patients.csv").write_text(f"patient,label,{column}\nP1,benign,{cell}\n")
    rejected: list[Rejected] = []
    rows = read_patients(tmp_path, rejected)
    assert rows is not None
    assert (rows["P1"].label, getattr(rows["P1"], column)) == ("benign", None)
    assert [(one.where, one.reason) for one in rejected] == [(f"patients.csv, line 2, {column}", reason)]


def test_a_table_of_patients_without_patients_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("id,label\nP1,benign\n")
    with pytest.raises(CohortError, match=r"patients.csv must have a column named patient"):
        read_patients(tmp_path, [])


def test_an_unknown_column_and_a_row_without_an_id_are_named(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("patient,lable\nP1,benign\n,benign\n")
    rejected: list[Rejected] = []
    assert set(read_patients(tmp_path, rejected) or {}) == {"P1"}
    assert [one.where for one in rejected] == ["patients.csv, column 2", "patients.csv, line 3"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text('patient,;\n"\r\t1.x\0', max_size=60).map(str.encode))
def test_any_bytes_at_all_are_a_table_or_refused(tmp_path: Path, raw: bytes) -> None:
    for head in (b"", b"patient,label,grade\n", b"patient;a\r\nP1;1\r\n"):
        for name in ("patients.csv", "omics.csv"):
            (tmp_path / name).write_bytes(head + raw)
        with contextlib.suppress(CohortError):
            read_patients(tmp_path, [])
        assert all(
            len(row) == len(table.columns) for table in [read_omics(tmp_path, [])] for row in table.rows.values()
        )

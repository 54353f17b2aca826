"""Tables as spreadsheets of any country write them."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedspine.cohort import sheet
from fedspine.cohort.files import LEAVES
from fedspine.cohort.patient import Rejected
from fedspine.cohort.sheet import Sheet, read_sheet
from fedspine.cohort.tables import read_omics, read_participants, read_patients
from fedspine.errors import CohortError


def read(folder: Path, raw: bytes | str) -> tuple[Sheet | None, list[str]]:
    (folder / "t.csv").write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    rejected: list[Rejected] = []
    found = read_sheet(folder / "t.csv", "t.csv", rejected)
    return found, [f"{one.where}: {one.reason}" for one in rejected]


GERMAN = "patient;label\nMüller;gutartig – größer\nP2;bösartig\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_that_a_file_declares_is_read_without_a_word(tmp_path: Path, encoding: str) -> None:
    found, said = read(tmp_path, GERMAN.encode(encoding))
    assert found is not None
    assert (found.columns, said) == (["patient", "label"], [])
    assert found.rows[0][1] == ["Müller", "gutartig – größer"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_known_by_its_zeros(tmp_path: Path, encoding: str) -> None:
    found, said = read(tmp_path, GERMAN.encode(encoding))
    assert found is not None
    assert (found.rows[1][1], said) == (["P2", "bösartig"], [])


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", GERMAN),
        ("latin-1", "patient,label\nPeña,benigno\nNuñez,maligno\n"),
        ("cp932", "patient,label\n田中01,良性\n佐藤02,悪性\n鈴木03,正常\n"),
        ("gb18030", "patient,label\n王01,良性\n李02,恶性\n张03,正常\n"),
        ("cp1251", "patient;label\nИванов;доброкачественная\nПетров;злокачественная\n"),
        ("euc_kr", "patient,label\nP1,양성\n김철수,악성\n"),
        ("cp1253", "patient;label\nP1;καλοήθης\nP2;κακοήθης\n"),
    ],
)
def test_an_encoding_that_is_guessed_is_said(tmp_path: Path, encoding: str, text: str) -> None:
    found, (said,) = read(tmp_path, text.encode(encoding))
    assert found is not None
    assert [cells for _, cells in found.rows] == [line.split(text[7]) for line in text.splitlines()[1:]]
    guessed = "cp1252" if encoding == "latin-1" else encoding
    assert said.startswith(f"t.csv: a table should be UTF-8; found another encoding, read as {guessed}; save it as CSV")


def test_a_letter_and_its_accent_make_one_letter(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "patient\nMu\u0308ller\n")
    assert found is not None
    assert found.rows[0][1] == ["Müller"]


def test_the_first_line_of_excel_that_names_the_separator_is_no_heading(tmp_path: Path) -> None:
    for first in ("sep=;", '"sep=;"', "SEP=;"):
        found, said = read(tmp_path, f"{first}\r\npatient;a,b\r\nP1;1,5\r\n")
        assert found is not None
        assert (found.columns, found.rows, found.decimal_comma, said) == (
            ["patient", "a,b"],
            [(3, ["P1", "1,5"])],
            True,
            [],
        )


def test_line_breaks_of_any_system_and_within_quotes_are_understood(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        found, said = read(tmp_path, f'patient,label{end}P1,"two{end}lines"{end}P2,a\u2028b{end}'.encode())
        assert found is not None
        assert said == []
        assert [cells[0] for _, cells in found.rows] == ["P1", "P2"]


def test_an_open_quotation_mark_costs_its_own_row_alone(tmp_path: Path) -> None:
    found, said = read(tmp_path, 'patient,label\nP1,a\nP2,"b\nP3,c\nP4,"d\nP5,"e"\n')
    assert found is not None
    assert [cells for _, cells in found.rows] == [["P1", "a"], ["P3", "c"], ["P5", "e"]]
    assert [one.split(";")[0] for one in said] == [
        "t.csv, line 3: a quotation mark must be closed",
        "t.csv, line 5: a quotation mark must be closed",
    ]


def test_a_byte_of_nothing_costs_its_own_row_alone(tmp_path: Path) -> None:
    found, (said,) = read(tmp_path, b"patient,label,more\nP1,a\0b,x\nP2,c,y\n")
    assert found is not None
    assert [cells[0] for _, cells in found.rows] == ["P2"]
    assert said.startswith("t.csv, line 2: a cell must hold text of a bounded length; found bytes of something else")


def workbook() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("xl/workbook.xml", "")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (workbook(), "an Excel workbook or another zip file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel workbook"),
        (b"\x1f\x8b\x08" + bytes(9), "a compressed file"),
        (b"<html><table>", "a web page or XML"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_another_kind_of_file_under_a_tables_name_is_named(tmp_path: Path, raw: bytes, kind: str) -> None:
    found, (said,) = read(tmp_path, raw)
    assert found is None
    assert said == f"t.csv: a table must be plain text; found {kind}; save it as CSV UTF-8."


def test_a_table_of_two_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "t.csv", "wb") as file:
        file.truncate(2_000_000_000)
    rejected: list[Rejected] = []
    assert read_sheet(tmp_path / "t.csv", "t.csv", rejected) is None
    assert rejected[0].reason.startswith("a table may hold 256 MB, 20 million cells and 100000 columns; found more")


def test_a_table_of_a_million_columns_is_refused(tmp_path: Path) -> None:
    found, (said,) = read(tmp_path, "patient" + ",a" * 1_000_000 + "\n")
    assert found is None
    assert said.startswith("t.csv: a table may hold 256 MB")


def test_a_table_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "MOST_CELLS", 5)
    found, said = read(tmp_path, "patient,a\n" + "P,1\n" * 6)
    assert (found, len(said)) == (None, 1)


def test_a_pipe_under_a_tables_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    rejected: list[Rejected] = []
    assert read_sheet(tmp_path / "t.csv", "t.csv", rejected) is None
    assert rejected[0].reason.startswith("a table must be readable")


def test_formulas_and_errors_of_a_spreadsheet_are_no_values(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text('patient,label,grade\n="007",=A1,=1+1\nP2,#REF!,#N/A\n=B7,benign,1\n')
    rejected: list[Rejected] = []
    rows = read_patients(tmp_path, rejected)
    assert rows is not None
    assert {one: (row.label, row.grade) for one, row in rows.items()} == {"007": (None, None), "P2": (None, None)}
    assert [one.where.removeprefix("patients.csv, ") for one in rejected] == [
        "line 2, label",
        "line 2, grade",
        "line 3, label",
        "line 4",
    ]
    (tmp_path / "omics.csv").write_text("patient,a,b\nP1,=SUM(A1:A3),2\n=B7,1,1\nP3,1,1\n")
    refused: list[Rejected] = []
    assert set(read_omics(tmp_path, refused).rows) == {"P1", "P3"}
    assert [one.reason.split(";")[1] for one in refused] == [" found a formula or a spreadsheet's error"] * 2


def test_participants_are_read_with_or_without_sub_and_by_the_usual_names_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tdiagnosis\tgrade\nsub-01\t44\tbenign\tn/a\n02\t61\tn/a\t3\n"
    )
    rejected: list[Rejected] = []
    rows = read_participants(tmp_path, "participants.tsv", rejected)
    assert rows is not None
    assert {one: (row.label, row.grade) for one, row in rows.items()} == {"01": ("benign", None), "02": (None, 3.0)}
    assert rejected == []
    (tmp_path / "participants.tsv").write_text("participant_id\tlabel\tpathology\nsub-01\tbenign\tC71.9\n")
    rows = read_participants(tmp_path, "participants.tsv", rejected)
    assert rows is not None
    assert rows["01"].label == "benign"


def test_participants_without_identifiers_or_twice_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("age\n44\n")
    with pytest.raises(CohortError, match=r"participants.tsv must have a column named participant_id"):
        read_participants(tmp_path, "participants.tsv", [])
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\n01\n")
    with pytest.raises(CohortError, match=r"one row in participants.tsv; found 1 more"):
        read_participants(tmp_path, "participants.tsv", [])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(['"', ",", "\n", "a", '""', "\r\n", ";", "=", "\0"]), max_size=60).map("".join))
def test_any_quoting_is_a_table_or_refused_and_ends(tmp_path: Path, text: str) -> None:
    found, _ = read(tmp_path, "patient,a\n" + text)
    assert found is not None
    assert all(len(cells) == 2 for _, cells in found.rows)


def test_a_table_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text("patient,label\n1,benign\n")
    site = tmp_path / "site"
    site.mkdir()
    (site / "patients.csv").symlink_to(tmp_path / "elsewhere.csv")
    rejected: list[Rejected] = []
    assert read_sheet(site / "patients.csv", "patients.csv", rejected) is None
    assert [one.reason for one in rejected] == [LEAVES]

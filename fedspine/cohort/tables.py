"""Read `patients.csv` and `omics.csv`.

Both may come from a spreadsheet of any country: UTF-8 or Latin-1, commas, semicolons or tabs, and a decimal comma
where the cells are parted by something else. An empty cell, `NA` and `nan` all mean missing.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Rejected
from fedspine.errors import CohortError

MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "-", "?"})
NUMBERS = ("grade", "time", "event")
WORDS = ("label", "level")


@dataclass(frozen=True)
class Row:
    """One patient's row of `patients.csv`; the fields are those of `cohort.patient.Patient`."""

    label: str | None = field(default=None, repr=False)
    level: str | None = field(default=None, repr=False)
    grade: float | None = field(default=None, repr=False)
    time: float | None = field(default=None, repr=False)
    event: float | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Omics:
    """The numeric columns of `omics.csv`.

    Args:
        columns: their names.
        rows: patient to values (column,), NaN where missing.
    """

    columns: tuple[str, ...] = ()
    rows: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Table:
    """A table of texts: its columns, and (line, cells) for each row that could be read."""

    columns: list[str]
    rows: list[tuple[int, list[str]]]
    decimal_comma: bool


def read_patients(folder: Path, rejected: list[Rejected]) -> dict[str, Row] | None:
    """Return the rows of `patients.csv` by patient, or `None` without the file; note what is refused in `rejected`.

    Raises:
        CohortError: when it has no column of patients, or two rows for one patient.
    """
    where = "patients.csv"
    table = _read(folder / where, where, rejected)
    if table is None:
        return None
    columns = [name.lower() for name in table.columns]
    if "patient" not in columns:
        raise CohortError("patients.csv must have a column named patient", "none", "name the column of identifiers so")
    for number, name in enumerate(columns):
        if name not in ("patient", *NUMBERS, *WORDS) or name in columns[:number]:
            rejected.append(Rejected(f"{where}, column {number + 1}", UNKNOWN_COLUMN))
    rows: dict[str, Row] = {}
    again = 0
    for line, cells in table.rows:
        values = dict(reversed(list(zip(columns, cells, strict=True))))
        patient = values["patient"]
        if not patient:
            rejected.append(Rejected(f"{where}, line {line}", NO_PATIENT))
            continue
        again += patient in rows
        rows[patient] = _row(values, f"{where}, line {line}", patient, table.decimal_comma, rejected)
    if again:
        raise CohortError(
            "a patient must have one row in patients.csv",
            f"{again} more for an id that already has one",
            "take out the row that is wrong, or give each person an id of their own",
        )
    return rows


UNKNOWN_COLUMN = (
    "patients.csv has the columns patient, label, grade, time, event and level; found another or a second one; "
    "rename it if it is one of these, or move it to omics.csv."
)
NO_PATIENT = "a row must name its patient; found an empty cell; fill it in."


def _row(values: Mapping[str, str], where: str, patient: str, decimal_comma: bool, rejected: list[Rejected]) -> Row:
    words = {name: _word(values.get(name, "")) for name in WORDS}
    numbers: dict[str, float | None] = {}
    for name in NUMBERS:
        text = values.get(name, "")
        value = _number(text, decimal_comma)
        reason = None
        if value is None and _word(text) is not None:
            reason = f"{name} must be a number; found text; give a number or leave the cell empty."
        elif value is not None and not math.isfinite(value):
            reason = f"{name} must be finite; found an infinite number; give a number or leave the cell empty."
        elif value is not None and name == "event" and value not in (0.0, 1.0):
            reason = "event must be 1 (it happened) or 0 (it did not); found another number; correct the cell."
        elif value is not None and name == "time" and value < 0:
            reason = "time must be zero or more months; found a negative number; correct the cell."
        if reason is not None:
            rejected.append(Rejected(f"{where}, {name}", reason, patient))
        numbers[name] = value if reason is None else None
    return Row(**words, **numbers)  # type: ignore[arg-type]


def read_omics(folder: Path, rejected: list[Rejected]) -> Omics:
    """Return the numeric columns of `omics.csv`, none without the file; note what is refused in `rejected`.

    Every named column is kept and every cell read by itself: whether a patient's value counts may not depend on other
    patients' cells. A column with text in most cells is refused in one line rather than cell by cell.
    """
    where = "omics.csv"
    table = _read(folder / where, where, rejected)
    if table is None:
        return Omics()
    names = [name.lower() for name in table.columns]
    if "patient" not in names:
        rejected.append(Rejected(where, "omics.csv must have a column named patient; found none; name it so."))
        return Omics()
    key = names.index("patient")
    rows = _one_row_each(table, key, where, rejected)
    columns, wordy = [], set()
    for number, name in enumerate(table.columns):
        if number == key:
            continue
        reason = _unusable(name, number, table)
        if reason is None:
            columns.append(number)
            if _mostly_text([cells[number] for _, cells in rows.values()], table.decimal_comma):
                wordy.add(number)
                reason = TEXT_COLUMN
        if reason is not None:
            rejected.append(Rejected(f"{where}, column {number + 1}", reason))
    unsaid: list[Rejected] = []
    values = {
        patient: np.array(
            [
                _cell(
                    cells[n],
                    f"{where}, line {line}, column {n + 1}",
                    patient,
                    table,
                    unsaid if n in wordy else rejected,
                )
                for n in columns
            ],
            np.float64,
        )
        for patient, (line, cells) in rows.items()
    }
    return Omics(tuple(table.columns[number] for number in columns), values)


def _one_row_each(table: _Table, key: int, where: str, rejected: list[Rejected]) -> dict[str, tuple[int, list[str]]]:
    """Return the rows by patient; a patient with several has none, for which to believe is unknowable."""
    count = Counter(cells[key] for _, cells in table.rows)
    for line, cells in table.rows:
        place, patient = f"{where}, line {line}", cells[key]
        if not patient:
            rejected.append(Rejected(place, NO_PATIENT))
        elif count[patient] > 1:
            reason = "a patient must have one row in omics.csv; found more; take out the wrong one."
            rejected.append(Rejected(place, reason, patient))
    return {cells[key]: (line, cells) for line, cells in table.rows if cells[key] and count[cells[key]] == 1}


def _unusable(name: str, number: int, table: _Table) -> str | None:
    """Return why a column cannot be used, or `None`; the reason lies in the header alone."""
    if not name:
        return "a column must have a name; found none; name it."
    if name in table.columns[:number]:
        return "a column must have a name of its own; found a second one of that name; rename it."
    return None


TEXT_COLUMN = "an omics column must hold numbers; found text in most cells; code it as numbers or leave it out."


def _mostly_text(cells: list[str], decimal_comma: bool) -> bool:
    filled = [cell for cell in cells if _word(cell) is not None]
    return 2 * sum(_number(cell, decimal_comma) is not None for cell in filled) < len(filled)


def _cell(text: str, where: str, patient: str, table: _Table, rejected: list[Rejected]) -> float:
    """Return the value of an omics cell, NaN where it is missing or refused."""
    value = _number(text, table.decimal_comma)
    if value is not None and math.isfinite(value):
        return value
    if value is not None:
        reason = "an omics value must be finite; found an infinite number; correct the cell or leave it empty."
        rejected.append(Rejected(where, reason, patient))
    elif _word(text) is not None:
        reason = "a numeric column must hold numbers; found text; correct the cell or leave it empty."
        rejected.append(Rejected(where, reason, patient))
    return math.nan


def _word(text: str) -> str | None:
    return None if text.lower() in MISSING else text


def _number(text: str, decimal_comma: bool) -> float | None:
    """Return the number in `text`, infinite ones too; `None` for a missing or wordy cell."""
    if text.lower() in MISSING or "_" in text:  # Python reads 1_000, a table does not
        return None
    try:
        value = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _read(path: Path, where: str, rejected: list[Rejected]) -> _Table | None:
    """Return the table at `path` with blanks stripped, or `None` when there is none to be read."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        rejected.append(Rejected(where, "a table must be readable; found one that is not; check its access rights."))
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    columns: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    while True:
        try:
            cells = [cell.strip() for cell in next(lines)]
        except StopIteration:
            break
        except csv.Error:
            cells = ["", "\0"]
        if not any(cells):
            continue
        if not columns:
            columns = cells
        elif len(cells) != len(columns) or any("\0" in cell for cell in cells):
            reason = f"a row must have {len(columns)} cells like the first line; found another number; correct the row."
            rejected.append(Rejected(f"{where}, line {lines.line_num}", reason))
        else:
            rows.append((lines.line_num, cells))
    return _Table(columns, rows, delimiter != ",")

"""Read `patients.csv` and `omics.csv`, and the `participants.tsv` of a BIDS data set.

They may come from a spreadsheet of any country (`cohort.sheet`), with a decimal comma where the cells are parted by
something else. An empty cell, `NA` and `nan` all mean missing. A formula or a spreadsheet's error is no value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Rejected
from fedspine.cohort.sheet import Sheet, read_sheet
from fedspine.errors import CohortError

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "none", "null", "-", "?"})
NUMBERS = ("age", "grade", "time", "event")
WORDS = ("label", "level", "sex")
SEXES = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}
"""How tables spell it; another word, such as BIDS' O, counts as unknown."""


@dataclass(frozen=True)
class Row:
    """One patient's row of `patients.csv`; the fields are those of `cohort.patient.Patient`."""

    label: str | None = field(default=None, repr=False)
    level: str | None = field(default=None, repr=False)
    grade: float | None = field(default=None, repr=False)
    time: float | None = field(default=None, repr=False)
    event: float | None = field(default=None, repr=False)
    age: float | None = field(default=None, repr=False)
    sex: str | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Omics:
    """The numeric columns of `omics.csv`.

    Args:
        columns: their names.
        rows: patient to values (column,), NaN where missing.
    """

    columns: tuple[str, ...] = ()
    rows: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)


def read_patients(folder: Path, rejected: list[Rejected]) -> dict[str, Row] | None:
    """Return the rows of `patients.csv` by patient, or `None` without the file; note what is refused in `rejected`.

    Raises:
        CohortError: when it has no column of patients, or two rows for one patient.
    """
    where = "patients.csv"
    table = read_sheet(folder / where, where, rejected)
    if table is None:
        return None
    columns = _keyed([name.lower() for name in table.columns])
    for number, name in enumerate(columns):
        if name not in ("patient", *NUMBERS, *WORDS) or name in columns[:number]:
            rejected.append(Rejected(f"{where}, column {number + 1}", UNKNOWN_COLUMN))
    return _people(table, columns, where, rejected)


def read_participants(folder: Path, where: str, rejected: list[Rejected]) -> dict[str, Row] | None:
    """Return the rows of BIDS' table of participants, as `read_patients` does; `where` is its place.

    Its columns of other meanings are passed over, for BIDS wants many. `diagnosis` or `pathology` is the label where
    there is no `label`. Identifiers lose their `sub-`.
    """
    table = read_sheet(folder / where, where, rejected)
    if table is None:
        return None
    columns = _keyed([name.lower() for name in table.columns])
    spoken = next((name for name in LABELS if name in columns), "label")
    columns = ["" if name == "label" != spoken else "label" if name == spoken else name for name in columns]
    rows = _people(table, columns, "participants.tsv", rejected)
    return rows


LABELS = ("label", "diagnosis", "pathology")
PARTICIPANT = "participant_id"
OLDEST = 130


def _keyed(columns: list[str]) -> list[str]:
    """Return the names of columns with BIDS' name of the identifiers turned into ours."""
    return columns if "patient" in columns else ["patient" if name == PARTICIPANT else name for name in columns]


def _people(table: Sheet, columns: list[str], where: str, rejected: list[Rejected]) -> dict[str, Row]:
    if "patient" not in columns:
        key = "patient" if where == "patients.csv" else PARTICIPANT
        raise CohortError(f"{where} must have a column named {key}", "none", "name the column of identifiers so")
    rows: dict[str, Row] = {}
    again = 0
    for line, cells in table.rows:
        values = dict(reversed(list(zip(columns, cells, strict=True))))
        place, patient = f"{where}, line {line}", values["patient"]
        patient = patient if where == "patients.csv" else patient.removeprefix("sub-")
        if not patient or _no_value(patient):
            rejected.append(Rejected(place, FORMULA_PATIENT if patient else NO_PATIENT))
            continue
        again += patient in rows
        rows[patient] = _row(values, place, patient, table.decimal_comma, rejected)
    if again:
        raise CohortError(
            f"a patient must have one row in {where}",
            f"{again} more for an id that already has one",
            "take out the row that is wrong, or give each person an id of their own",
        )
    return rows


UNKNOWN_COLUMN = (
    "patients.csv has the columns patient, label, age, sex, grade, time, event and level; found another or a second "
    "one; rename it if it is one of these, or move it to omics.csv."
)
NO_PATIENT = "a row must name its patient; found an empty cell; fill it in."
FORMULA_PATIENT = "a row must name its patient; found a formula or a spreadsheet's error; save the table as values."
FORMULA = "a cell must hold a value; found a formula or a spreadsheet's error; save the table as values."
ERRORS = frozenset(
    {"#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!", "#WERT!", "#NOM?", "#SPILL!", "########"}
)


def _no_value(text: str) -> bool:
    """Tell whether a spreadsheet's formula or error stands in place of a value."""
    return text.startswith("=") or text.upper() in ERRORS


def _row(values: Mapping[str, str], where: str, patient: str, decimal_comma: bool, rejected: list[Rejected]) -> Row:
    words = {name: _word(values.get(name, "")) for name in WORDS}
    for name in (name for name in WORDS if _no_value(values.get(name, ""))):
        rejected.append(Rejected(f"{where}, {name}", FORMULA, patient))
        words[name] = None
    numbers: dict[str, float | None] = {}
    for name in NUMBERS:
        text = values.get(name, "")
        value = _number(text, decimal_comma)
        reason = None
        if value is None and _no_value(text):
            reason = FORMULA
        elif value is None and _word(text) is not None:
            reason = f"{name} must be a number; found text; give a number or leave the cell empty."
        elif value is not None and not math.isfinite(value):
            reason = f"{name} must be finite; found an infinite number; give a number or leave the cell empty."
        elif value is not None and name == "event" and value not in (0.0, 1.0):
            reason = "event must be 1 (it happened) or 0 (it did not); found another number; correct the cell."
        elif value is not None and name == "time" and value < 0:
            reason = "time must be zero or more months; found a negative number; correct the cell."
        elif value is not None and name == "age" and not 0 <= value <= OLDEST:
            reason = "age must be 0 to 130 years; found another number; correct the cell."
        if reason is not None:
            rejected.append(Rejected(f"{where}, {name}", reason, patient))
        numbers[name] = value if reason is None else None
    words["sex"] = SEXES.get((words["sex"] or "").casefold())
    return Row(**words, **numbers)  # type: ignore[arg-type]


def read_omics(folder: Path, rejected: list[Rejected]) -> Omics:
    """Return the numeric columns of `omics.csv`, none without the file; note what is refused in `rejected`.

    Every named column is kept and every cell read by itself: whether a patient's value counts may not depend on other
    patients' cells. A column with text in most cells is refused in one line rather than cell by cell.
    """
    where = "omics.csv"
    table = read_sheet(folder / where, where, rejected)
    if table is None:
        return Omics()
    names = _keyed([name.lower() for name in table.columns])
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


def _one_row_each(table: Sheet, key: int, where: str, rejected: list[Rejected]) -> dict[str, tuple[int, list[str]]]:
    """Return the rows by patient; a patient with several has none, for which to believe is unknowable."""
    count = Counter(cells[key] for _, cells in table.rows)
    for line, cells in table.rows:
        place, patient = f"{where}, line {line}", cells[key]
        if not patient or _no_value(patient):
            rejected.append(Rejected(place, FORMULA_PATIENT if patient else NO_PATIENT))
        elif count[patient] > 1:
            reason = "a patient must have one row in omics.csv; found more; take out the wrong one."
            rejected.append(Rejected(place, reason, patient))
    return {cells[key]: (line, cells) for line, cells in table.rows if _names_one(cells[key], count)}


def _names_one(patient: str, count: Counter[str]) -> bool:
    return bool(patient) and not _no_value(patient) and count[patient] == 1


def _unusable(name: str, number: int, table: Sheet) -> str | None:
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


def _cell(text: str, where: str, patient: str, table: Sheet, rejected: list[Rejected]) -> float:
    """Return the value of an omics cell, NaN where it is missing or refused."""
    value = _number(text, table.decimal_comma)
    if value is not None and math.isfinite(value):
        return value
    if value is not None:
        reason = "an omics value must be finite; found an infinite number; correct the cell or leave it empty."
        rejected.append(Rejected(where, reason, patient))
    elif _word(text) is not None:
        reason = "a numeric column must hold numbers; found text; correct the cell or leave it empty."
        reason = FORMULA if _no_value(text) else reason
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

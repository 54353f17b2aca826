"""What `fedspine check` prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedspine.cohort.patient import Cohort, Patient, Rejected, Scanner, Volume
from fedspine.cohort.site import load_cohort
from fedspine.cohort.summary import describe, usable

Write = Callable[..., list[Path]]


def printed(cohort: Cohort) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(describe(cohort))
    return capture.get()


def rows(text: str, first: str) -> list[list[str]]:
    """Return the cells of every row that begins with `first`."""
    found = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return [cells for cells in found if cells[:1] == [first]]


def test_the_summary_names_what_is_there_what_is_missing_and_what_was_refused(site: Path, write_series: Write) -> None:
    write_series(site, "P1", "STIR", ReceiveCoilName="SPINE")
    (site / "dicom" / "letter").write_text("x")
    text = printed(load_cohort(site))
    assert "site  2 patients   2 with images   0 with a mask   2 with a label   2 with omics" in text
    assert rows(text, "T1") == [["T1", "2", "sagittal", "4", "6 x 5", "4 x 1.5 x 0.75"]]
    assert rows(text, "Maker") == [["Maker", "Model", "1.5", "SPINE", "2"]]
    assert rows(text, "expression") == [["expression", "50 %", "0.5", "0.5", "0.5"]]
    assert rows(text, "benign") == [["benign", "1", "0", "0"]]
    assert rows(text, "STIR") == [["STIR", "1", "sagittal", "4", "6 x 5", "4 x 1.5 x 0.75"], ["STIR", "1", "P2"]]
    assert rows(text, "mask") == [["mask", "2", "all"]]
    assert rows(text, "P1") == [["P1", "P-5K9V-KCBS-WZKX", "●", "●", "●", "·", "2", "benign"]]
    assert "a file below dicom/ must be DICOM Part 10" in text
    assert "dicom/letter" in text
    assert "Identifiers: 8 attributes were taken out of up to 20 DICOM headers" in text


def test_the_summary_fits_one_hundred_columns(site: Path) -> None:
    cohort = load_cohort(site)
    long = Rejected("dicom/" + "x" * 150, "a rule; found something; do something about it.", "P" * 40)
    cohort = replace(cohort, rejected=(long,) * 5)
    text = printed(cohort)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "and 2 more" in text


def test_brackets_in_names_are_shown_and_not_obeyed(site: Path) -> None:
    (site / "patients.csv").write_text("patient,label\nP1,[bold]x[/]\nP2,[red]\n")
    text = printed(load_cohort(site))
    assert "[bold]x[/]" in text
    assert "[red]" in text


def test_commands_for_a_terminal_are_not_obeyed(site: Path) -> None:
    (site / "patients.csv").write_text("patient,label\nP1,\x1b[2Jx\nP2,y\n")
    cohort = load_cohort(site)
    odd = Rejected("dicom/\x1b[2J" + "A" * 100_000, "a rule; found something; do something about it.", "P\x1b[2J")
    text = printed(replace(cohort, rejected=(odd,), name="\x1b[2Jsite"))
    assert "\x1b" not in text
    assert text.count("A") < 1000


def test_a_large_cohort_is_not_listed_patient_by_patient() -> None:
    volume = Volume(np.zeros((1, 2, 2)), np.eye(4), "T1", Scanner())
    many = tuple(Patient(f"id{number:03}", {"T1": volume}, label="benign") for number in range(61))
    assert rows(printed(Cohort("large", many[:60])), "id042")
    assert not rows(printed(Cohort("large", many)), "id042")


def test_a_cohort_without_anything_missing_says_so() -> None:
    volume = Volume(np.ones((1, 2, 2), np.uint8), np.eye(4), "T1")
    full = Patient("a", {"T1": volume}, volume, "benign", 1.0, 2.0, 1.0, "T5", np.array([1.0]), age=60.0, sex="F")
    text = printed(Cohort("full", (full,), ("gene",)))
    assert rows(text, "nothing") == [["nothing", "0"]]


def test_a_good_site_is_usable(site: Path) -> None:
    assert usable(load_cohort(site)) is None


def test_one_class_only_is_not_usable(site: Path) -> None:
    (site / "patients.csv").write_text("patient,label\nP1,benign\nP2,benign\n")
    assert usable(load_cohort(site)) == (
        "labelled patients must be of at least two classes; found one; add patients of another class."
    )


@pytest.mark.parametrize("table", ["patient,label\nP1,\nP2,\n", None])
def test_no_labels_at_all_are_usable(site: Path, table: str | None) -> None:
    if table is None:
        (site / "patients.csv").unlink()
    else:
        (site / "patients.csv").write_text(table)
    assert usable(load_cohort(site)) is None


def test_no_known_contrast_is_not_usable(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path, contrast="something")
    reason = usable(load_cohort(tmp_path))
    assert reason is not None
    assert reason.startswith("at least one patient must have a known contrast; found none;")

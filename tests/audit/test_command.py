"""`fedspine audit` by hand: rows, files, exit codes, a site alone."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

from fedspine.audit.books import ledgers
from fedspine.audit.line import Grade
from fedspine.audit.messages import messages
from fedspine.commands.audited import subject_of
from fedspine.config import HELD_OUT, TRAIN
from tests.conftest import Run


def test_an_audit_prints_a_row_a_line_and_writes_page_and_numbers(
    fedspine: Run, finished: Path, folders: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit"
    code, said, _ = fedspine("audit", finished, "--data", folders, "--out", out, "--only", "A1", "--only", "A2")
    assert code == 0
    assert [line[:16].split() for line in said.splitlines()[:2]] == [["A1", "PASS"], ["A2", "PASS"]]
    written = json.loads((out / "audit.json").read_text("utf-8"))
    assert [line["grade"] for line in written["lines"]] == [Grade.PASS, Grade.PASS]
    assert {one["fold"] for one in written["meaning"]} == {TRAIN, HELD_OUT}
    assert all(0 < one["found"] < 1 and 0.5 < one["accuracy"] < 1 for one in written["meaning"])
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert (out / "audit.html").is_file()


def test_a_failure_is_exit_code_one(fedspine: Run, finished: Path, folders: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    next((tmp_path / "run" / "sites").glob("*/ledger.jsonl")).write_text("{}\n", encoding="utf-8")
    code, said, _ = fedspine("audit", tmp_path / "run", "--data", folders, "--only", "A2")
    assert code == 1
    assert "FAIL" in said


def test_a_site_audits_itself_with_its_own_books(finished: Path, folders: Path, tmp_path: Path) -> None:
    """A hospital has its folder with its state inside, and of the run what the coordinator passed on."""
    name = sorted(folder.name for folder in folders.iterdir())[0]
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(folders / name, tmp_path / name)
    for file in (tmp_path / "run" / "sites" / name).glob("*.*"):
        shutil.copy2(file, tmp_path / name / ".fedspine" / file.name)
    shutil.rmtree(tmp_path / "run" / "sites")
    subject = subject_of(tmp_path / "run", tmp_path / name)
    assert [site.name for site in subject.sites] == [name]
    assert subject.sites[0].state == tmp_path / name / ".fedspine"
    assert len(subject.sites[0].patients[TRAIN]) + len(subject.sites[0].patients[HELD_OUT]) == 8
    assert [line(subject).grade for line in (ledgers, messages)] == [Grade.PASS] * 2


def test_an_unknown_check_or_place_is_one_sentence(fedspine: Run, finished: Path, tmp_path: Path) -> None:
    code, _, said = fedspine("audit", finished, "--only", "B7")
    assert (code, said.count("\n")) == (2, 1)
    code, _, said = fedspine("audit", finished, "--data", tmp_path / "none")
    assert (code, said.count("\n")) == (2, 1)
    code, _, said = fedspine("audit", tmp_path)
    assert (code, said.count("\n")) == (2, 1)

"""What lies in a run folder and on the machine: pickles, statistics, identifiers, open files and doors."""

from __future__ import annotations

import csv
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedspine.audit import machine
from fedspine.audit.line import Grade
from fedspine.audit.machine import ports, secrets
from fedspine.audit.run_folder import formats, identifiers
from fedspine.audit.subject import Subject
from fedspine.commands.audited import subject_of


@pytest.fixture
def copied(finished: Path, folders: Path, tmp_path: Path) -> Subject:
    """Return run and sites as copies that may be spoilt."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(folders, tmp_path / "data")
    return subject_of(tmp_path / "run", tmp_path / "data")


def test_an_honest_run_holds_nothing_it_should_not(copied: Subject) -> None:
    assert [look(copied).grade for look in (formats, identifiers, secrets)] == [Grade.PASS] * 3


def test_a_pickle_is_found_whatever_it_is_called(copied: Subject) -> None:
    (copied.run / "models" / "more.json").write_bytes(pickle.dumps({"a": 1}))
    assert "pickle" in formats(copied).finding
    (copied.run / "models" / "more.json").unlink()
    torch.save({"a": torch.zeros(1)}, copied.run / "models" / "more.safetensors")
    assert "pickle" in formats(copied).finding


def test_a_file_of_another_kind_is_found(copied: Subject) -> None:
    (copied.run / "picture.npy").write_bytes(b"x")
    assert "'.npy'" in formats(copied).finding


@pytest.mark.parametrize(
    ("name", "says"), [("norm.running_mean", "running statistics"), ("extra.weight", "arrays that its network has not")]
)
def test_arrays_that_may_not_leave_are_found(copied: Subject, name: str, says: str) -> None:
    file = copied.run / "models" / "classify.safetensors"
    save_file({**load_file(file), name: torch.zeros(3)}, file)
    assert says in formats(copied).finding


def test_a_sites_keys_of_secure_sums_are_its_own_and_nowhere_else(copied: Subject) -> None:
    state = copied.sites[0].state
    (state / "secure").mkdir()
    for place in (state / "secure" / "digest-tokens-1-1.used", state / "signing.key"):
        place.write_bytes(b"")
        place.chmod(0o600)
    assert formats(copied).grade is Grade.PASS
    assert secrets(copied).grade is Grade.PASS
    (state / "signing.key").chmod(0o644)
    assert secrets(copied).grade is Grade.FAIL
    (copied.run / "models" / "signing.key").write_bytes(b"")
    assert "'.key'" in formats(copied).finding


def test_an_identifier_in_any_file_is_found(copied: Subject) -> None:
    folder = copied.sites[0].folder
    assert folder is not None
    with (folder / ".fedspine" / "pseudonyms.csv").open(encoding="utf-8", newline="") as table:
        row = next(csv.DictReader(table))
    for word in row.values():
        (copied.run / "report.html").write_text(f"<p>{word.lower()}</p>", encoding="utf-8")
        line = identifiers(copied)
        assert line.grade is Grade.FAIL
        assert word not in line.finding


def test_without_a_table_of_pseudonyms_nothing_is_claimed(finished: Path) -> None:
    assert identifiers(subject_of(finished, None)).grade is Grade.NOT_TESTED


def test_a_book_that_everybody_can_read_is_found(copied: Subject) -> None:
    (copied.sites[0].state / "ledger.jsonl").chmod(0o644)
    assert secrets(copied).grade is Grade.FAIL


def test_a_key_that_everybody_can_read_is_found(copied: Subject) -> None:
    folder = copied.sites[0].folder
    assert folder is not None
    (folder / ".fedspine" / "pseudonym.key").chmod(0o604)
    assert secrets(copied).grade is Grade.FAIL


def system(proc: Path, address: str, command: str) -> None:
    """Write a system's tables with one listening socket of one program."""
    (proc / "net").mkdir(parents=True)
    (proc / "net" / "tcp").write_text(f"head\n 0: {address}:2384 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n", "ascii")
    (proc / "7" / "fd").mkdir(parents=True)
    (proc / "7" / "cmdline").write_bytes(command.replace(" ", "\0").encode())
    (proc / "7" / "fd" / "3").symlink_to("socket:[4711]")


@pytest.mark.parametrize(
    ("address", "command", "grade"),
    [
        ("00000000", "python flower-superlink --insecure", Grade.FAIL),
        ("00000000", "python flower-superlink --ssl-certfile c", Grade.PASS),
        ("0100007F", "python flower-supernode --insecure", Grade.PASS),
        ("00000000", "another program", Grade.NOT_TESTED),
    ],
)
def test_a_door_without_a_lock_is_found(
    audited: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, command: str, grade: Grade
) -> None:
    system(tmp_path / "proc", address, command)
    real = machine._doors
    monkeypatch.setattr(machine, "_doors", lambda: real(tmp_path / "proc"))
    assert ports(audited).grade is grade

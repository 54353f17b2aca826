"""What befalls one file while it is read stays with that file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from fedspine.cohort.dicom.passes import BATCH, FEW_HEADERS, LOST
from fedspine.cohort.files import File, open_file
from fedspine.cohort.site import load_cohort
from fedspine.cohort.workers import Lost
from fedspine.errors import PassingError

Write = Callable[..., list[Path]]
CHANGED = "a file must stay as it is while it is read; found one that changed; start again when nobody writes to it."
UNREADABLE = "a file must be readable; found one that is not; check its access rights."

# run without torch, so that processes are forked and what is set here holds in them
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from fedspine.cohort.dicom import header, passes, pixels
from fedspine.cohort.site import load_cohort

def befalls(what):
    if what == "hangs":
        time.sleep(60)
    elif what == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    else:
        bytearray(6 * 2**30)

opened, read_plain, (what, where) = header._opened, pixels.read_plain, sys.argv[2:]

def bad_header(file, size, key, memory):
    if where == "header" and file.name.endswith("002.dcm") and "P1-" in file.name:
        befalls(what)
    return opened(file, size, key, memory)

def bad_pixels(file, plain, index, shape):
    if where == "pixels" and "P1-T1" in file.name:
        befalls(what)
    return read_plain(file, plain, index, shape)

header._opened, pixels.read_plain = bad_header, bad_pixels
passes.LIMIT_S, passes.SECONDS_A_FILE = 1.0, 0.1
passes.FEW_HEADERS = passes.FEW_PIXEL_BYTES = 0
cohort = load_cohort(Path(sys.argv[1]))
for patient in cohort.patients:
    print(*sorted(patient.volumes))
for one in cohort.rejected:
    print(one.reason)
"""


@pytest.mark.parametrize("what", ["hangs", "crashes", "swells"])
@pytest.mark.parametrize("where", ["header", "pixels"])
def test_a_file_that_befalls_its_reader_is_refused_and_the_others_go_on(site: Path, what: str, where: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(site), what, where]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert "T1 T2" in lines  # the second patient
    lost = {
        ("hangs", "header"): LOST[Lost.SLOW],
        ("hangs", "pixels"): LOST[Lost.SLOW],
        ("crashes", "header"): LOST[Lost.DEAD],
        ("crashes", "pixels"): LOST[Lost.DEAD],
        ("swells", "header"): "a header must fit into memory; found one that does not; export the file again.",
        ("swells", "pixels"): LOST[Lost.DEAD],
    }[what, where]
    assert lines.count(lost) == (2 if where == "header" else 1)  # slice 3 of both series, or the stack
    assert load_cohort(site).patients[0].volumes.keys() >= {"T2"}
    assert load_cohort(site).rejected == ()  # what befell a reader is not remembered


OUTLIVED = """
import os, signal, sys, time
from fedspine.cohort.workers import Workers
with Workers(2) as workers:
    tasks = workers.map(time.sleep, [0.0, 60.0, 60.0], lambda _: 100.0)
    next(tasks)
    time.sleep(0.5)
    print(*[process for process in os.listdir("/proc") if process.isdigit() and parent(process) == os.getpid()])
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system must tell a child that its parent is gone")
def test_no_worker_outlives_a_killed_parent() -> None:
    define = "def parent(process):\n    return int(open(f'/proc/{process}/stat').read().rsplit(')', 1)[1].split()[1])\n"
    run = subprocess.run([sys.executable, "-c", define + OUTLIVED], capture_output=True, text=True, check=False)
    children = run.stdout.split()
    assert len(children) == 2
    for _ in range(50):
        if not any(Path("/proc", child, "cmdline").exists() and _runs(child) for child in children):
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("a worker went on")


def _runs(process: str) -> bool:
    try:
        return Path("/proc", process, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_many_files_are_read_by_processes_and_give_what_one_process_gives(
    tmp_path: Path, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1 + (FEW_HEADERS + BATCH) // 4):
        write_series(tmp_path, f"P{number:02}")
    (tmp_path / "dicom" / "stray").write_text("x")
    several = load_cohort(tmp_path, cache=tmp_path / "one")
    monkeypatch.setattr("fedspine.cohort.dicom.passes.possible", lambda: False)
    alone = load_cohort(tmp_path, cache=tmp_path / "two")
    assert several.rejected == alone.rejected
    for left, right in zip(several.patients, alone.patients, strict=True):
        assert left.identifier == right.identifier
        assert (left.volumes["T1"].voxels == right.volumes["T1"].voxels).all()


@pytest.mark.parametrize(("change", "reason"), [("vanishes", UNREADABLE), ("grows", CHANGED), ("touched", CHANGED)])
def test_a_file_that_changes_between_the_passes_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
) -> None:
    file = site / "dicom" / "P1-T1" / "001.dcm"

    def meddle(done: int, total: int) -> None:
        if done != total // 2 or not file.exists():
            return
        if change == "vanishes":
            file.rename(site / "away")
        elif change == "grows":
            file.write_bytes(file.read_bytes() + b"\0\0")
        else:
            os.utime(file, ns=(1, 1))

    cohort = load_cohort(site, progress=meddle)
    assert set(cohort.patients[0].volumes) == {"T2"}
    assert [one.reason for one in cohort.rejected] == [reason]
    if change == "vanishes":
        (site / "away").rename(file)
        assert load_cohort(site).rejected == ()


def test_two_pictures_under_one_instance_uid_are_both_refused(site: Path) -> None:
    first, second = (site / "dicom" / folder / "000.dcm" for folder in ("P1-T1", "P1-T2"))
    dataset = pydicom.dcmread(second)
    dataset.SOPInstanceUID = pydicom.dcmread(first).SOPInstanceUID
    dataset.save_as(second)
    cohort = load_cohort(site)
    assert [(one.where, one.reason.split(";")[0]) for one in cohort.rejected] == [
        ("dicom/P1-T1/000.dcm", "one SOPInstanceUID must mean one picture"),
        ("dicom/P1-T2/000.dcm", "one SOPInstanceUID must mean one picture"),
    ]


def test_another_patients_file_under_the_same_instance_uid_takes_nothing_away(site: Path) -> None:
    before = load_cohort(site)
    dataset = pydicom.dcmread(site / "dicom" / "P1-T1" / "000.dcm")
    dataset.PatientID, dataset.PatientName = "P2", "Other"
    dataset.save_as(site / "dicom" / "other.dcm")
    after = load_cohort(site)
    names = {own: set(patient.volumes) for patient in before.patients if (own := before.own_ids[patient.identifier])}
    assert {after.own_ids[one.identifier]: set(one.volumes) for one in after.patients}["P1"] == names["P1"]
    assert not any(one.patient == "P1" for one in after.rejected)


def test_other_pixels_under_one_instance_uid_are_refused(site: Path) -> None:
    file = site / "dicom" / "P1-T1" / "000.dcm"
    dataset = pydicom.dcmread(file)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(site / "dicom" / "again.dcm")
    cohort = load_cohort(site)
    assert set(cohort.patients[0].volumes) == {"T2"}
    assert [one.reason.split(";")[0] for one in cohort.rejected] == [
        "two slices at one position must be the same picture"
    ]


def test_pipes_sockets_and_loops_in_the_folder_are_passed_over(site: Path) -> None:
    folder = site / "dicom" / "odd"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        try:
            os.chdir(folder)  # the name of a socket must be short
            listening.bind("socket")
        finally:
            os.chdir(here)
        cohort = load_cohort(site)
    assert {one.where.rsplit("/", 1)[1] for one in cohort.rejected} == {"pipe", "self", "socket"}
    assert len(cohort.patients) == 2


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PassingError):
        open_file(tmp_path, File("pipe", 10, 10))

"""A second start opens no DICOM file, and never trusts what has changed."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from fedspine.cohort import files
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of image files opened from here on."""
    names: list[str] = []
    without_waiting, load = files._without_waiting, nibabel.load

    def count_dicom(place: str, flags: int) -> int:
        names.append(Path(place).name)
        return without_waiting(place, flags)

    def count_nifti(path: Any) -> Any:
        names.append(Path(path).name)
        return load(path)

    monkeypatch.setattr(files, "_without_waiting", count_dicom)
    monkeypatch.setattr(nibabel, "load", count_nifti)
    return names


def same(one: Cohort, other: Cohort) -> None:
    assert [patient.identifier for patient in one.patients] == [patient.identifier for patient in other.patients]
    assert one.rejected == other.rejected
    for left, right in zip(one.patients, other.patients, strict=True):
        assert set(left.volumes) == set(right.volumes)
        for contrast, volume in left.volumes.items():
            np.testing.assert_array_equal(volume.voxels, right.volumes[contrast].voxels)
            np.testing.assert_array_equal(volume.affine, right.volumes[contrast].affine)
            assert volume.scanner == right.volumes[contrast].scanner
        assert (left.mask is None) == (right.mask is None)
        if left.mask is not None and right.mask is not None:
            np.testing.assert_array_equal(left.mask.voxels, right.mask.voxels)


def apart(cohort: Cohort) -> Cohort:
    """Return the cohort with its arrays in memory, so that damage to the files does not reach them."""
    patients = []
    for patient in cohort.patients:
        volumes = {name: replace(one, voxels=np.array(one.voxels)) for name, one in patient.volumes.items()}
        mask = None if patient.mask is None else replace(patient.mask, voxels=np.array(patient.mask.voxels))
        patients.append(replace(patient, volumes=volumes, mask=mask))
    return replace(cohort, patients=tuple(patients))


@pytest.fixture
def full_site(site: Path) -> Path:
    """Return the site with a mask, a broken series, a copy and a stray file."""
    affine = load_cohort(site).patients[0].volumes["T1"].affine
    (site / "masks").mkdir()
    mask = np.ones((4, 6, 5), np.uint8)
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine), site / "masks" / "P1.nii.gz")
    broken = site / "dicom" / "P2-T2" / "001.dcm"
    broken.write_bytes(broken.read_bytes()[:-8])
    (site / "dicom" / "copy").write_bytes((site / "dicom" / "P2-T1" / "001.dcm").read_bytes())
    (site / "dicom" / "stray.txt").write_text("x")
    return site


def test_a_second_load_opens_nothing_and_gives_the_same(full_site: Path, opened: list[str]) -> None:
    first = load_cohort(full_site)
    assert opened
    opened.clear()
    second = load_cohort(full_site)
    assert opened == []
    assert len(second.rejected) == 3
    same(first, second)


def test_cached_volumes_are_read_only_maps_of_the_disk(site: Path) -> None:
    load_cohort(site)
    voxels = load_cohort(site).patients[0].volumes["T1"].voxels
    assert isinstance(voxels, np.memmap)
    assert not voxels.flags.writeable


def test_a_changed_an_added_and_a_removed_file_are_noticed(
    site: Path, opened: list[str], write_series: Write, make_picture: Any
) -> None:
    load_cohort(site)
    opened.clear()
    write_series(site, "P1", "T1", voxels=make_picture(seed=9))
    np.testing.assert_array_equal(load_cohort(site).patients[0].volumes["T1"].voxels, make_picture(seed=9))
    assert len(opened) == 8  # four headers and four pictures, and none of the other series
    opened.clear()
    write_series(site, "P2", "STIR")
    assert set(load_cohort(site).patients[1].volumes) == {"T1", "T2", "STIR"}
    assert len(opened) == 8
    (site / "dicom" / "P2-STIR" / "001.dcm").unlink()
    assert set(load_cohort(site).patients[1].volumes) == {"T1", "T2"}


def test_the_cache_is_for_its_owner_only(site: Path) -> None:
    before = os.umask(0)
    try:
        load_cohort(site)
    finally:
        os.umask(before)
    folder = site / ".fedspine" / "cache"
    assert [stat.S_IMODE(place.stat().st_mode) for place in (folder.parent, folder)] == [0o700, 0o700]
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("damage", ["index", "flip", "short", "gone", "all"])
def test_a_damaged_cache_is_made_again(full_site: Path, opened: list[str], damage: str) -> None:
    first = apart(load_cohort(full_site))
    folder = full_site / ".fedspine" / "cache"
    arrays = sorted(folder.glob("*.npy"))
    (index,) = folder.glob("*.journal")
    if damage == "index":
        index.write_bytes(index.read_bytes().replace(b'"t1"', b'"t2"'))
    elif damage == "flip":
        for array in arrays:
            content = bytearray(array.read_bytes())
            content[-1] ^= 1
            array.write_bytes(content)
    elif damage == "short":
        arrays[0].write_bytes(arrays[0].read_bytes()[:-5])
    elif damage == "gone":
        arrays[0].unlink()
    else:
        for file in folder.iterdir():
            file.write_bytes(b"")
    opened.clear()
    same(load_cohort(full_site), first)
    assert opened
    opened.clear()
    same(load_cohort(full_site), first)
    assert opened == []


def test_arrays_that_nothing_names_any_more_are_removed(site: Path) -> None:
    load_cohort(site)
    folder = site / ".fedspine" / "cache"
    assert len(list(folder.glob("*.npy"))) == 4
    for file in (site / "dicom" / "P1-T1").iterdir():
        file.unlink()
    load_cohort(site)
    assert len(list(folder.glob("*.npy"))) == 3


def test_a_cache_that_cannot_be_written_is_done_without(site: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cohort = load_cohort(site, cache=tmp_path / "file")
    assert len(cohort.patients) == 2
    assert not (site / ".fedspine" / "cache").exists()


def test_a_given_folder_keeps_its_other_contents(site: Path, tmp_path: Path, opened: list[str]) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "precious.npy").write_bytes(b"mine")
    first = load_cohort(site, cache=shared)
    opened.clear()
    same(load_cohort(site, cache=shared), first)
    assert opened == []
    assert (shared / "precious.npy").read_bytes() == b"mine"
    assert not (site / ".fedspine" / "cache").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from fedspine.cohort.site import load_cohort
at = int(sys.argv[2])
load_cohort(Path(sys.argv[1]), progress=lambda done, total: done == at and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.parametrize("at", [9, 24])
def test_a_killed_reading_goes_on_where_it_was(site: Path, opened: list[str], at: int) -> None:
    """Of 16 files the headers come first, then the pixels: each file is opened twice, in the order of the steps."""
    first = subprocess.run([sys.executable, "-c", KILLED, str(site), str(at)], check=False)
    assert first.returncode == -signal.SIGKILL
    cohort = load_cohort(site)
    assert len(opened) <= 32 - at + 4  # a stack that was under way is read again
    opened.clear()
    same(load_cohort(site), cohort)
    assert opened == []
    assert len(list((site / ".fedspine" / "cache").glob("*.journal"))) == 1


TOGETHER = """
import sys
from pathlib import Path
from fedspine.cohort.site import load_cohort
for _ in range(3):
    print(len(load_cohort(Path(sys.argv[1])).patients))
"""


def test_processes_that_read_at_once_do_not_disturb_each_other(site: Path, opened: list[str]) -> None:
    command = [sys.executable, "-c", TOGETHER, str(site)]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [one.communicate(timeout=60) for one in several]
    assert outputs == [("2\n2\n2\n", "")] * 3
    first = load_cohort(site)
    opened.clear()
    same(load_cohort(site), first)
    assert opened == []


def test_a_file_of_the_same_size_and_second_is_noticed(site: Path, opened: list[str]) -> None:
    file = site / "dicom" / "P1-T1" / "001.dcm"
    second = 1_700_000_000 * 10**9
    os.utime(file, ns=(second, second + 5))
    first = apart(load_cohort(site))
    content = bytearray(file.read_bytes())
    content[-3] ^= 255
    file.write_bytes(content)
    os.utime(file, ns=(second, second + 6))
    opened.clear()
    changed = load_cohort(site).patients[0].volumes["T1"].voxels
    assert opened.count("001.dcm") == 2
    assert (changed != first.patients[0].volumes["T1"].voxels).sum() == 1


def test_a_touched_file_is_read_again(site: Path, opened: list[str]) -> None:
    load_cohort(site)
    opened.clear()
    os.utime(site / "dicom" / "P1-T1" / "001.dcm")
    load_cohort(site)
    assert opened.count("001.dcm") == 2


def test_a_torn_line_loses_only_itself(site: Path, opened: list[str]) -> None:
    load_cohort(site)
    (journal,) = (site / ".fedspine" / "cache").glob("*.journal")
    journal.write_bytes(journal.read_bytes()[:-10])
    opened.clear()
    load_cohort(site)
    assert len(opened) <= 4


def test_the_cache_tells_no_place(full_site: Path) -> None:
    load_cohort(full_site)
    for file in (full_site / ".fedspine" / "cache").iterdir():
        content = file.read_bytes() + file.name.encode()
        assert b".dcm" not in content
        assert b"P1-T1" not in content
        assert b"stray" not in content
        assert str(full_site).encode() not in content


def test_a_file_that_could_not_be_opened_is_tried_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = files._without_waiting

    def locked(place: str, flags: int) -> int:
        if place.endswith("P1-T1/001.dcm"):
            raise PermissionError
        return opened(place, flags)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_without_waiting", locked)
        assert len(load_cohort(site).rejected) == 2
    assert load_cohort(site).rejected == ()


def test_what_a_killed_process_left_behind_is_removed_after_a_day(site: Path) -> None:
    load_cohort(site)
    folder = site / ".fedspine" / "cache"
    for name, age_s in ((".0123", 2 * 86_400), ("4567.npy", 2 * 86_400), (".89ab", 60)):
        (folder / name).write_bytes(b"half a volume")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    (site / "dicom" / "P1-T1" / "001.dcm").touch()
    load_cohort(site)
    assert not (folder / ".0123").exists()
    assert not (folder / "4567.npy").exists()
    assert (folder / ".89ab").exists()


def test_a_full_disk_does_not_stop_the_reading(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = apart(load_cohort(site, cache=site.parent / "elsewhere"))

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left on the device")

    for module in ("cache", "dicom.passes"):
        monkeypatch.setattr(f"fedspine.cohort.{module}.write_whole", full)
    same(load_cohort(site), wanted)
    same(load_cohort(site), wanted)

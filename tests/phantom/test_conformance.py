"""Phantoms are DICOM by the standard's own measure, where David Clunie's dicom3tools are installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fedspine.phantom.lung.writer import write_lung_consortium
from fedspine.phantom.writer import write_consortium


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
@pytest.mark.parametrize("write", [write_consortium, write_lung_consortium])
def test_no_attribute_is_missing_or_wrong(tmp_path: Path, write: Callable[..., tuple[Path, ...]]) -> None:
    (site,) = write(tmp_path / "out", sites=1, patients=2, shape=(2, 32, 32))
    series = {path.parent: path for path in (site / "dicom").rglob("*") if path.is_file()}
    assert series
    for file in series.values():
        done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, errors="replace", check=False)
        assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []

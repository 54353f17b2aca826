"""The file in which Flower brings the app to a hospital holds all that the app needs to run there."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files

from fedspine.evaluation import feature_space

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pathspec.*", "ignore:GitWildMatchPattern:DeprecationWarning")
def test_every_part_of_the_package_is_in_the_file() -> None:
    if not (ROOT / "client").is_dir():
        pytest.skip("the tests do not lie beside the app")
    parts = [
        file
        for room in ("fedspine", "client", "server")
        for file in (ROOT / room).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    wanted = {file.relative_to(ROOT).as_posix() for file in parts}
    own = {name: ROOT / name for name in (*wanted, "pyproject.toml", "README.md", "LICENSE")}
    packed, _ = build_fab_from_files(own)
    names = set(zipfile.ZipFile(io.BytesIO(packed)).namelist())
    assert wanted <= names
    assert feature_space.WEIGHTS.relative_to(ROOT).as_posix() in names
    assert max(file.stat().st_size for file in parts) < 1_000_000  # Flower refuses larger ones

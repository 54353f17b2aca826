"""What a hospital hands out for the roster, and what it is told about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.identity import own_key
from fedspine.commands.site import site_app
from fedspine.errors import InputError
from fedspine.secure.roster import read_roster


def printed(*arguments: str) -> list[str]:
    result = CliRunner().invoke(site_app, ["keys", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_the_line_for_the_roster_is_the_same_every_time_and_holds_the_public_half(tmp_path: Path) -> None:
    first, said = printed(str(tmp_path), "--name", "Zurich")
    assert printed(str(tmp_path), "--name", "Zurich") == [first, said]
    assert "no roster.toml" in said
    (tmp_path / "roster.toml").write_text(first)
    assert read_roster(tmp_path / "roster.toml").keys == {"Zurich": own_key(tmp_path).public_key().public_bytes_raw()}
    private = (tmp_path / ".fedspine" / "signing.key").read_text()
    assert private not in first


def test_a_site_learns_whether_it_is_on_the_roster_and_by_which_name(tmp_path: Path) -> None:
    (tmp_path / "roster.toml").write_text(printed(str(tmp_path), "--name", "Zurich")[0])
    assert "on it as 'Zurich'" in printed(str(tmp_path))[1]
    assert read_roster(tmp_path / "roster.toml").digest() in printed(str(tmp_path))[1]
    (tmp_path / "roster.toml").write_text(f'other = "{"ab" * 32}"')
    assert "NOT on it" in printed(str(tmp_path))[1]


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SITE must be a folder"):
        CliRunner().invoke(site_app, ["keys", str(tmp_path / "none")], catch_exceptions=False)

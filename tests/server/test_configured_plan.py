"""The plan that the ServerApp is told of by a run setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedspine.errors import ConfigError, InputError
from fedspine.plans.default import default_plan
from server.app import configured_plan

LISTS = {
    "contrasts": 'contrasts = ["T1"]',
    "classes": 'classes = ["benign", "malignant"]',
    "omics": 'omics = ["NF2"]',
    "markers": 'markers = ["NF2"]',
}


def written(folder: Path, *, without: tuple[str, ...] = (), stages: tuple[str, ...] = ("classify", "encode")) -> str:
    lines = ['name = "agreed"', "[data]", *(text for name, text in LISTS.items() if name not in without)]
    lines += [f'[[stage]]\ntask = "{task}"' for task in stages]
    file = folder / "plan.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def test_no_setting_means_the_default_plan() -> None:
    assert configured_plan("") == default_plan()


def test_a_plan_that_names_everything_is_taken(tmp_path: Path) -> None:
    assert configured_plan(written(tmp_path)).name == "agreed"


@pytest.mark.parametrize("what", ["contrasts", "classes", "omics", "markers"])
def test_a_plan_that_leaves_a_needed_list_open_is_refused(tmp_path: Path, what: str) -> None:
    without = ("omics", "markers") if what == "omics" else (what,)  # markers are omics columns
    with pytest.raises(ConfigError, match=f"must name its {what}; found none") as caught:
        configured_plan(written(tmp_path, without=without))
    assert str(tmp_path) not in str(caught.value)


def test_a_list_that_no_stage_needs_may_be_left_open(tmp_path: Path) -> None:
    assert configured_plan(written(tmp_path, without=("classes",), stages=("segment",))).data.classes == ()


def test_a_plan_that_is_not_there_is_one_sentence_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        configured_plan(str(tmp_path / "none.toml"))
    assert str(tmp_path) not in str(caught.value)

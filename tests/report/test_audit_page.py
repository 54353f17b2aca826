"""The page of an audit: the verdict first, every line explained, pictures inside, for its owner's eyes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from fedspine.report.audit_page import write_audit

LINE = {
    "check": "A4",
    "title": "One patient's influence",
    "level": "algorithm and trust",
    "grade": "PASS",
    "finding": "A patient moved a sum by 0.98 times its bound at most.",
    "bound": "Holds for the patients tried.",
    "means": "Noise hides a patient only if the sum moves little.",
    "figures": {"classify": 0.98},
    "seconds": 1.0,
}


def written(*lines: dict[str, Any]) -> dict[str, Any]:
    meaning = [{"site": "site-1", "fold": "train", "epsilon": 7.4, "found": 0.21, "accuracy": 0.78}]
    privacy = {"mechanism": "gaussian", "epsilon": 8.0, "delta": 1e-5}
    return {
        "plan": "small",
        "privacy": privacy,
        "simulation": True,
        "source": "phantoms",
        "seconds": 61.0,
        "meaning": meaning,
        "lines": list(lines),
    }


def test_a_line_is_shown_whole_and_under_its_level(tmp_path: Path) -> None:
    page = write_audit(written(LINE), [{}], tmp_path).read_text("utf-8")
    assert (
        page.index('id="guarantee"')
        < page.index('id="mechanism"')
        < page.index("One patient")
        < page.index('id="exposure"')
    )
    for text in ("0.98 times its bound", "Holds for the patients tried.", "Noise hides a patient", "21 of 100", "78 %"):
        assert text in page
    assert "Nothing found that contradicts the claim" in page


def test_a_failure_is_the_first_thing_said(tmp_path: Path) -> None:
    failed = {**LINE, "grade": "FAIL", "title": "Noise", "bound": ""}
    page = write_audit(written(LINE, failed), [{}, {}], tmp_path).read_text("utf-8")
    assert "1 line failed" in page
    assert "Nothing found" not in page
    assert page.index("1 line failed") < page.index('id="meaning"')


def test_pictures_are_inside_and_text_cannot_become_markup(tmp_path: Path) -> None:
    hostile = {**LINE, "finding": "<script>alert(1)</script>"}
    page = write_audit(written(hostile), [{"a <b>caption</b>": b"\x89PNG"}], tmp_path).read_text("utf-8")
    assert "data:image/png;base64,iVBORw==" in page
    assert "<script>alert" not in page
    assert "<b>caption" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_real_patients_are_announced_and_the_page_is_its_owners(tmp_path: Path) -> None:
    file = write_audit({**written(LINE), "source": "site folders"}, [{}], tmp_path)
    assert "stays where they are" in file.read_text("utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

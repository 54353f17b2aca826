"""`flwr run . local`, by its page, and the bundle that it sends."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from fedspine.privacy.chain import read_chain

from .rehearsal import BIN, PAGES, ROOT, Desk, assert_same_model, blocks_of, free_port, in_process, last_status

SITES = ("site-1", "site-2")
ONE_THREAD = "for site in site-1 site-2; do echo threads = 1 > ~/hospitals/$site/site.toml; done\n"
"""Sums depend on the number of threads, so both sides of the comparison have the same."""


@pytest.mark.slow
def test_flwr_run_local_follows_its_page(tmp_path: Path) -> None:
    page = PAGES / "run-on-flower.md"
    desk = Desk(
        tmp_path,
        {
            '"$PWD/.venv/bin:$PATH"': f'"{BIN}:$PATH"',
            "API_PORT=39091": f"API_PORT={free_port()}",
            "cat > ~/plan.toml": f"{ONE_THREAD}cat > ~/plan.toml",
        },
    )
    assert all(text in page.read_text("utf-8") for text in desk.changes), "the page has changed; mend the test"
    try:
        for block in blocks_of(page):
            desk.type(block)
        desk.exports["coordinator"] = desk.exports["researcher"]
        assert last_status(desk, "local") == "finished:completed"
        assert not desk.called_out()
    finally:
        desk.close()
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
    for site in SITES:
        state = tmp_path / "run" / "sites" / site
        assert len(read_chain((state / "egress.jsonl").read_text("utf-8"), "the egress log")) == 5
    assert_same_model(tmp_path / "run", in_process(desk, tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's own
def test_the_bundle_is_small_and_holds_what_runs_and_nothing_else() -> None:
    bundle = build_fab_from_disk(ROOT)
    assert len(bundle) < 3_000_000  # Flower takes 10 MB; two files of weights and the template are most of it
    names = zipfile.ZipFile(io.BytesIO(bundle)).namelist()
    assert {"client/app.py", "server/app.py", "fedspine/plans/default.toml", "LICENSE"} <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "client", "server", "fedspine", "pyproject.toml", "README.md", "LICENSE", ".info"
    }  # fmt: skip
    files = [file for room in ("client", "server", "fedspine") for file in (ROOT / room).rglob("*.py")]
    shipped = {file.relative_to(ROOT).as_posix() for file in files}
    assert shipped <= set(names)

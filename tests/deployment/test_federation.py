"""A SuperLink with two SuperNodes, TLS and registered keys, by the page that tells people how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from fedspine.privacy.chain import read_chain
from fedspine.privacy.ledger import Ledger

from .rehearsal import BIN, PAGES, Desk, assert_same_model, blocks_of, free_port, in_process, last_status, wait_for_port

SITES = ("site-1", "site-2")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Follow the page on federations to its end, with two hospitals."""
    if not (shutil.which("openssl") and shutil.which("ssh-keygen")):
        pytest.skip("openssl and ssh-keygen are needed to make keys")
    port = free_port()
    desk = Desk(
        tmp_path_factory.mktemp("home"),
        {
            '"$PWD/.venv/bin:$PATH"': f'"{BIN}:$PATH"',
            "export SUPERLINK_PORT=8000": f"export SUPERLINK_PORT={port}",
            "threads = 1\n": "threads = 1\nrehearsal = true\nseed = 3\n",  # the noise that a simulation would draw
        },
    )
    page = PAGES / "run-a-federation.md"
    assert all(text in page.read_text("utf-8") for text in desk.changes), "the page has changed; mend the test"
    hospitals = {
        site: {"SITE=site-1": f"SITE={site}", "RUNTIME_PORT=9094": f"RUNTIME_PORT={free_port()}"} for site in SITES
    }
    try:
        for block in blocks_of(page):
            for site in SITES if block.who == "hospital" else ("",):
                desk.type(block, hospitals.get(site), site)
            if block.left_running and "flower-superlink" in block.command:
                wait_for_port(port)
        yield desk
    finally:
        desk.close()


def test_the_federation_completes_and_fills_the_run_folder(federation: Desk) -> None:
    assert last_status(federation, "consortium") == "finished:completed"
    run = federation.home / "federation" / "run"
    for name in ("plan.toml", "metrics.json", "models/segment.safetensors", "report.html"):
        assert (run / name).stat().st_size > 0, name
    numbers = json.loads((run / "metrics.json").read_text("utf-8"))
    assert sorted(numbers["sites"]) == list(SITES)
    assert all(stage["refused"] == {} for stage in numbers["stages"])


@pytest.mark.parametrize("site", SITES)
def test_a_hospital_has_a_line_for_everything_that_left(federation: Desk, site: str) -> None:
    state = federation.home / "hospitals" / site / ".fedspine"
    left = read_chain((state / "egress.jsonl").read_text("utf-8"), "the egress log")
    rounds = [("", 0), ("standardise", 1), ("segment", 1), ("segment", 2), ("segment-test", 1)]
    assert [(line["stage"], line["round"]) for line in left] == rounds
    assert [line["mechanism"] for line in left] == ["public"] + ["gaussian"] * 4
    booked = Ledger(state / "ledger.jsonl").entries()
    assert [(entry.stage, entry.round) for entry in booked] == rounds[1:]
    assert not (state / "errors.jsonl").exists()


def test_the_coordinators_record_names_the_sites_whose_noise_is_fixed(federation: Desk) -> None:
    metrics = json.loads((federation.home / "federation" / "run" / "metrics.json").read_text("utf-8"))
    assert (metrics["noise"], metrics["rehearsing"]) == ("each site's own", list(SITES))


def test_the_coordinator_holds_no_byte_of_a_patient(federation: Desk) -> None:
    folder = federation.home / "federation"
    held = {f.name: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert b"sample_rate" in b"".join(v for k, v in held.items() if k.startswith("superlink.db")), "the plan passed"
    assert held["superlink.log"]
    for site in SITES:
        rows = (federation.home / "hospitals" / site / "patients.csv").read_text("utf-8").splitlines()[1:]
        marks = [row.split(",")[0].encode() for row in rows] + [str(federation.home / "hospitals").encode()]
        assert len(marks) == 13
        for name, data in held.items():
            assert not [mark for mark in marks if mark in data], name


def test_the_federation_gives_the_model_of_a_simulation_bit_for_bit(federation: Desk) -> None:
    run = federation.home / "federation" / "run"
    assert_same_model(run, in_process(federation, run))


def test_nothing_in_the_federation_calls_home(federation: Desk) -> None:
    assert not federation.called_out()

"""Flower's simulation engine over Ray gives what one process gives, and says no more than it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fedspine.config import load_plan
from fedspine.phantom.writer import write_consortium
from fedspine.privacy.chain import read_chain
from fedspine.privacy.ledger import Ledger
from simulations.consortium import Simulation, open_consortium, simulate

PLAN = """
name = "tiny"
seed = 7
[data]
contrasts = ["T1", "T2"]
classes = ["normal", "benign", "malignant"]
omics = ["NF2", "MKI67"]
markers = ["MKI67"]
size = 32
slices = 2
[[stage]]
task = "standardise"
[[stage]]
task = "segment"
rounds = 2
steps = 2
sample_rate = 0.6
[[stage]]
task = "evaluate"
of = "segment"
"""

NEAR = "localhost,127.0.0.1,169.254.169.254,metadata.google.internal"
"""This machine, and the cloud's own word on it, which Ray asks for at every start."""


class Silent:
    """Watches without a word."""

    def stage_begins(self, stage: object) -> None: ...

    def round_ends(self, stage: object, round_number: int, seconds: float) -> None: ...


@pytest.mark.slow
def test_ray_gives_the_model_of_one_process_bit_for_bit_and_calls_nobody(tmp_path: Path) -> None:
    folders = write_consortium(tmp_path / "sites", sites=2, patients=6, shape=(3, 32, 32))
    for folder in folders:
        (folder / "site.toml").write_text("threads = 1\n")  # sums depend on the number of threads
    (tmp_path / "plan.toml").write_text(PLAN)
    shown = _on_ray(tmp_path)
    assert "report: " in shown
    for noise in ("WARN", "Warning", "DEPRECATED", "pid=", "Traceback"):
        assert noise not in shown, shown

    plan, opened = open_consortium(tmp_path / "sites", load_plan(PLAN))
    simulate(Simulation(plan, opened, tmp_path / "one", "inprocess", "site folders"), Silent())
    one, ray = tmp_path / "one", tmp_path / "ray"
    for name in ("plan.toml", "models/segment.safetensors"):
        assert (one / name).read_bytes() == (ray / name).read_bytes(), name
    numbers = [json.loads((run / "metrics.json").read_text("utf-8")) for run in (one, ray)]
    assert numbers[0]["metrics"]["segment-test"]
    assert numbers[1]["engine"] == "ray"
    for key in ("metrics", "epsilon", "sites", "not_enrolled"):
        assert numbers[0][key] == numbers[1][key], key
    for folder in folders:
        books = [run / "sites" / folder.name for run in (one, ray)]
        left = [read_chain((book / "egress.jsonl").read_text("utf-8"), "the egress log") for book in books]
        assert [line["digest"] for line in left[0]] == [line["digest"] for line in left[1]]
        assert len(left[0]) == 5
        assert Ledger(books[0] / "ledger.jsonl").entries() == Ledger(books[1] / "ledger.jsonl").entries()


def _on_ray(folder: Path) -> str:
    """Run the command where the rest of the world is a trap; return what it showed."""
    options = ["--data", folder / "sites", "--plan", folder / "plan.toml", "--out", folder / "ray"]
    command = [sys.executable, "-m", "fedspine.cli", "simulate", "--engine", "ray", *map(str, options)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLWR_", "RAY_")) and "proxy" not in k.lower()}
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.settimeout(0.1)
        world = f"http://127.0.0.1:{trap.getsockname()[1]}"
        environment = {
            **kept,
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), world),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), NEAR),
            "HOME": str(folder),
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        shown = str(done.stdout) + str(done.stderr)
        assert done.returncode == 0, shown
        try:
            caller, _ = trap.accept()
        except TimeoutError:
            return shown
        caller.settimeout(1)
        raise AssertionError(f"somebody was called: {caller.recv(200)!r}")

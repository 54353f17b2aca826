"""Marked hospitals on Flower's own engine, without TLS, through a wiretap: no mark is in any byte that went up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedspine.phantom.writer import write_consortium

from ..planting import needles, plant, seen
from .rehearsal import BIN, Block, Desk, free_port, last_status, wait_for_port
from .wiretap import Wiretap

pytestmark = pytest.mark.slow

PLAN = """
name = "marks"
seed = 3
[data]
contrasts = ["T1", "T2", "STIR"]
classes = ["benign", "malignant", "normal"]
omics = ["NF2", "MKI67"]
markers = ["MKI67"]
size = 32
slices = 2
[[stage]]
task = "standardise"
[[stage]]
task = "segment"
steps = 2
sample_rate = 0.6
[stage.options]
features = [4, 4, 4, 4]
[[stage]]
task = "evaluate"
of = "segment"
"""


def typed(desk: Desk, who: str, command: str, running: bool = False) -> str:
    return desk.type(Block(who, running, command, ()), name=who)


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Wiretap]]:
    """Run the plan over two marked hospitals to its end."""
    desk, port = Desk(tmp_path_factory.mktemp("home"), {}), free_port()
    tap = Wiretap(port)
    folders = [plant(site) for site in write_consortium(desk.home / "all", sites=2, patients=6, shape=(3, 32, 32))]
    for folder in folders:
        (folder / "site.toml").write_text("minimum_cohort = 3\n")
    (desk.home / "plan.toml").write_text(PLAN)
    desk.exports["everyone"] = [
        f'export PATH="{BIN}:$PATH" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1',
        "export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1",
    ]
    try:
        link = f"flower-superlink --insecure --host 127.0.0.1 --port {port} --disable-runtime-dependency-installation"
        typed(desk, "link", link, running=True)
        wait_for_port(port)
        for number, folder in enumerate(folders):
            node = f"flower-supernode --insecure --superlink 127.0.0.1:{tap.port} --host 127.0.0.1 --port {free_port()}"
            typed(desk, f"node{number}", f"{node} --node-config 'site=\"{folder}\"'", running=True)
        (desk.home / ".flwr").mkdir(exist_ok=True)
        (desk.home / ".flwr" / "config.toml").write_text(
            f'[superlink.plain]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
        )
        settings = f"plan='{desk.home}/plan.toml' out='{desk.home}/run' sites=2"
        typed(desk, "coordinator", f'flwr run . plain --stream --run-config "{settings}"')
        yield desk, tap
    finally:
        desk.close()
        tap.close()


def test_no_mark_is_in_any_byte_that_went_up(tapped: tuple[Desk, Wiretap]) -> None:
    desk, tap = tapped
    assert last_status(desk, "plain") == "finished:completed"
    desk.close()
    tap.close()
    marks = marks_of(desk.home / "all")
    assert b"standardise" in tap.down, "what came down could not be read"
    assert b"patients" in tap.up, "what went up could not be read"
    assert len(tap.up) > 20_000
    assert seen(marks, bytes(tap.up)) == []
    run = b"".join(file.read_bytes() for file in (desk.home / "run").rglob("*") if file.is_file())
    assert seen(marks, run) == []


def marks_of(sites: Path) -> dict[str, tuple[bytes, ...]]:
    """Return what to look for, a row of a prepared picture among it."""
    files = sorted(file for site in sites.iterdir() for file in (site / ".fedspine" / "prepared").rglob("*.npy"))
    rows = (array.reshape(-1, array.shape[-1]) for array in map(np.load, files) if array.ndim >= 3)
    return needles(next(row for some in rows for row in some if row.std() > 0.1).astype(np.float32))


def test_a_mark_that_goes_by_is_kept_by_the_tap() -> None:
    with socket.create_server(("127.0.0.1", 0)) as link:
        tap = Wiretap(link.getsockname()[1])
        with socket.create_connection(("127.0.0.1", tap.port)) as node:
            left = b"a" * 100_000 + b"ZQPID0001".hex().encode()
            node.sendall(left)
            end, _ = link.accept()
            with end:
                come = 0
                while come < len(left):
                    come += len(end.recv(1 << 16))
        tap.close()
    assert seen(needles(np.ones(2, np.float32)), bytes(tap.up)) == ["patient id"]

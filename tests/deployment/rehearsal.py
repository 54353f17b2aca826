"""The how-to pages are typed, block by block, as they stand; what they say one should see must be seen.

A fence such as ```bash coordinator is typed by that person; `left running` ones stay until the end. The lines of a
```text fence right behind must appear in the output (`…` stands for anything). Other fences are for reading.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedspine.config import load_plan
from server.runner import Watcher
from simulations.consortium import Simulation, open_consortium, simulate

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "how-to"
BIN = Path(sys.executable).parent
FENCE = re.compile(r"^```bash (\w+)(, left running)?\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.M | re.S)
SITES = ("site-1", "site-2")
NEAR = "localhost,127.0.0.1,169.254.169.254,metadata.google.internal"
"""This machine, and the cloud's own word on it, which Ray asks for at every start."""

LONGEST_S = 240
"""The longest that a block may take."""


@dataclass(frozen=True)
class Block:
    """What one person types at once, and the lines that the page promises."""

    who: str
    left_running: bool
    command: str
    promised: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """Return what is to be typed, in order."""
    found = [
        Block(who, bool(running), command, tuple(shown.splitlines()))
        for who, running, command, shown in FENCE.findall(page.read_text("utf-8"))
    ]
    assert len(found) > 1, "the page has nothing to type"
    return found


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Desk:
    """A home directory, somebody's shells in it, and a trap for whatever calls out.

    Args:
        home: scratch folder.
        changes: text of the page to what is typed instead: the ports, the environment's place, a seed.
    """

    home: Path
    changes: Mapping[str, str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    exports: dict[str, list[str]] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    trap: socket.socket = field(default_factory=socket.socket)

    def __post_init__(self) -> None:
        self.trap.bind(("127.0.0.1", 0))
        self.trap.listen()
        self.trap.setblocking(False)

    def environment(self) -> dict[str, str]:
        """Return an environment where the rest of the world is the trap."""
        proxy = f"http://127.0.0.1:{self.trap.getsockname()[1]}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLWR_", "RAY_")) and "proxy" not in k.lower()}
        return {
            **kept,
            "HOME": str(self.home),
            "REHEARSAL": self.mark,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), NEAR),
        }

    def type(self, block: Block, changes: Mapping[str, str] | None = None, name: str = "") -> str:
        """Type a block; return what it printed, or nothing for one that is left running."""
        command = block.command
        for old, new in {**self.changes, **(changes or {})}.items():
            command = command.replace(old, new)
        shell = f"{block.who}{name}"
        lines = [*self.exports.get("everyone", []), *self.exports.get(shell, [])]
        script = "\n".join(["set -euo pipefail", *lines, f"cd {ROOT}", command])
        self.exports.setdefault(shell, []).extend(line for line in command.splitlines() if line.startswith("export "))
        output = self.home / f"shell-{len(list(self.home.glob('shell-*')))}.txt"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", script], stdout=sink, stderr=sink, env=self.environment(), start_new_session=True
            )
        self.running.append(process)
        if block.left_running:
            return ""
        code = process.wait(timeout=LONGEST_S)
        shown = output.read_text("utf-8", errors="replace")
        assert code == 0, f"{command}\n{shown}\n{self.others(output)}"
        for promise in block.promised:
            pattern = ".*".join(re.escape(part) for part in promise.split("…"))
            assert re.search(pattern, shown), f"{promise!r} was promised\n{shown}"
        return shown

    def others(self, but: Path) -> str:
        """Return the ends of the other shells, for whoever looks for a failure's cause."""
        return "\n".join(f"--- {f.name}\n{f.read_text('utf-8')[-2000:]}" for f in self.home.glob("shell-*") if f != but)

    def called_out(self) -> bool:
        """Return whether anything tried to reach the world."""
        try:
            self.trap.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """End every process that was started from here, even those that left its session."""
        for kill in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 15
            for process in self.alive():
                try:
                    os.kill(process, kill)
                except ProcessLookupError:
                    continue
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.2)
        for shell in self.running:
            shell.wait(timeout=15)
        self.trap.close()
        assert not self.alive()

    def alive(self) -> list[int]:
        """Return the ids of processes that carry this desk's mark."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"REHEARSAL={self.mark}".encode() in (folder / "environ").read_bytes()
                if marked and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


def wait_for_port(port: int) -> None:
    """Return when somebody listens on `port`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("nobody listens")


def last_status(desk: Desk, where: str) -> str:
    """Return how the newest run ended."""
    shown = desk.type(Block("coordinator", False, f"flwr ls {where} --format json 2>/dev/null", ()))
    return str(json.loads(shown)["runs"][0]["status"])


class Silent:
    """Watches without a word."""

    def stage_begins(self, stage: object) -> None: ...

    def round_ends(self, stage: object, round_number: int, seconds: float) -> None: ...


def in_process(desk: Desk, run: Path) -> Path:
    """Run the plan of the run folder `run` again on the same sites, in this process; return that run folder."""
    watcher: Watcher = Silent()
    plan, folders = open_consortium(desk.home / "hospitals", load_plan((run / "plan.toml").read_text("utf-8")))
    out = desk.home / "in-process"
    simulate(Simulation(plan, folders, out, "inprocess", "site folders"), watcher)
    return out


def assert_same_model(one: Path, other: Path) -> None:
    """Compare weights byte for byte, and what was released of the held-out patients."""
    model = Path("models") / "segment.safetensors"
    assert (one / model).read_bytes() == (other / model).read_bytes()
    numbers = [json.loads((run / "metrics.json").read_text("utf-8")) for run in (one, other)]
    assert numbers[0]["metrics"]
    assert numbers[0]["metrics"] == numbers[1]["metrics"]
    assert [s["loss"] for s in numbers[0]["stages"]] == [s["loss"] for s in numbers[1]["stages"]]

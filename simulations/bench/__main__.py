"""`make bench`: measure what the project promises, side by side in one run, and write the table into docs/.

Every figure is the median of `REPEATS` child processes (so that memory and CPU time are that run's alone), and ratios
are taken between children of the same repeat. Nothing here is a test: a slow machine makes a slow table.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simulations.bench.children import CHILDREN
from simulations.bench.tasks import KINDS, trained_tasks

REPEATS = 3
TABLE = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks.md"

DRAWINGS = ("draw", "draw_series")
"""What only writes files for the others."""

EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""What makes glibc give every larger block back at once (`mallopt(3)`). Otherwise it keeps what it may need again, and
the peak of one and the same step lies anywhere between 21 and 58 MB. Steps take twice as long under it."""

Row = dict[str, float]


def main() -> None:
    """Run all children and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        sites = Path(folder) / "sites"
        print("drawing phantoms", flush=True)
        for drawing in DRAWINGS:
            _child(drawing, str(sites))
        rows: dict[str, list[Row]] = {name: [] for name in CHILDREN if name not in DRAWINGS}
        for repeat in range(REPEATS):
            for name in rows:
                rows[name].append(_child(name, str(sites)))
                print(f"repeat {repeat + 1} of {REPEATS}: {name} {rows[name][-1]}", flush=True)
    costs = _task_costs()
    TABLE.write_text(_table(rows, costs), encoding="utf-8")
    print(f"written: docs/reference/{TABLE.name}")


def _task_costs() -> dict[str, dict[str, list[Row]]]:
    """Return, for every task that trains, what its steps of both `KINDS` took: time, and apart from it memory."""
    costs = {}
    for task in trained_tasks():
        rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
        for _ in range(REPEATS):
            for kind in KINDS:
                rows[kind].append(_printed([sys.executable, "-m", "simulations.bench.tasks", task, kind]))
        for kind in KINDS:
            held = _printed([sys.executable, "-m", "simulations.bench.tasks", task, kind], EXACT)["peak_mb"]
            rows[kind] = [{**row, "peak_mb": held} for row in rows[kind]]
        costs[task] = rows
        print(task, rows, flush=True)
    return costs


def _child(name: str, *arguments: str) -> Row:
    """Return what one child process printed, a JSON object of numbers."""
    return _printed([sys.executable, "-m", "simulations.bench.children", name, *arguments])


def _printed(command: list[str], also: Mapping[str, str] | None = None) -> Row:
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **(also or {})})
    result: Row = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def _ratio(rows: dict[str, list[Row]], over: str, under: str, key: str) -> float:
    return statistics.median(a[key] / b[key] for a, b in zip(rows[over], rows[under], strict=True))


def _median(rows: list[Row], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def _cost(task: str, rows: dict[str, list[Row]]) -> str:
    cells = [f"{_ratio(rows, *KINDS, key):.2f}x" for key in ("seconds", "peak_mb")]
    megabytes = " / ".join(f"{_median(rows[kind], 'peak_mb'):.3g}" for kind in KINDS)
    return f"| `{task}` | {' | '.join(cells)} | {megabytes} |"


def _table(rows: dict[str, list[Row]], costs: dict[str, dict[str, list[Row]]]) -> str:
    step: Callable[[str, str], float] = lambda under, key: _ratio(rows, "private", under, key)  # noqa: E731
    lines: list[tuple[str, str, str]] = [
        (
            "private step / plain step of one batch, U-Net 128², 8 patients of 8 slices: time",
            f"{step('plain', 'seconds'):.2f}x",
            "at most 1.15x",
        ),
        (
            "the same, against plain accumulation patient by patient: time",
            f"{step('accumulated', 'seconds'):.2f}x",
            "-",
        ),
        (
            "private step / plain step: peak memory beyond the idle process",
            f"{step('plain', 'peak_mb'):.2f}x",
            "at most 1x",
        ),
        (
            "in-process engine, 4 sites: start-up beyond imports",
            f"{_median(rows['engine'], 'startup'):.2f} s",
            "under 2 s",
        ),
        (
            "in-process engine / bare loop: seconds a round",
            f"{_ratio(rows, 'engine', 'bare', 'round'):.2f}x",
            "at most 1.10x",
        ),
        (
            "in-process engine / bare loop: CPU-seconds of the whole process",
            f"{_ratio(rows, 'engine', 'bare', 'cpu'):.2f}x",
            "at most 1.2x",
        ),
        (
            "in-process engine / bare loop: peak memory",
            f"{_ratio(rows, 'engine', 'bare', 'peak_mb'):.2f}x",
            "at most 1.3x",
        ),
        (
            "reading a cached cohort of 40 phantoms (5 contrasts, 12 slices of 128²)",
            f"{_median(rows['cached'], 'seconds'):.2f} s",
            "under 2 s",
        ),
        (
            "drawing and writing these 40 phantoms as DICOM",
            f"{_median(rows['phantoms'], 'seconds'):.1f} s",
            "under 10 s",
        ),
        (
            "decoding 1,000 slices of 512² into the cache / a plain pydicom loop in two processes: time",
            f"{_ratio(rows, 'decode', 'pydicom', 'seconds'):.2f}x",
            "at most 1x",
        ),
        (
            "dicom2nifti converting the same slices / decoding them into the cache: time",
            f"{_ratio(rows, 'dicom2nifti', 'decode', 'seconds'):.2f}x",
            "at least 1.5x",
        ),
        (
            "decoding the same slices: peak memory of the reading process (512 MB of voxels)",
            f"{_median(rows['decode'], 'peak_mb'):.0f} MB",
            "-",
        ),
        (
            "reading a cached cohort of 200 patients (5 contrasts of 12 slices): time",
            f"{_median(rows['hundreds'], 'seconds'):.2f} s",
            "under 3 s",
        ),
        (
            "the same: peak memory",
            f"{_median(rows['hundreds'], 'peak_mb'):.0f} MB",
            "under 500 MB",
        ),
    ]
    raw = "\n".join(f"- {name}: " + "; ".join(_short(row) for row in found) for name, found in rows.items())
    tasks = "\n".join(_cost(name, found) for name, found in costs.items())
    body = "\n".join(f"| {what} | {found} | {wanted} |" for what, found, wanted in lines)
    return f"""# Benchmarks

Written by `make bench` on {time.strftime("%Y-%m-%d")}: Python {platform.python_version()}, {os.cpu_count()} cores,
no GPU. Medians of {REPEATS} runs; both sides of a ratio run in turn on the same machine. What each child process does
stands in `simulations/bench/children.py`.

| what | measured | must reach |
|---|---|---|
{body}

A private step over a plain one that does the same work, every task with its default network at 64², six phantoms of
six slices (`simulations/bench/tasks.py`); asked: at most 1.2x time and 1.0x memory.
Memory is measured in runs of its own, in which the C library gives back at once what it is given.

| task | time | peak memory | private / plain, MB beyond the idle process |
|---|---|---|---|
{tasks}

Raw values, one group a repeat:

{raw}
"""


def _short(row: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.3g}" for key, value in row.items())


if __name__ == "__main__":
    main()

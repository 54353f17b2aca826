"""What the benchmarks call the memory of a process is its own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from simulations.bench.memory import PeakMemory, highest_mb

LARGE_MB = 600


def test_a_process_just_started_does_not_report_the_memory_of_its_parent() -> None:
    ballast = np.ones((LARGE_MB, 2**20), np.uint8)
    child = "from simulations.bench.memory import highest_mb; print(highest_mb())"
    said = float(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
    assert highest_mb() > ballast.nbytes / 2**20
    assert 1 < said < LARGE_MB / 2


def test_what_was_held_and_given_back_counts() -> None:
    before = highest_mb()
    np.ones((int(before) + LARGE_MB, 2**20), np.uint8)
    assert highest_mb() > before + LARGE_MB / 2


def test_a_peak_is_that_of_the_time_it_was_watched() -> None:
    np.ones((LARGE_MB, 2**20), np.uint8)
    with PeakMemory() as little:
        pass
    with PeakMemory() as much:
        np.ones((LARGE_MB, 2**20), np.uint8)
    assert little.beyond_idle_mb < LARGE_MB / 4, "what was held before does not count"
    assert much.beyond_idle_mb > LARGE_MB / 2

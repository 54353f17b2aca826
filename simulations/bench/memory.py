"""How much memory a child process of `make bench` takes at most."""

from __future__ import annotations

import threading
from pathlib import Path


class PeakMemory:
    """Samples this process's proportional set size (PSS) twenty times a second while open."""

    def __enter__(self) -> PeakMemory:
        self.peak_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.peak_mb = max(self.peak_mb, pss_mb())

    def __exit__(self, *error: object) -> None:
        self.peak_mb = max(self.peak_mb, pss_mb())
        self._done.set()
        self._thread.join()


def pss_mb() -> float:
    """Return this process's proportional set size in megabytes."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel did not report PSS")


def highest_mb() -> float:
    """Return the most memory, resident, that this process held since its program began, in megabytes.

    Not `ru_maxrss`: that one survives `exec`, and a process just started would report the memory of its parent.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel did not report VmHWM")

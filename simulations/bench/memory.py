"""How much memory a child process of `make bench` takes at most."""

from __future__ import annotations

from pathlib import Path

RESET_PEAK = "5"
"""Written to `clear_refs`, it sets `VmHWM` back to what is resident now (Linux, `proc(5)`)."""


class PeakMemory:
    """What this process holds at most while open, beyond what it held at the beginning: the kernel's own record.

    Sampled a few times a second, a peak of some milliseconds would be met in one run and missed in the next.
    """

    def __enter__(self) -> PeakMemory:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        self.idle_mb, self.peak_mb = resident_mb(), 0.0
        return self

    def __exit__(self, *error: object) -> None:
        self.peak_mb = highest_mb()

    @property
    def beyond_idle_mb(self) -> float:
        """The peak less what was resident at the beginning."""
        return self.peak_mb - self.idle_mb


def resident_mb() -> float:
    """Return the memory that is resident now, in megabytes."""
    return _status_mb("VmRSS")


def highest_mb() -> float:
    """Return the most memory, resident, that this process held since its program began, in megabytes.

    Not `ru_maxrss`: that one survives `exec`, and a process just started would report the memory of its parent.
    """
    return _status_mb("VmHWM")


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel did not report {field}")

"""The consortium that a simulation runs on when it is given no data."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

from fedspine.phantom.lung.writer import write_lung_consortium
from fedspine.phantom.writer import write_consortium

SITES, PATIENTS, SHAPE = 4, 24, (12, 96, 96)
"""Small enough for a laptop, large enough to see every stage work."""


BODIES = {"spine": write_consortium, "lung": write_lung_consortium}
"""What a consortium of phantoms can show."""


def embedded_sites(
    run: Path, seed: int, progress: Callable[[int, int], None] | None = None, *, body: str = "spine"
) -> Path:
    """Return the folder of phantom site folders below `run`, written now if it is not there yet.

    Several processes may ask at once; one writes and the others wait. A write that was cut off is begun again.
    """
    run.mkdir(parents=True, exist_ok=True)
    folder, partial = run / "phantoms", run / "phantoms.partial"
    with open(run / "phantoms.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(partial, ignore_errors=True)
            BODIES[body](partial, sites=SITES, patients=PATIENTS, seed=seed, shape=SHAPE, progress=progress)
            partial.rename(folder)
    (run / "phantoms.lock").unlink(missing_ok=True)
    return folder

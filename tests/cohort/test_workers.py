"""Worker processes: what they must survive, and whom they must not surprise."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedspine.cohort.workers import Lost, Workers
from fedspine.errors import CohortError
from fedspine.phantom.writer import write_consortium

SCRIPT = """
import sys
{first}
from pathlib import Path
from fedspine.cohort.site import load_cohort
print(len(load_cohort(Path(sys.argv[1])).patients))
"""


def test_a_task_that_hangs_or_dies_is_lost_alone() -> None:
    with Workers(2) as workers:
        assert list(workers.map(time.sleep, [60.0, 0.0], lambda _: 1.0)) == [Lost.SLOW, None]
        assert list(workers.map(os._exit, [3], lambda _: 10.0)) == [Lost.DEAD]
        assert list(workers.map(abs, [-4], lambda _: 10.0)) == [4]


def test_a_pool_that_breaks_is_started_once_more_and_forgets_no_task() -> None:
    with Workers(2) as workers:
        assert list(workers.map(abs, [-1], lambda _: 10.0)) == [1]
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)  # as the system does when memory runs out
        time.sleep(0.5)
        assert list(workers.map(abs, [-2, -3, -4], lambda _: 10.0)) == [2, 3, 4]


def test_where_no_process_comes_up_the_sentence_blames_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedspine.cohort.workers.confine", os._exit)
    with Workers(2) as workers, pytest.raises(CohortError, match="none that stays alive"):
        list(workers.map(abs, [-1, -2], lambda _: 10.0))


@pytest.mark.parametrize("first", ["", "import torch"])
def test_a_script_of_three_lines_reads_a_cohort(tmp_path: Path, first: str) -> None:
    """A researcher's script has no `if __name__ == "__main__"`: no worker may run it once more."""
    folder = write_consortium(tmp_path / "out", sites=1, patients=12, shape=(4, 32, 32))[0]
    script = tmp_path / "look.py"
    script.write_text(SCRIPT.format(first=first))
    run = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "12\n", "")

"""Read many files at once in processes of their own, so that a file which hangs, crashes or swells takes nothing along.

The libraries that decode pictures are partly written in C: a broken file may bring down the process, run for ever or
ask for any amount of memory. Here each task has a time limit and each process a memory limit; when one is lost, its
task is lost alone and another process takes its place. Nothing that a process or a foreign library prints gets out.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from multiprocessing.context import BaseContext
from typing import TypeVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from fedspine.errors import CohortError

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_WORKERS = 8
WORKER_BYTES = 4 * 2**30
"""Address space that a process may take beyond what it has at its start: a 16,384² picture while it is decoded."""
POLLING_S = 0.01
"""How often the pool looks whether it may end; a tenth of a second is a third of what reading 1,000 slices takes."""
ATTEMPTS = 2
"""How often the pool is started before the machine is to blame."""
PR_SET_PDEATHSIG = 1


class Lost(Enum):
    """Why a task gave no result."""

    SLOW = "slow"
    DEAD = "dead"


class Workers:
    """A pool of processes, started when first needed and ended on leaving.

    Args:
        count: of processes; as many as this process may use cores, if not given.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or min(MOST_WORKERS, _cores())
        self._pool: ProcessPool | None = None

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], limit_s: Callable[[Task], float]
    ) -> Iterator[Result | Lost]:
        """Yield the result of `function` for each of `tasks`, in their order.

        Args:
            function: of a module, so that another process can find it; must raise nothing of its own.
            tasks: values that can be pickled.
            limit_s: seconds that a task may take.

        Raises:
            CohortError: when no process stays alive, whatever the task.
        """
        answered = 0
        for _ in range(ATTEMPTS):
            try:
                for result in self._map(function, tasks[answered:], limit_s):
                    answered += 1
                    yield result
                return
            except RuntimeError:  # not a task's doing: processes went while they had nothing to do, or never came up
                self._end(wait=False)
        raise CohortError(
            "files must be read in processes of their own",
            "none that stays alive",
            "free memory, or raise this account's limits on memory and processes",
        )

    def _map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], limit_s: Callable[[Task], float]
    ) -> Iterator[Result | Lost]:
        if self._pool is None:
            CONSTS.sleep_unit = POLLING_S
            self._pool = ProcessPool(self.count, context=_context(), initializer=confine, initargs=[WORKER_BYTES])
        futures = [self._pool.schedule(function, args=(task,), timeout=limit_s(task)) for task in tasks]
        for future in futures:
            try:
                result: Result | Lost = future.result()
            except TimeoutError:
                result = Lost.SLOW
            except (ProcessExpired, MemoryError):
                result = Lost.DEAD
            yield result

    def _end(self, *, wait: bool) -> None:
        """End the processes, at once or when they have done what they were given."""
        if self._pool is not None:
            if wait:
                self._pool.close()  # type: ignore[no-untyped-call]
            else:
                self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._end(wait=kind is None)  # after an error, do not wait for what nobody wants any more


def possible() -> bool:
    """Tell whether this process may have processes of its own; a daemonic one may not."""
    return not multiprocessing.current_process().daemon


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> BaseContext:
    """Return how processes are started: forked from this one where that is safe, for it takes 10 ms instead of 300.

    Torch keeps threads whose locks a fork would copy as they stand; from Python 3.12 on any thread is warned of. Then
    loky starts a clean interpreter, which unlike the standard library's does not run the caller's script once more.
    """
    if sys.version_info < (3, 12) and sys.platform == "linux" and "torch" not in sys.modules:
        return multiprocessing.get_context("fork")
    from loky.backend import get_context

    context: BaseContext = get_context("loky")
    return context


def confine(most_bytes: int) -> None:
    """Limit this process for good: memory, no core dump (it would hold pictures), no output, no life of its own."""
    taken = _address_space()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = taken + most_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    if sys.platform == "linux":  # a worker must not outlive a parent that was killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _address_space() -> int:
    """Return the bytes of address space that this process has now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0

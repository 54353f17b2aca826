"""A file of JSON lines, each of which holds the hash of the one before it: what was written cannot be changed unseen.

A line is on disk before `append` returns, and one process at a time may write.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fedspine.errors import PrivacyError

FIRST = "0" * 64
"""What the first line names as the hash before it."""


def chained(line: dict[str, Any], previous: str) -> dict[str, Any]:
    """Return `line` with the hash of the line before it and its own."""
    body = {**line, "previous": previous}
    return {**body, "hash": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}


def read_chain(text: str, what: str) -> list[dict[str, Any]]:
    """Return the lines of a hash-chained file.

    Raises:
        PrivacyError: if a line was changed, removed from the middle or is not whole.
    """
    lines: list[dict[str, Any]] = []
    previous = FIRST
    for number, raw in enumerate(text.splitlines(), 1):
        try:
            line = json.loads(raw)
            body = {key: value for key, value in line.items() if key not in ("hash", "previous")}
            intact = chained(body, previous) == line
        except (ValueError, AttributeError):
            intact = False
        if not intact:
            raise PrivacyError(
                f"{what} must be an unbroken chain; line {number} does not follow; restore it from a backup"
            )
        lines.append(line)
        previous = line["hash"]
    return lines


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Open `path` for reading and appending, mode 0600, under an exclusive lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def append(file: IO[str], line: dict[str, Any]) -> None:
    """Write one line and return only when it is on disk."""
    file.write(json.dumps(line, sort_keys=True) + "\n")
    file.flush()
    os.fsync(file.fileno())

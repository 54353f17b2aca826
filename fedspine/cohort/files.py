"""Find the files of a site folder, with what `stat` says of each, and open one only if it is still the same."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fedspine.cohort.patient import Rejected
from fedspine.errors import PassingError

LEAVES = "a link must stay inside the site folder; found one that leaves it; copy the files in."
UNREADABLE = "a folder must be readable; found one that is not; check its access rights."
NO_FILE = "an entry must be a file or a folder; found neither, or one that just went; take it out."


@dataclass(frozen=True)
class File:
    """One file.

    Args:
        where: place within the site folder, with forward slashes.
        size: bytes.
        changed: time of the last change in nanoseconds.
    """

    where: str = field(repr=False)
    size: int
    changed: int


def files_below(folder: Path, room: str) -> tuple[list[File], list[Rejected]]:
    """Return the files below `folder/room`, sorted by place, and what was passed over.

    Hidden files and folders are skipped. A link is followed when it stays inside `folder`.
    """
    root = Path(os.path.realpath(folder))
    start = root / room
    found: list[File] = []
    refused: list[Rejected] = []
    if not start.exists():
        return found, refused
    if not inside(start, root):
        return found, [Rejected(room, LEAVES)]
    pending, visited = [(str(start), room)], {os.path.realpath(start)}
    while pending:
        place, where = pending.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            refused.append(Rejected(where, UNREADABLE))
            continue
        for entry in entries:
            inner = f"{where}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not inside(Path(entry.path), root):
                refused.append(Rejected(inner, LEAVES))
            elif _is_folder(entry):
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if real not in visited:  # a link to a folder above would go round for ever
                    visited.add(real)
                    pending.append((entry.path, inner))
            else:
                file = _file(entry, inner)
                if file is None:
                    refused.append(Rejected(inner, NO_FILE))
                else:
                    found.append(file)
    return sorted(found, key=lambda file: file.where), sorted(refused, key=lambda one: one.where)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _file(entry: os.DirEntry[str], where: str) -> File | None:
    """Return the file at `entry`, or `None` for a dangling link, a socket or a file that vanished meanwhile."""
    try:
        found = entry.stat()
        return File(where, found.st_size, found.st_mtime_ns) if entry.is_file() else None
    except OSError:
        return None


def inside(path: Path, root: Path) -> bool:
    """Tell whether `path` lies in `root`, links followed; `root` must have none."""
    return Path(os.path.realpath(path)).is_relative_to(root)


def open_file(folder: Path, file: File) -> BinaryIO:
    """Return `file` (a place within `folder`) open for reading.

    Raises:
        PassingError: when it cannot be read, or is not the file any more that was found.
    """
    try:
        # without blocking: in place of the file there may be a pipe by now that nobody writes to
        handle = open(folder / file.where, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    except OSError:
        raise PassingError("a file must be readable", "one that is not", "check its access rights") from None
    try:
        check_unchanged(handle, file)
    except PassingError:
        handle.close()
        raise
    return handle


def check_unchanged(handle: BinaryIO, file: File) -> None:
    """Raise a `PassingError` when the open file is not the one that was found."""
    now = os.fstat(handle.fileno())
    if not stat.S_ISREG(now.st_mode) or (now.st_size, now.st_mtime_ns) != (file.size, file.changed):
        raise PassingError(
            "a file must stay as it is while it is read", "one that changed", "start again when nobody writes to it"
        )


def _without_waiting(place: str, flags: int) -> int:
    return os.open(place, flags | os.O_NONBLOCK)

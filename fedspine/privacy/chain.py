"""A file of JSON lines, each of which holds the hash of the one before it: what was written cannot be changed unseen.

Beside `NAME.jsonl` lies `NAME.mark`: how many lines there are and the hash of the last one. A chain alone stays a
chain when its end is cut off; with the mark a cut end, a file that is gone and a mark that is gone are noticed.

`extend` adds a line: under an exclusive lock it reads and checks all there is, appends, and returns only when line and
mark are on disk, in this order. So a crash leaves at most one line more than the mark says, which is a line that was
written and not yet acted upon, or an unfinished line, which never counted. Anything else is refused.

What this shows is accident and the clumsy hand. There is no secret in it: who may write both files can make a chain and
a mark anew, or take both away. Let a backup, or somebody else, keep a copy of the mark.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from fedspine.errors import PrivacyError

FIRST = "0" * 64
"""What the first line names as the hash before it."""

Line = dict[str, Any]


@dataclass(frozen=True)
class Mark:
    """The end of a chain as it was last written down: how many lines, and the hash of the last."""

    count: int = 0
    hash: str = FIRST


def extend(path: Path, line: Line, what: str, admit: Callable[[Sequence[Line]], None] | None = None) -> str:
    """Add `line` to the chained file `path` and return its hash, when it is on disk.

    Args:
        path: the file, `NAME.jsonl`; made with mode 0600, and its folder if need be.
        line: what to write; `number`, `previous` and `hash` are added.
        what: how a message may call the file, such as "the privacy ledger".
        admit: is shown the lines before, under the lock; what it raises is raised, and nothing is written.

    Raises:
        PrivacyError: if the file is not whole.
    """
    with _locked(path) as file:
        text, mark = _text(file), _read_mark(path, what)
        lines = _checked(text, mark, what)
        if admit is not None:
            admit(lines)
        end = Mark(len(lines), lines[-1]["hash"] if lines else FIRST)
        if end != mark:
            _write_mark(path, end)  # first, or a second crash would leave two lines more than the mark says
        if text != _whole(text) and mark is None:
            file.write("\n")  # a whole line from before there were marks, whose end somebody trimmed
        elif text != _whole(text):
            os.ftruncate(file.fileno(), len(_whole(text).encode()))
        added = chained({**line, "number": end.count + 1}, end.hash)
        _append(file, added)
        _write_mark(path, Mark(added["number"], added["hash"]))
    return str(added["hash"])


def read(path: Path, what: str) -> list[Line]:
    """Return the lines of the chained file `path`, none where there is neither file nor mark; nobody writes meanwhile.

    Raises:
        PrivacyError: if the file is not whole.
    """
    try:
        file = path.open(encoding="utf-8", errors="replace", newline="")
    except FileNotFoundError:
        return _checked("", _read_mark(path, what), what)
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return _checked(_text(file), _read_mark(path, what), what)


def chained(line: Line, previous: str) -> Line:
    """Return `line` with the hash of the line before it and its own."""
    body = {**line, "previous": previous}
    return {**body, "hash": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}


def read_chain(text: str, what: str) -> list[Line]:
    """Return the lines of a hash-chained file's text; whether its end is missing, only `read` can tell.

    Raises:
        PrivacyError: if a line was changed, removed from the middle or is not whole.
    """
    lines: list[Line] = []
    previous = FIRST
    for number, raw in enumerate(text.splitlines(), 1):
        line = _following(raw, previous)
        if line is None:
            raise PrivacyError(
                f"{what} must be an unbroken chain; line {number} does not follow; restore it from a backup"
            )
        lines.append(line)
        previous = line["hash"]
    return lines


@lru_cache(maxsize=1 << 14)  # a line that a process has checked before need not be parsed at every one that follows
def _following(raw: str, previous: str) -> Line | None:
    """Return the line written as `raw` if it follows, else `None`."""
    try:
        line = json.loads(raw)
        own = line["hash"]
        if line["previous"] != previous:
            return None
        # as `_append` writes it: the text without the hash is what was hashed, which spares writing it again
        body = raw.replace(f'"hash": "{own}", ', "", 1)
        if hashlib.sha256(body.encode()).hexdigest() == own:
            return dict(line)
        # the same line in another hand, such as with other spaces
        return (
            line
            if chained({k: v for k, v in line.items() if k not in ("hash", "previous")}, previous) == line
            else None
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checked(text: str, mark: Mark | None, what: str) -> list[Line]:
    """Return the lines of `text` if they end where `mark` says, or one line later."""
    lines = read_chain(text if mark is None else _whole(text), what)
    if mark is None:
        if any("number" in line for line in lines):  # lines from before there were marks have none
            raise PrivacyError(f"{what} must have its mark beside it; found none; restore both from a backup")
        return lines
    if len(lines) < mark.count:
        raise PrivacyError(
            f"{what} must hold the {mark.count} lines that its mark counts; found {len(lines)}; "
            "restore both from a backup"
        )
    marked = lines[mark.count - 1]["hash"] if mark.count else FIRST
    if marked != mark.hash or len(lines) > mark.count + 1:
        raise PrivacyError(f"{what} must end where its mark says; found another end; restore both from a backup")
    return lines


def _whole(text: str) -> str:
    """Return `text` without a last line that a crash left unfinished; it was never booked."""
    return text[: text.rfind("\n") + 1]


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def mark_of(path: Path) -> Path:
    """Return where the mark of a chained file lies."""
    return path.with_suffix(".mark")


def _read_mark(path: Path, what: str) -> Mark | None:
    try:
        text = mark_of(path).read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        mark = json.loads(text)
        return Mark(int(mark["count"]), str(mark["hash"]))
    except (ValueError, KeyError, TypeError):
        raise PrivacyError(
            f"the mark of {what} must be readable; found another text; restore both from a backup"
        ) from None


def _write_mark(path: Path, mark: Mark) -> None:
    """Put `mark` in the place of the one before, all of it or nothing."""
    partial = mark_of(path).with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"count": mark.count, "hash": mark.hash}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, mark_of(path))
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    """Return when the names in the folder of `path` are on disk too."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open `path` for reading and appending, mode 0600, under an exclusive lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a+", encoding="utf-8", errors="replace", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _append(file: IO[str], line: Line) -> None:
    """Write one line and return only when it is on disk."""
    file.write(json.dumps(line, sort_keys=True) + "\n")
    file.flush()
    os.fsync(file.fileno())

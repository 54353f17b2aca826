"""Keep what was decoded, so that a second start opens no DICOM file.

The cache is a folder below the site folder that only its owner may read. It holds one array (`.npy`) per volume or
mask, and journals: files that are only ever appended to, one line an entry with a digest of itself. An entry is known
by the files it came from (place, size, time of change) and the code that read them, so a changed file can never meet
an old entry. Arrays are opened as memory maps; one that was touched after it was written is not trusted but made again.

A reading that was killed has lost nothing: its journal is read by the next one. Every process writes a journal of its
own, so no lock is needed (shared folders of hospitals often have none that works) and two processes at once do each
other no harm; at worst one makes again what the other had made. When a reading ends well, what it used goes into one
new journal, and the journals that it had read go.

Without a writable folder the arrays go to a temporary one and are forgotten with the process.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray

from fedspine.cohort.files import File

VERSION = hashlib.sha256(
    pydicom.__version__.encode() + b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()
"""The code that reads and decodes; another code makes every entry anew, and nobody has to remember to say so."""

JOURNAL = ".journal"
ORPHANED_S = 86_400.0
"""Age from which a file that no journal names was left behind by a killed process."""


def key_of(kind: str, parts: Iterable[object]) -> str:
    """Return the name of an entry of `kind` made from `parts`; nothing can be read back out of it."""
    text = json.dumps([VERSION, kind, [str(part) for part in parts]])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


class Cache:
    """The cache of one site folder; leaving it well keeps what was used since it was opened and drops the rest.

    Args:
        folder: where to keep it; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._lasting = _made(folder)
        self.folder = folder if self._lasting else _temporary()
        """Where arrays may be written; `None` when there is no such place."""
        self._read = sorted(folder.glob(f"*{JOURNAL}"), key=_time) if self._lasting else []
        self._entries: dict[str, bytes] = {}
        for journal in self._read:
            self._entries |= _entries_of(journal)
        self._used: set[str] = set()
        self._own: tuple[Path, BinaryIO] | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Any:
        """Return the entry `key`, or `None`."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._used.add(key)
        return json.loads(found)

    def put(self, key: str, value: Any) -> None:
        """Keep `value`, which must be JSON, as the entry `key`; a process killed from here on has kept it."""
        self._entries[key] = json.dumps(value, separators=(",", ":")).encode()
        self._used.add(key)
        if not self._lasting:
            return
        try:
            if self._own is None:
                path = self._new_journal()
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                self._own = path, os.fdopen(handle, "wb", buffering=0)
            self._own[1].write(_line(key, self._entries[key]))
        except OSError:  # a full disk must not stop the reading
            pass

    def array(self, key: str) -> NDArray[np.generic] | None:
        """Return the array `key` as a read-only memory map, or `None` where there is none to be trusted."""
        if self.folder is None:
            return None
        stamp, path = self.get(f"{key}.npy"), self.folder / f"{key}.npy"
        try:
            if stamp is None or stamp != _stamp(path):
                return None
            found: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        return found

    def adopt(self, key: str) -> NDArray[np.generic] | None:
        """Return the array that somebody wrote to `folder / f"{key}.npy"`, and trust it from now on."""
        if self.folder is None:
            return None
        try:
            self.put(f"{key}.npy", _stamp(self.folder / f"{key}.npy"))
        except OSError:
            return None
        return self.array(key)

    def put_array(self, key: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Keep `array` as the entry `key` and return it, from the disk where that works."""
        try:
            if self.folder is not None:
                write_whole(self.folder / f"{key}.npy", lambda file: np.save(file, array, allow_pickle=False))
        except OSError:  # a full disk must not stop the reading
            return array
        found = self.adopt(key)
        return array if found is None else found

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Tidy up, unless the reading was broken off: then the next one goes on from the journals."""
        if self._own is not None:
            self._own[1].close()
        if not self._lasting and self.folder is not None:  # what is mapped stays readable until it is let go
            shutil.rmtree(self.folder, ignore_errors=True)
        elif kind is None and (self._own is not None or len(self._used) < len(self._entries)):
            try:
                self._tidy()
            except OSError:
                return

    def _new_journal(self) -> Path:
        return (self.folder or Path()) / f"{secrets.token_hex(8)}{JOURNAL}"

    def _tidy(self) -> None:
        """Write one journal of what was used, and remove the rest."""
        body = b"".join(_line(key, self._entries[key]) for key in self._entries if key in self._used)
        journal = self._new_journal()
        write_whole(journal, lambda file: file.write(body))
        for old in [*self._read, *([] if self._own is None else [self._own[0]])]:
            old.unlink(missing_ok=True)
        oldest = time.time() - ORPHANED_S
        for path in journal.parent.iterdir():
            dropped = path.name in self._entries and path.name not in self._used
            unnamed = path.suffix != JOURNAL and path.name not in self._entries
            if path.is_file() and (dropped or (unnamed and path.stat().st_mtime < oldest)):
                path.unlink(missing_ok=True)


def first_writable(*folders: Path | None) -> Path | None:
    """Return the first of `folders` that exists or can be made, and written to by its owner; `None` without one."""
    return next((folder for folder in folders if folder is not None and _made(folder)), None)


def _made(folder: Path) -> bool:
    """Make the folder of a cache, readable by its owner only, and tell whether it can be written to."""
    try:
        for one in (folder.parent, folder):
            if not one.exists():
                one.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _temporary() -> Path | None:
    try:
        return Path(tempfile.mkdtemp())
    except OSError:
        return None


def _line(key: str, value: bytes) -> bytes:
    content = b"%b %b" % (key.encode(), value)
    return b"%b %b\n" % (hashlib.blake2b(content, digest_size=8).hexdigest().encode(), content)


def _entries_of(journal: Path) -> dict[str, bytes]:
    """Return the whole entries of a journal; a torn or damaged line is as good as none."""
    entries = {}
    try:
        lines = journal.read_bytes().split(b"\n")
    except OSError:
        return {}
    for line in lines:
        digest, _, content = line.partition(b" ")
        if hashlib.blake2b(content, digest_size=8).hexdigest().encode() == digest:
            key, _, value = content.partition(b" ")
            entries[key.decode()] = value
    return entries


def _time(path: Path) -> int:
    """Return when a file was last written, 0 when it just went; the journal written last has the last word."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def write_whole(path: Path, fill: Any) -> None:
    """Write a file whole or not at all, readable by its owner only; `fill` gets it open for writing."""
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            fill(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def forget_pages(array: NDArray[np.generic]) -> None:
    """Let the system take back the memory of a memory-mapped array; it is read again when it is touched again."""
    pages = getattr(array, "_mmap", None)
    if isinstance(pages, mmap.mmap):
        pages.madvise(mmap.MADV_DONTNEED)


def file_key(kind: str, file: File) -> str:
    """Return the name of an entry that came from one file."""
    return key_of(kind, (file.where, file.size, file.changed))

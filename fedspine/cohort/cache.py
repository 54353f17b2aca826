"""Keep what was decoded, so that a second start opens no DICOM file.

The cache is a folder below the site folder that only its owner may read. It holds one index (JSON, with a digest of
itself) and one array (`.npy`) per volume or mask. An entry is known by the files it came from (place, size, time of
change) and the code that read them, so a changed file can never meet an old entry. Arrays are opened as memory maps;
one that was touched after it was written is not trusted but made again. Without a writable folder everything works,
only slower.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from fedspine.cohort.files import File

VERSION = hashlib.sha256(
    pydicom.__version__.encode() + b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()
"""The code that reads and decodes; another code makes every entry anew, and nobody has to remember to say so."""

INDEX = "index.json"


def key_of(kind: str, parts: Iterable[object]) -> str:
    """Return the name of an entry of `kind` made from `parts`."""
    text = json.dumps([VERSION, kind, [str(part) for part in parts]])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


class Cache:
    """The cache of one site folder; `save` writes what was used since it was opened and drops the rest.

    Args:
        folder: where to keep it; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._old: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        self._writable = self._make()
        if self._writable:
            self._old = self._load()

    def _make(self) -> bool:
        try:
            for folder in (self._folder.parent, self._folder):
                if not folder.exists():
                    folder.mkdir(mode=0o700, parents=True)
            self._folder.chmod(0o700)
        except OSError:
            return False
        return os.access(self._folder, os.W_OK | os.X_OK)

    def _load(self) -> dict[str, Any]:
        """Return the entries of the index; none when it is missing, damaged or of another version."""
        try:
            digest, _, body = (self._folder / INDEX).read_bytes().partition(b"\n")
            if digest.decode() != hashlib.sha256(body).hexdigest():
                return {}
            content = json.loads(body)
        except (OSError, ValueError):
            return {}
        entries: dict[str, Any] = content["entries"] if content["version"] == VERSION else {}
        return entries

    def get(self, key: str) -> Any:
        """Return the entry `key`, or `None`."""
        found = self._new.get(key, self._old.get(key))
        if found is not None:
            self._new[key] = found
        return found

    def put(self, key: str, value: Any) -> None:
        """Keep `value`, which must be JSON, as the entry `key`."""
        self._new[key] = value

    def array(self, key: str) -> NDArray[np.generic] | None:
        """Return the array `key` as a read-only memory map, or `None` where there is none to be trusted."""
        stamp = self._new.get(f"{key}.npy", self._old.get(f"{key}.npy"))
        path = self._folder / f"{key}.npy"
        try:
            if stamp is None or stamp != _stamp(path):
                return None
            found: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        self._new[f"{key}.npy"] = stamp
        return found

    def put_array(self, key: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Keep `array` as the entry `key` and return it, from the disk where that works."""
        if not self._writable:
            return array
        path = self._folder / f"{key}.npy"
        try:
            write_whole(path, lambda file: np.save(file, array, allow_pickle=False))
            self._new[f"{key}.npy"] = _stamp(path)
        except OSError:  # a full disk must not stop the reading
            return array
        found = self.array(key)
        return array if found is None else found

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Save; when the reading was broken off, keep what it had not come to yet."""
        if kind is not None:
            self._new = self._old | self._new
        self.save()

    def save(self) -> None:
        """Write the index and remove the arrays that it no longer names."""
        if not self._writable or (self._new == self._old and (self._folder / INDEX).exists()):
            return
        body = json.dumps({"version": VERSION, "entries": self._new}, separators=(",", ":")).encode()
        try:
            write_whole(
                self._folder / INDEX, lambda file: file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            )
            for path in self._folder.glob("*.npy"):
                if path.name not in self._new:
                    path.unlink(missing_ok=True)
        except OSError:
            return
        self._old = dict(self._new)


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

"""Keys of attempts at secure sums on the hospital's disk: made once, used once, and which ones there have been.

A file a (plan, stage, round, attempt) in the state folder: `….key` until it is used, then an empty `….used`. Renaming
it is one step of the file system, so of two messages that ask for the same key one gets it; and what was used once is
known after a crash.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedspine.errors import Refused
from fedspine.secure.keys import MOST_ATTEMPTS, Context


class Attempts:
    """What a site remembers of its attempts.

    Args:
        folder: where the files lie; made with mode 0700 at the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, context: Context) -> X25519PrivateKey:
        """Return a fresh key for the attempt, after it is on disk; keys of earlier attempts at the round are deleted.

        Raises:
            Refused: `attempt-used`, if there has been this attempt or a later one, or it is one too many.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = self._before(context)
        if not max(before, default=0) < context.attempt <= MOST_ATTEMPTS:
            raise Refused("attempt-used")
        key = X25519PrivateKey.generate()
        try:
            descriptor = os.open(self._file(context, "key"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Refused("attempt-used") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes_raw() + _digest(context))
            file.flush()
            os.fsync(file.fileno())
        for old in before.values():
            if old.suffix == ".key":
                old.unlink(missing_ok=True)
        return key

    def take(self, context: Context) -> X25519PrivateKey:
        """Return the key that was made for this very context, and delete it.

        Raises:
            Refused: `attempt-used`, if there is none, or it was taken before; `keys-refused`, if it was made for
                another set of participants or another roster.
        """
        used = self._file(context, "used")
        try:
            os.rename(self._file(context, "key"), used)
        except FileNotFoundError:
            raise Refused("attempt-used") from None
        kept = used.read_bytes()
        with used.open("r+b") as file:
            file.truncate()
            os.fsync(file.fileno())
        if kept[32:] != _digest(context):
            raise Refused("keys-refused")
        return X25519PrivateKey.from_private_bytes(kept[:32])

    def _before(self, context: Context) -> dict[int, Path]:
        """Return the files of the round's attempts, and not of a stage whose name goes on where this one's ends."""
        mine = re.compile(re.escape(_round(context)) + r"-(\d+)")
        return {int(found[1]): file for file in self._folder.iterdir() if (found := mine.fullmatch(file.stem))}

    def _file(self, context: Context, suffix: str) -> Path:
        return self._folder / f"{_round(context)}-{context.attempt}.{suffix}"


def _round(context: Context) -> str:
    return f"{context.plan[:16]}-{context.stage}-{context.round}"


def _digest(context: Context) -> bytes:
    return hashlib.sha256(context.about("attempt")).digest()

"""Keep the site's key and its table of pseudonyms: two files that only their owner may read and that never leave.

`.fedspine/pseudonym.key` is made once, from the system's entropy. `.fedspine/pseudonyms.csv` says whom a pseudonym
means; it is written anew from what is read and is nobody's input but the hospital's.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
import stat
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedspine.cohort.deidentify.key import BYTES, Key, is_pseudonym, key_of_text
from fedspine.cohort.patient import Rejected
from fedspine.errors import CohortError

ROOM = ".fedspine"
KEY, TABLE = "pseudonym.key", "pseudonyms.csv"

LOOSE = (
    "the pseudonym key must be readable by its owner only; found one that others could read; its access rights are "
    "mended, but make a new one if somebody may have copied it."
)
NOT_KEPT = (
    "a site must keep its pseudonym key; found a folder that cannot be written; make .fedspine writable, or expect "
    "other pseudonyms and folds at every start."
)


@dataclass(frozen=True)
class Opened:
    """A site's key as it was found.

    Args:
        key: the key.
        kept: whether the next start finds the same one.
        notes: what the hospital should know of it.
    """

    key: Key
    kept: bool
    notes: tuple[Rejected, ...] = ()


def open_key(site: Path, spare: Path | None = None) -> Opened:
    """Return the key of a site folder, made now if there is none.

    Args:
        site: the site folder; the key lies in its `.fedspine`.
        spare: a folder of the same hospital that takes the key where the site folder cannot be written.

    Raises:
        CohortError: when there is a key that cannot be read.
    """
    rooms = [site / ROOM] + ([spare] if spare is not None else [])
    for room in rooms:
        try:
            text = (room / KEY).read_text("ascii")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            raise CohortError(
                "a site's pseudonym key must be readable", "one that is not", "check the access rights of .fedspine"
            ) from None
        return Opened(key_of_text(text), True, _mended(room / KEY))
    for room in rooms:
        text = secrets.token_hex(BYTES)
        if write_key(room, text):
            return Opened(key_of_text((room / KEY).read_text("ascii")), True)
    return Opened(Key(secrets.token_bytes(BYTES)), False, (Rejected(f"{ROOM}/{KEY}", NOT_KEPT),))


def write_key(room: Path, text: str) -> bool:
    """Write a key into `room`, whole or not at all, unless there is one; return whether there is one now."""
    temporary = room / f".{secrets.token_hex(8)}"
    try:
        room.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(temporary, text + "\n")
        try:
            os.link(temporary, room / KEY)  # fails where another process was first, and its key counts
        except FileExistsError:
            return True
        except OSError:  # a file system without hard links
            if not (room / KEY).exists():
                os.replace(temporary, room / KEY)
        return True
    except OSError:
        return False
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _mended(path: Path) -> tuple[Rejected, ...]:
    """Take the key away from other users; return the note that says so, none where it was theirs never."""
    if not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return ()
    try:
        path.chmod(0o600)
    except OSError:
        raise CohortError(
            "a site's pseudonym key must be readable by its owner only", "one that others can read", "chmod 600 it"
        ) from None
    return (Rejected(f"{ROOM}/{KEY}", LOOSE),)


@dataclass
class Pseudonyms:
    """Who is behind each pseudonym of one site; in memory while it is read, then in `.fedspine/pseudonyms.csv`.

    Args:
        key: the site's key.
        own: pseudonym to the patient's own id.
    """

    key: Key
    own: dict[str, str] = field(default_factory=dict, repr=False)

    def of(self, own: str) -> str:
        """Return the pseudonym of a patient's own id, and remember whom it means."""
        pseudonym = self.key.pseudonym(own)
        self.note(pseudonym, own)
        return pseudonym

    def note(self, pseudonym: str, own: str) -> None:
        """Remember whom a pseudonym means.

        Raises:
            CohortError: when it means somebody else already.
        """
        own = unicodedata.normalize("NFC", own)
        own = pseudonym if is_pseudonym(own) else own  # with or without dashes it is the same one
        if self.own.setdefault(pseudonym, own) != own:
            raise CohortError(
                "a pseudonym must mean one patient",
                "two patients with the same",
                "remove .fedspine/pseudonym.key, so that another key names them apart",
            )


def load_table(site: Path, key: Key) -> Pseudonyms:
    """Return the pseudonyms that an earlier start wrote; what the key did not make is passed over."""
    names = Pseudonyms(key)
    try:
        text = (site / ROOM / TABLE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return names
    rows = csv.reader(io.StringIO(text, newline=""))
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return names
        except csv.Error:  # an id of a broken file may be of any length
            continue
        if len(cells) == 2 and key.pseudonym(cells[1]) == cells[0]:
            names.note(*cells)


def save_table(site: Path, names: Pseudonyms) -> None:
    """Write the table for the hospital's eyes, where its folder can be written."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("pseudonym", "patient"))
    rows.writerows(sorted(names.own.items()))
    path = site / ROOM / TABLE
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        if path.exists() and path.read_text("utf-8") == out.getvalue():
            path.chmod(0o600)
            return
        _write_private(temporary, out.getvalue())
        os.replace(temporary, path)
    except (OSError, UnicodeError):
        return
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

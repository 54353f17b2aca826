"""A3, third part: who else of this machine can read a site's secrets, and what listens on the network.

FAIL where a file of a site's own room (books, keys, pseudonyms, cached images, local pages) can be read by everybody
who has an account, or where one of Flower's programs listens beyond this machine without encryption.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.run_folder import AT_HOME
from fedspine.audit.subject import Subject

OTHERS = stat.S_IROTH | stat.S_IWOTH
PROGRAMS = ("flower-super", "flower_super", "fedspine", "flwr")
"""How command lines of the federation's own programs are known."""

INSECURE = "--insecure"
LISTENING = "0A"
"""Of `/proc/net/tcp`."""

LOCAL = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and the former as an IPv6 address, as `/proc/net` writes them."""

TITLE_SECRETS, TITLE_PORTS = "Secrets on disk", "Open ports"
MEANS_SECRETS = "Books, keys and pictures that stay at a site must not be open to everybody who can log in there."
MEANS_PORTS = (
    "A program that waits for connections is a door. A hospital's part of the federation opens none: it calls the "
    "coordinator. The coordinator's door must be encrypted."
)


@dataclass(frozen=True)
class Door:
    """A listening socket of one of the federation's programs.

    Args:
        local: whether only this machine can reach it.
        insecure: whether the program was told to do without encryption.
    """

    local: bool
    insecure: bool


def secrets(subject: Subject) -> Line:
    """Return the line A3 on files that everybody can read; see this file's head."""
    rooms = {site.state for site in subject.sites if site.state.is_dir()}
    rooms |= {site.folder / ".fedspine" for site in subject.sites if site.folder is not None}
    files = [file for room in sorted(rooms) for file in _files(room)]
    if not files:
        return Line(
            "A3", TITLE_SECRETS, Level.EXPOSURE, Grade.NOT_TESTED, "No site's room is at hand.", means=MEANS_SECRETS
        )
    open_ones = [file for file in files if file.stat().st_mode & OTHERS]
    kinds = ", ".join(sorted({file.suffix or "no suffix" for file in open_ones}))
    return Line(
        "A3",
        TITLE_SECRETS,
        Level.EXPOSURE,
        Grade.FAIL if open_ones else Grade.PASS,
        f"{len(open_ones)} of {len(files)} files can be read or written by everybody ({kinds})."
        if open_ones
        else f"None of {len(files)} files can be read or written by everybody on the machine.",
        bound="" if open_ones else "Who has the site's own account, or the disk, reads all of them.",
        means=MEANS_SECRETS,
        figures={"files": len(files), "open": len(open_ones)},
    )


def ports(subject: Subject) -> Line:
    """Return the line A3 on listening sockets; see this file's head."""
    doors = list(_doors())
    if not doors:
        why = "No program of the federation listens on this machine now; run it while the federation is up."
        return Line("A3", TITLE_PORTS, Level.EXPOSURE, Grade.NOT_TESTED, why, means=MEANS_PORTS)
    bad = [door for door in doors if door.insecure and not door.local]
    outside = sum(not door.local for door in doors)
    return Line(
        "A3",
        TITLE_PORTS,
        Level.EXPOSURE,
        Grade.FAIL if bad else Grade.PASS,
        f"{len(bad)} sockets can be reached from other machines without encryption."
        if bad
        else f"{len(doors)} sockets of the federation's programs, {outside} of which other machines can reach.",
        bound="" if bad else "Of the moment of this audit, on this machine, of programs that may be looked at.",
        means=MEANS_PORTS,
        figures={"listening": len(doors), "from outside": outside},
    )


def _files(room: Path) -> Iterator[Path]:
    for file in sorted(room.rglob("*")):
        if file.is_file() and file.parent.name not in AT_HOME:
            yield file


def _doors(proc: Path = Path("/proc")) -> Iterator[Door]:
    """Yield the listening sockets of the federation's programs; nothing where the system does not tell."""
    listening = {inode: local for table in ("tcp", "tcp6") for inode, local in _listening(proc / "net" / table)}
    if not listening:
        return
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if not any(name in command for name in PROGRAMS):
                continue
            links = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:  # it has ended, or is another account's
            continue
        for link in links:
            inode = link.removeprefix("socket:[").removesuffix("]")
            if inode in listening:
                yield Door(listening[inode], INSECURE in command)


def _listening(table: Path) -> Iterator[tuple[str, bool]]:
    """Yield inode, and whether the address is this machine's own, of the listening sockets in a table of /proc/net."""
    try:
        rows = table.read_text("ascii").splitlines()[1:]
    except OSError:
        return
    for row in rows:
        fields = row.split()
        if fields[3] == LISTENING:
            yield fields[9], fields[1].split(":")[0] in LOCAL

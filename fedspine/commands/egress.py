"""`fedspine egress verify`: a hospital's two books, replayed and matched with each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedspine.errors import InputError, PrivacyError
from fedspine.privacy.accounting import ASSUMPTION, epsilon_pld, epsilon_rdp
from fedspine.privacy.books import Books, matched
from fedspine.privacy.chain import Line, read
from fedspine.privacy.ledger import FOLDS, Ledger, paid_by

OUT = Console()

LEDGER, LOG, ROOM = "ledger.jsonl", "egress.jsonl", ".fedspine"

egress_app = typer.Typer(help="What has left a hospital.", no_args_is_help=True)


@egress_app.callback()
def _group() -> None:
    """What has left a hospital."""


@egress_app.command()
def verify(
    place: Annotated[
        Path, typer.Argument(help="A site folder, its state folder, or a run folder: then all its sites.")
    ],
    delta: Annotated[float, typer.Option(help="At which epsilon is stated.", min=1e-15, max=0.5)] = 1e-5,
) -> None:
    """Replay a site's ledger and egress log and match them: whatever left was paid for, once, and as it says.

    Exit code 1 if anything does not match, or a book is not whole.
    """
    whole = True
    for name, state in state_folders(place):
        OUT.print(f"\n{name}", style="bold", markup=False, highlight=False)
        whole = _verify(state, delta) and whole
    if not whole:
        raise typer.Exit(1)


def state_folders(place: Path) -> list[tuple[str, Path]]:
    """Return the state folders that `place` means, with the names of their sites.

    Raises:
        InputError: if there is none.
    """
    for name, folder in ((place.resolve().name, place), (place.resolve().name, place / ROOM)):
        if _has_books(folder):
            return [(name, folder)]
    found = sorted(folder for folder in (place / "sites").glob("*") if _has_books(folder))
    if not found:
        raise InputError(
            "PLACE must be a site folder, its state folder or a run folder",
            "neither a ledger nor an egress log there",
            "name the folder that holds ledger.jsonl",
        )
    return [(folder.name, folder) for folder in found]


def _has_books(folder: Path) -> bool:
    return any((folder / file).with_suffix(ending).exists() for file in (LEDGER, LOG) for ending in (".jsonl", ".mark"))


def _verify(state: Path, delta: float) -> bool:
    try:
        ledger, log = read(state / LEDGER, "the privacy ledger"), read(state / LOG, "the egress log")
    except PrivacyError as error:
        OUT.print(f"FAIL: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return False
    books = matched(ledger, log)
    OUT.print(_messages(log))
    _tell(books)
    OUT.print(_costs(state, delta))
    OUT.print(f"{ASSUMPTION}.", style="dim", markup=False, highlight=False)
    return not books.faults


@dataclass
class _Sum:
    """Messages of one stage and mechanism."""

    count: int = 0
    size: int = 0


def _messages(log: list[Line]) -> Table:
    sums: dict[tuple[str, str], _Sum] = {}
    for line in log:
        one = sums.setdefault((line["stage"] or "enrolment", line["mechanism"]), _Sum())
        one.count, one.size = one.count + 1, one.size + line["bytes"]
    table = Table("stage", "mechanism", "messages", "bytes", title="what left", title_justify="left")
    for (stage, mechanism), one in sums.items():
        table.add_row(stage, mechanism, str(one.count), f"{one.size:,}")
    return table


def _tell(books: Books) -> None:
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(books.others.items())) or "none"
    OUT.print(
        f"Both chains are whole. {books.releases} messages carried a release ({books.size:,} bytes in all); "
        f"without one: {others}. The ledger paid {books.payments} times.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    for line in books.unsent:
        OUT.print(
            f"paid and not sent: line {line.get('number', '?')} of the ledger, stage {line['stage']}, "
            f"round {line['round']}; the site stopped between the two, or the gate stopped the message",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    for fault in books.faults:
        OUT.print(f"FAIL: {fault}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not books.faults:
        OUT.print("PASS: every release was paid for by one line of the ledger, and it says the same", style="green")


def _costs(state: Path, delta: float) -> Table:
    entries = Ledger(state / LEDGER).entries()
    table = Table("patients", "releases", "epsilon (PLD)", "epsilon (RDP)", title=f"spent, at delta {delta:g}")
    table.title_justify = "left"
    for fold in FOLDS:
        events = paid_by(entries, fold, entries[-1].split) if entries else []
        table.add_row(fold, str(len(events)), f"{epsilon_pld(events, delta):.3f}", f"{epsilon_rdp(events, delta):.3f}")
        if any(entry.coalition for entry in entries):
            alone = [replace(entry, event=entry.coalition or entry.event) for entry in entries]
            events = paid_by(alone, fold, entries[-1].split)
            two = f"{epsilon_pld(events, delta):.3f}", f"{epsilon_rdp(events, delta):.3f}"
            table.add_row(f"{fold}, should all other sites and the server pool", str(len(events)), *two)
    return table

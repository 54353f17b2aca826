"""Show what a site folder carries, for the hospital's own screen: counts of files and patients, never a value."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.datadict import keyword_for_tag
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedspine.cohort.deidentify.carried import Carried
from fedspine.cohort.deidentify.carried_elsewhere import OWN_IDS
from fedspine.cohort.deidentify.profile import PRIVATE, SAFE_CREATORS


def describe_carried(carried: Carried) -> Group:
    """Return what the folder carries, readable at 100 columns."""
    parts: list[RenderableType] = [_headline(carried)]
    if carried.attributes:
        parts.append(_attributes(carried))
    if carried.creators:
        parts.append(_creators(carried))
    if carried.pictures:
        rows = [(f"{what}", str(one.files), str(len(one.patients))) for what, one in carried.pictures.items()]
        parts.append(_table("Pictures that may show a person", ("what", "files", "patients"), rows))
    if carried.names:
        rows = [(what, str(one.files), str(len(one.patients))) for what, one in sorted(carried.names.items())]
        parts.append(_table("In names of files and folders", ("what", "files", "patients"), rows))
    if carried.tables:
        parts.append(_table("In tables", ("table", "column", "looks like"), carried.tables))
    for title, counts in (("In BIDS sidecars", carried.sidecars), ("In NIfTI headers", carried.nifti)):
        if counts:
            parts.append(_table(title, ("field", "files"), [(name, str(count)) for name, count in counts.items()]))
    parts.append(_closing(carried))
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part, Text("")]
    return Group(*spaced[:-1])


def is_clean(carried: Carried) -> bool:
    """Tell whether everything was read and nothing was found."""
    lists = (carried.attributes, carried.creators, carried.pictures, carried.names, carried.tables)
    return not any(lists) and not carried.sidecars and not carried.nifti and not carried.unread


def _headline(carried: Carried) -> Text:
    text = Text(f"{carried.files} DICOM files read", style="bold")
    if carried.unread:
        text.append(f"; {carried.unread} files or tables could not be read", style="yellow")
    text.append(f"; {carried.marked} say that they are de-identified", style="dim")
    return text


def _attributes(carried: Carried) -> Table:
    rows = [
        (_name(tag), _number(tag), str(one.files), str(len(one.patients)), done)
        for (tag, done), one in carried.attributes.items()
        if tag != PRIVATE
    ]
    return _table("In DICOM headers", ("attribute", "tag", "files", "patients", "at the door"), rows)


def _creators(carried: Carried) -> Table:
    rows = [
        (
            creator or "(none)",
            str(one.files),
            str(len(one.patients)),
            "diffusion values kept, the rest removed" if creator in SAFE_CREATORS else "removed",
        )
        for creator, one in carried.creators.items()
    ]
    return _table("Private DICOM elements", ("creator", "files", "patients", "at the door"), rows)


def _closing(carried: Carried) -> Text:
    if is_clean(carried):
        return Text("Nothing was found that identifies. Pixels were not looked at.", style="green")
    text = Text()
    if carried.unread:
        text.append(
            "What could not be read may carry anything: fedspine check SITE says which and why. fedspine deidentify "
            "leaves it out. ",
            style="yellow",
        )
    read_on = [column for table, column, what in carried.tables if table == "omics.csv" and what != OWN_IDS]
    if read_on:
        text.append(
            "Columns of omics.csv are read, and copied, as they are: take out what training does not need. ",
            style="yellow",
        )
    text.append(
        "The rest is taken out or not read before anything is cached; the files stay as they are. "
        "For a copy without it: fedspine deidentify SITE OUT. Pixels were not looked at."
    )
    return text


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or "(unknown)"


def _number(tag: int) -> str:
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("files", "patients") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


LONGEST_SHOWN = 300


def printable(text: str) -> str:
    r"""Return a text of bounded length whose characters only print: an id in a file may hold a terminal's commands.

    >>> printable("P1\x1b[2J"), len(printable(1000 * "A"))
    ('P1�[2J', 301)
    """
    shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in shown)

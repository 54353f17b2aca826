"""Read a table of texts as spreadsheets of any country write it; `cohort.tables` says what its cells mean.

The encoding is the byte order mark's, else UTF-8, else a guess that is said: lone bytes above ASCII among letters are
Windows' Western European (which holds Latin-1), runs of them are what charset-normalizer finds most likely of Cyrillic,
Greek, Japanese, Chinese and Korean. The delimiter is the first line's most frequent of comma, semicolon and tab, or
what Excel's own first line `sep=;` says. What is no table of bounded size is refused whole, a bad row alone.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

from fedspine.cohort.files import LEAVES, inside
from fedspine.cohort.patient import Rejected

LARGEST_TABLE = 256_000_000
"""Bytes."""
MOST_COLUMNS = 100_000
MOST_CELLS = 20_000_000
"""A thousand patients with all of the twenty thousand human genes; about 2 GB in memory while it is read."""
MOST_RESTARTS = 100
"""Unclosed quotation marks, after which rows are taken as they come."""

# byte order marks; UTF-32 first, for its mark begins like that of UTF-16
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# how other files begin that are given a table's name
OTHERS = (
    (b"PK\x03\x04", "an Excel workbook or another zip file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x1f\x8b", "a compressed file"),
    (b"%PDF", "a PDF"),
    (b"<", "a web page or XML"),
    (b"{\\rtf", "a text document"),
)
DENSE_SCRIPTS = ("cp932", "gb18030", "cp1251", "euc_kr", "cp1253")
"""Japanese, Chinese, Cyrillic, Korean, Greek: words of bytes above ASCII."""
LONE = 0.5
"""From this share of lone bytes on, a text is in a Latin script."""


@dataclass(frozen=True)
class Sheet:
    """A table of texts, blanks around cells stripped, in Unicode's composed form.

    Args:
        columns: the first line.
        rows: (line, cells) for each row that could be read; as many cells as columns.
        decimal_comma: whether cells are parted by something else than commas, so that a comma may be a decimal one.
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]
    decimal_comma: bool


def read_sheet(path: Path, where: str, rejected: list[Rejected]) -> Sheet | None:
    """Return the table at `path`, or `None` when there is none to be read; note what is refused in `rejected`.

    Args:
        path: of the table; links to it must stay inside the site folder.
        where: its place within the site folder.
        rejected: gets what is refused.
    """
    try:
        if not path.exists():
            return None
        if not inside(path, Path(os.path.realpath(path.parents[where.count("/")]))):
            rejected.append(Rejected(where, LEAVES))
            return None
        if not path.is_file():
            raise OSError
        size = path.stat().st_size
        raw = path.read_bytes() if size <= LARGEST_TABLE else b""
    except OSError:
        rejected.append(Rejected(where, "a table must be readable; found one that is not; check its access rights."))
        return None
    kind = next((kind for start, kind in OTHERS if raw.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start)), None)
    if kind is not None:
        rejected.append(Rejected(where, f"a table must be plain text; found {kind}; save it as CSV UTF-8."))
        return None
    text, guess = _decoded(raw)
    if text is not None and guess:
        reason = f"a table should be UTF-8; found another encoding, read as {guess}; {GUESSED}"
        rejected.append(Rejected(where, reason))
    text, delimiter = _delimited(text or "", where)
    if size > LARGEST_TABLE or text.count(delimiter) > MOST_CELLS:
        rejected.append(Rejected(where, TOO_LARGE))
        return None
    return _parsed(text, delimiter, where, rejected)


GUESSED = "save it as CSV UTF-8 if letters of labels are wrong or patients are missing."
TOO_LARGE = (
    f"a table may hold {LARGEST_TABLE // 1_000_000} MB, {MOST_CELLS // 1_000_000} million cells and {MOST_COLUMNS} "
    "columns; found more; leave columns out."
)


def _decoded(raw: bytes) -> tuple[str | None, str]:
    """Return the text, and the name of its encoding where that is a guess."""
    mark = next((name for start, name in MARKS if raw.startswith(start)), None)
    if mark is None and len(raw) > 3:  # UTF-16 without its mark: every other byte of an ASCII header is zero
        head = raw[: min(len(raw), 4096) // 2 * 2]
        if head[1::2].count(0) > 0.4 * len(head):
            mark = "utf-16-le"
        elif head[0::2].count(0) > 0.4 * len(head):
            mark = "utf-16-be"
    if mark is not None:
        return raw.decode(mark, "replace"), ""
    try:
        return raw.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    encoding = _guess(raw[:200_000])
    return raw.decode(encoding, "replace"), encoding


def _guess(raw: bytes) -> str:
    high = [place for place, byte in enumerate(raw) if byte >= 0x80]
    around = (raw[max(place - 1, 0) : place + 2] for place in high)
    lone = sum(sum(byte >= 0x80 for byte in part) == 1 for part in around)
    if lone >= LONE * len(high):
        return "cp1252"
    best = from_bytes(raw, cp_isolation=list(DENSE_SCRIPTS)).best()
    return best.encoding if best is not None else "cp1252"


def _delimited(text: str, where: str) -> tuple[str, str]:
    """Return the text without Excel's `sep=` line, and what parts its cells."""
    first = next(iter(text[:100].splitlines()), "")
    said = first.strip().strip('"').lower()
    if said.startswith("sep=") and len(said) <= 5:
        return text[len(first) :], first.strip().strip('"')[4:] or "\t"
    if where.endswith(".tsv"):
        return text, "\t"
    heading = next(iter(io.StringIO(text.lstrip(), newline=None)), "")
    return text, max(",;\t", key=heading.count)


def _parsed(text: str, delimiter: str, where: str, rejected: list[Rejected]) -> Sheet | None:
    columns: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    for line, cells, reason in _records(text, delimiter):
        if not columns and reason is None:
            columns = cells
            if len(columns) > MOST_COLUMNS:
                rejected.append(Rejected(where, TOO_LARGE))
                return None
        elif reason is None and len(cells) != len(columns):
            reason = f"a row must have {len(columns)} cells like the first line; found another number; correct the row."
        elif reason is None:
            rows.append((line, cells))
        if reason is not None:
            rejected.append(Rejected(f"{where}, line {line}", reason))
    return Sheet(columns, rows, delimiter != ",")


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield (line, cells, reason to refuse) of every row that is not blank.

    A quotation mark that nobody closes would swallow all rows below; such a row is refused alone, and reading goes on
    with the next line.
    """
    lines = list(io.StringIO(text, newline=""))
    start = restarts = width = 0
    while start < len(lines):
        reader = csv.reader(lines[start:], delimiter=delimiter)
        begun = 0
        for cells in _each(reader):
            spanned, begun = reader.line_num - begun, reader.line_num
            cells = ["\0"] if cells is None else [_cell(cell) for cell in cells]
            if not any(cells):
                continue
            width = width or len(cells)
            opened = start + begun - spanned
            if (
                spanned > 1
                and restarts < MOST_RESTARTS
                and not _closed(lines[opened : start + begun], width, delimiter)
            ):
                restarts += 1
                yield opened + 1, [], OPEN_QUOTE
                start = opened + 1
                break
            yield start + reader.line_num, cells, NUL if any("\0" in cell for cell in cells) else None
        else:
            return


OPEN_QUOTE = "a quotation mark must be closed; found one that is not; correct the row."
NUL = "a cell must hold text of a bounded length; found bytes of something else; save the table again as CSV UTF-8."


def _each(reader: Iterator[list[str]]) -> Iterator[list[str] | None]:
    """Yield the rows, `None` for one that the parser gives up."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None


def _closed(lines: list[str], width: int, delimiter: str) -> bool:
    """Tell whether a row of several lines was written so, by a parser that forgives nothing."""
    try:
        return [len(cells) for cells in csv.reader(lines, delimiter=delimiter, strict=True)] == [width]
    except csv.Error:
        return False


def _cell(cell: str) -> str:
    """Return a cell stripped; `="007"`, which keeps Excel from dropping zeros, is 007."""
    cell = unicodedata.normalize("NFC", cell.strip())
    if cell.startswith('="') and cell.endswith('"') and len(cell) > 3:
        return cell[2:-1].strip()
    return cell

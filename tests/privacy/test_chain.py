"""A line that is changed, missing or cut off is noticed; what a crash leaves is not taken for that."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fedspine.errors import PrivacyError
from fedspine.privacy import chain
from fedspine.privacy.chain import FIRST, chained, extend, mark_of, read, read_chain

WHAT = "the book"


def book(folder: Path, lines: int = 3) -> Path:
    file = folder / "state" / "book.jsonl"
    for number in range(lines):
        extend(file, {"what": number}, WHAT)
    return file


def test_lines_are_chained_counted_and_marked_and_both_files_are_the_owners_alone(tmp_path: Path) -> None:
    file = book(tmp_path)
    lines = read(file, WHAT)
    assert [(line["what"], line["number"]) for line in lines] == [(0, 1), (1, 2), (2, 3)]
    assert lines == read_chain(file.read_text(), WHAT)
    assert json.loads(mark_of(file).read_text()) == {"count": 3, "hash": lines[-1]["hash"]}
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in file.parent.iterdir())
    assert extend(file, {"what": 3}, WHAT) == read(file, WHAT)[-1]["hash"]


def test_a_line_that_is_not_admitted_is_not_written(tmp_path: Path) -> None:
    file = book(tmp_path)
    before = file.read_bytes(), mark_of(file).read_bytes()

    def refuse(lines: object) -> None:
        raise ValueError(lines)

    with pytest.raises(ValueError, match="'what': 2"):
        extend(file, {"what": 3}, WHAT, refuse)
    assert (file.read_bytes(), mark_of(file).read_bytes()) == before


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("tail", "must hold the 3 lines that its mark counts; found 2"),
        ("all lines", "must hold the 3 lines that its mark counts; found 0"),
        ("file", "must hold the 3 lines that its mark counts; found 0"),
        ("mark", "must have its mark beside it; found none"),
        ("tail and mark", "must have its mark beside it; found none"),
        ("older mark", "must end where its mark says; found another end"),
        ("another end", "must end where its mark says; found another end"),
        ("mark unreadable", "the mark of the book must be readable"),
        ("line", "must be an unbroken chain; line 2 does not follow"),
    ],
)
def test_what_was_taken_away_is_refused_with_a_remedy(tmp_path: Path, harm: str, found: str) -> None:
    file = book(tmp_path)
    lines = file.read_text().splitlines(keepends=True)
    if harm in ("tail", "tail and mark"):
        file.write_text("".join(lines[:2]))
    if harm in ("mark", "tail and mark"):
        mark_of(file).unlink()
    if harm == "all lines":
        file.write_text("")
    if harm == "file":
        file.unlink()
    if harm == "older mark":
        mark_of(file).write_text(json.dumps({"count": 1, "hash": json.loads(lines[0])["hash"]}))
    if harm == "another end":
        other = chained({"what": "better", "number": 3}, json.loads(lines[1])["hash"])
        file.write_text("".join(lines[:2]) + json.dumps(other, sort_keys=True) + "\n")
    if harm == "mark unreadable":
        mark_of(file).write_text('{"count": 3}')
    if harm == "line":
        file.write_text(lines[0] + lines[1].replace('"what": 1', '"what": 7') + lines[2])
    for attempt in (lambda: read(file, WHAT), lambda: extend(file, {"what": 3}, WHAT)):
        with pytest.raises(PrivacyError, match=f"{found}.*restore .*from a backup"):
            attempt()


def test_crashes_between_line_and_mark_are_no_harm_even_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = book(tmp_path)
    write_mark = chain._write_mark

    def crash(path: Path, mark: chain.Mark) -> None:
        if mark.count > len(read_chain(before, WHAT)):
            raise KeyboardInterrupt
        write_mark(path, mark)

    for number in (3, 4):
        before = file.read_text()
        monkeypatch.setattr(chain, "_write_mark", crash)
        with pytest.raises(KeyboardInterrupt):
            extend(file, {"what": number}, WHAT)
        monkeypatch.undo()
        assert len(read(file, WHAT)) == number + 1
    extend(file, {"what": 5}, WHAT)
    assert [line["what"] for line in read(file, WHAT)] == list(range(6))


def test_a_line_that_a_crash_left_unfinished_never_counted_and_makes_way(tmp_path: Path) -> None:
    file = book(tmp_path)
    with file.open("a") as opened:
        opened.write('{"hash": "0123')
    assert len(read(file, WHAT)) == 3
    extend(file, {"what": 3}, WHAT)
    assert [line["what"] for line in read_chain(file.read_text(), WHAT)] == [0, 1, 2, 3]


def test_a_book_from_before_there_were_marks_is_read_and_marked_from_its_next_line_on(tmp_path: Path) -> None:
    file = tmp_path / "book.jsonl"
    first = chained({"what": 0}, FIRST)
    file.write_text(json.dumps(first) + "\n" + json.dumps(chained({"what": 1}, first["hash"])))
    assert len(read(file, WHAT)) == 2
    extend(file, {"what": 2}, WHAT)
    assert [line["what"] for line in read(file, WHAT)] == [0, 1, 2]
    mark_of(file).unlink()
    with pytest.raises(PrivacyError, match="must have its mark"):
        read(file, WHAT)


def test_a_name_without_file_and_mark_is_a_book_of_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl", WHAT) == []


def test_the_five_thousandth_line_is_added_in_less_than_a_twentieth_of_a_second(tmp_path: Path) -> None:
    file = tmp_path / "book.jsonl"
    event = {"count": 4, "dimension": 0, "mechanism": "gaussian", "noise_multiplier": 2.0, "sample_rate": 0.5}
    written, previous = [], FIRST
    for number in range(4_995):
        line = chained({"event": event, "plan": "a" * 64, "round": number, "number": number + 1}, previous)
        written.append(json.dumps(line, sort_keys=True) + "\n")
        previous = line["hash"]
    file.write_text("".join(written))
    mark_of(file).write_text(json.dumps({"count": 4_995, "hash": previous}))
    spent = []
    for _ in range(6):
        begun = time.process_time()
        extend(file, {"event": event, "plan": "a" * 64, "round": 0}, WHAT)
        spent.append(time.process_time() - begun)
    assert len(read(file, WHAT)) == 5_001
    assert min(spent) < 0.05

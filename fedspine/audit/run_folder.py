"""A3, second part: what lies in the run folder, which is what a coordinator keeps and passes on.

- Formats: tensors, text and pages only. A pickle carries a program that runs where it is opened.
- Networks: the very arrays that the stage's schema lets leave, and no buffer or optimiser's moment.
- Identifiers: no patient's id or pseudonym, as the sites know them, in any byte of any file. The sites' own folders
  (the phantoms of a run without `--data`) are where patients are, and are not searched.

FAIL where anything of this kind is found.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.stages import opened
from fedspine.audit.subject import Subject
from fedspine.errors import PrivacyError
from fedspine.secure.keys import FILE
from fedspine.tasks._task import Trained
from fedspine.wire import schema_of

SUFFIXES = (".safetensors", ".json", ".jsonl", ".mark", ".toml", ".html")
"""Of files that a run folder may hold."""

AT_HOME = ("optimiser", "own")
"""Rooms of a site's state where torch's own format is kept between two rounds; they are never sent."""

KEYS = "secure"
"""Room of a site's state with the keys of its attempts at secure sums, beside its signing key; never sent either."""

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How a bare pickle begins."""

MOMENTS = ("exp_avg", "momentum", "running_mean", "running_var", "num_batches")
"""What names of optimisers' moments and of running statistics hold."""

SHORTEST = 4
"""Identifiers of fewer characters are everywhere by chance, and are not looked for."""

TITLE_FORMATS, TITLE_NAMES = "What the run folder holds", "Identifiers in the run folder"
MEANS_FORMATS = (
    "A file of weights can carry more than weights: a hidden program, or running averages over patients that no noise "
    "protects. Here the run's files are opened and every array is compared with what was allowed to leave."
)
MEANS_NAMES = (
    "The results of a run are passed around. Here every file of them is searched for the patients' numbers, as the "
    "hospitals know them, and for the pseudonyms that stand for them."
)


def formats(subject: Subject) -> Line:
    """Return the line A3 on formats and arrays; see this file's head."""
    files = list(files_of(subject))
    faults = [f"a file of kind '{file.suffix}' is none of a run's" for file in files if file.suffix not in SUFFIXES]
    faults += [f"a pickle lies among the results ({file.suffix or 'no suffix'})" for file in files if is_pickle(file)]
    faults += [fault for stage in subject.plan.stage for fault in _arrays(subject, stage.name)]
    return Line(
        "A3",
        TITLE_FORMATS,
        Level.MECHANISM,
        Grade.FAIL if faults else Grade.PASS,
        "; ".join(dict.fromkeys(faults[:4])) + "."
        if faults
        else f"{len(files)} files hold tensors, text and pages alone; the arrays of {len(subject.models)} networks are "
        "those that stages may release.",
        bound="" if faults else "Whether weights remember patients is another question: lines A9 to A12.",
        means=MEANS_FORMATS,
        figures={"files": len(files)},
    )


def identifiers(subject: Subject) -> Line:
    """Return the line A3 on identifiers; see this file's head."""
    known = {word for site in subject.sites for word in _identifiers(site.folder)}
    wanted = sorted(word for word in known if len(word) >= SHORTEST)
    if not wanted:
        return Line(
            "A3",
            TITLE_NAMES,
            Level.EXPOSURE,
            Grade.NOT_TESTED,
            "No site's table of pseudonyms is at hand (--data), so nobody knows what to look for.",
            means=MEANS_NAMES,
        )
    files, hit = list(files_of(subject)), 0
    for file in files:
        held = file.read_bytes().lower()
        hit += any(word.encode().lower() in held for word in wanted)
    short = f" {len(known) - len(wanted)} are too short to look for." if len(known) > len(wanted) else ""
    return Line(
        "A3",
        TITLE_NAMES,
        Level.EXPOSURE,
        Grade.FAIL if hit else Grade.PASS,
        f"{hit} of {len(files)} files hold a patient's identifier."
        if hit
        else f"None of {len(wanted)} identifiers is in any byte of {len(files)} files.{short}",
        bound="" if hit else "Searched as text: what was encoded or compressed would not be found.",
        means=MEANS_NAMES,
        figures={"identifiers": len(wanted), "files": len(files), "files with one": hit},
    )


def files_of(subject: Subject) -> Iterator[Path]:
    """Yield the files of the run folder but those of the sites' own folders and of earlier looks at it."""
    apart = [site.folder.resolve() for site in subject.sites if site.folder is not None]
    apart += [(subject.run / name).resolve() for name in ("phantoms", "audit", "sheet", "stress")]
    for file in sorted(subject.run.rglob("*")):
        place = file.resolve()
        at_home = file.parent.name in (*AT_HOME, KEYS) and file.parent.parent.parent.name == "sites"
        at_home |= file.name == FILE and file.parent.parent.name == "sites"
        if file.is_file() and not at_home and not any(place.is_relative_to(folder) for folder in apart):
            yield file


def is_pickle(file: Path) -> bool:
    """Return whether a file is a pickle, bare or in torch's archive."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    with file.open("rb") as opened_file:
        return opened_file.read(2) in PICKLES


def _arrays(subject: Subject, name: str) -> list[str]:
    """Return what a stage's file of weights holds beside what its schema lets leave, or its sites keep."""
    file = subject.run / "models" / f"{name}.safetensors"
    if not file.exists():
        return []
    try:
        with safe_open(file, "pt") as held:
            keys = set(held.keys())
    except (OSError, SafetensorError):
        return [f"the weights of stage {name} cannot be read"]
    if any(word in key for key in keys for word in MOMENTS):
        return [f"stage {name} holds running statistics or moments"]
    one = opened(subject, subject.plan.find(name))
    if not isinstance(one.task, Trained) or one.model is None:
        return []
    try:
        schema_of(one.task, one.model)
    except PrivacyError:
        return [f"the network of stage {name} has buffers"]
    return [] if keys <= set(one.model.state_dict()) else [f"stage {name} holds arrays that its network has not"]


def _identifiers(folder: Path | None) -> set[str]:
    """Return the ids and pseudonyms of a site's patients; of its `pseudonyms.csv`, where it can be read."""
    if folder is None:
        return set()
    try:
        with (folder / ".fedspine" / "pseudonyms.csv").open(encoding="utf-8", newline="") as table:
            return {value for row in csv.DictReader(table) for value in row.values() if value}
    except OSError:
        return set()

"""`fedspine audit`: what a run promised, whether it kept it, and what attacks get out of it."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fedspine.audit.line import Grade, Line
from fedspine.audit.meaning import meanings
from fedspine.audit.subject import Subject
from fedspine.errors import InputError

OUT = Console()

CHECKS = (
    ("A1", "claim.claim"),
    ("A2", "books.ledgers"),
    ("A3", "messages.messages"),
    ("A3", "run_folder.formats"),
    ("A3", "run_folder.identifiers"),
    ("A3", "machine.secrets"),
    ("A3", "machine.ports"),
    ("A4", "sensitivity.sensitivity"),
    ("A5", "sensitivity.alone"),
    ("A6", "sampler.sampling"),
    ("A7", "noise.noise"),
    ("A7", "secrecy.secrecy"),
    ("A8", "canaries.canary_epsilon"),
    ("A9", "membership.membership"),
    ("A10", "inversion.inversion"),
    ("A11", "memorisation.memorisation"),
    ("A12", "linkage.linkage"),
    ("A12", "attribute.attribute"),
    ("A13", "utility.utility"),
)
"""Every check and where it is, below `fedspine.audit`; loaded when asked for, since attacks bring heavy libraries."""

COLOURS = {Grade.FAIL: "bold red", Grade.PASS: "green", Grade.NOT_TESTED: "yellow"}


def audit_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        Path | None,
        typer.Option(help="A site folder, or a folder of them; the run's own phantoms if left out."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; RUN/audit if left out.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A check, such as A4; may be given again.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is random in the audit itself.", min=0)] = 0,
) -> None:
    """Check a run's privacy: what it promised, whether it kept it, and what attacks get out of it; exit 1 on a FAIL.

    With --data the numbers come from real patients without noise: they stay where the data is.
    """
    import torch

    from fedspine.commands.audited import subject_of
    from fedspine.report.audit_page import write_audit

    torch.set_num_threads(1)
    chosen = _chosen(only or [])
    subject = subject_of(run, data, seed)
    folder = out or run / "audit"
    begun, lines = time.monotonic(), []
    for place in chosen:
        lines.append(_looked(place, subject))
    written = {
        "format": 1,
        "plan": subject.plan.name,
        "privacy": asdict(subject.plan.privacy),
        "simulation": subject.simulated,
        "source": _source(subject, data),
        "seconds": round(time.monotonic() - begun, 1),
        "meaning": [asdict(one) for one in meanings(subject)],
        "lines": [_as_dict(line, seconds) for line, seconds in lines],
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "audit.json").write_text(json.dumps(written, indent=1, allow_nan=False), encoding="utf-8")
    page = write_audit(written, [line.pictures for line, _ in lines], folder)
    failed = sum(line.grade is Grade.FAIL for line, _ in lines)
    OUT.print(f"\naudit: {page}", soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)


def _chosen(only: Sequence[str]) -> list[str]:
    """Return where the checks are that were asked for.

    Raises:
        InputError: if there is no such check.
    """
    known = dict.fromkeys(check for check, _ in CHECKS)
    for word in only:
        if word not in known:
            raise InputError("--only must name a check", "another word", f"use some of {', '.join(known)}")
    return [place for check, place in CHECKS if not only or check in only]


def _looked(place: str, subject: Subject) -> tuple[Line, float]:
    """Return a check's line and how long it took, after it is printed."""
    module, name = place.split(".")
    check: Callable[[Subject], Line] = getattr(importlib.import_module(f"fedspine.audit.{module}"), name)
    begun = time.monotonic()
    line = check(subject)
    seconds = time.monotonic() - begun
    OUT.print(f"{line.check:5}", end="", highlight=False)
    OUT.print(f"{line.grade.value:11}", style=COLOURS[line.grade], end="", highlight=False)
    OUT.print(f"{line.title}: {line.finding}", markup=False, highlight=False, soft_wrap=True)
    return line, seconds


def _source(subject: Subject, data: Path | None) -> str:
    if not any(len(members) for site in subject.sites for members in site.patients.values()):
        return "no patients"
    return "phantoms" if data is None else "site folders"


def _as_dict(line: Line, seconds: float) -> dict[str, Any]:
    """Return a line as JSON has it; pictures are on the page alone."""
    finite = {key: value for key, value in line.figures.items() if value == value and abs(value) != float("inf")}
    return {
        "check": line.check,
        "title": line.title,
        "level": line.level.value,
        "grade": line.grade.value,
        "finding": line.finding,
        "bound": line.bound,
        "means": line.means,
        "figures": finite,
        "seconds": round(seconds, 1),
    }

"""Read a run folder. Whatever part is missing or misshapen becomes an empty value; only a run without metrics stops.

A run folder holds `plan.toml`, `metrics.json` and `gallery.safetensors` (released, public), and per site a folder with
`ledger.jsonl`, `egress.jsonl`, `metrics.json` and `gallery.safetensors` (the site's own, never sent).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from fedspine.errors import InputError, PrivacyError
from fedspine.privacy.chain import read
from fedspine.report.wording import number

FORMAT = 1
"""The format of `metrics.json` that these pages read."""

Images = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Book:
    """A hash-chained file of a site.

    Args:
        lines: what could be read, in order.
        intact: whether every line follows from the one before it, and none is missing at the end.
        found: whether there is such a file.
    """

    lines: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    intact: bool = True
    found: bool = False


@dataclass(frozen=True)
class SiteFiles:
    """What a site keeps for itself.

    Args:
        folder: where its page goes.
        name: the site's name, which is its folder's.
        metrics: exact local figures.
        gallery: the site's own images, (n, contrast, row, column) and masks (n, row, column), float32.
        ledger: its privacy ledger.
        egress: its log of outgoing messages.
    """

    folder: Path = field(repr=False)
    name: str
    metrics: Mapping[str, Any] = field(repr=False)
    gallery: Images = field(repr=False)
    ledger: Book
    egress: Book


@dataclass(frozen=True)
class Run:
    """What the coordinator holds: released figures and public images, nothing of a site's own files.

    Args:
        metrics: `metrics.json`.
        plan_text: `plan.toml` as run.
        gallery: public phantoms and synthetic images, float32.
        links: names of the sites whose own pages lie in the run folder (a simulation).
    """

    metrics: Mapping[str, Any] = field(repr=False)
    plan_text: str = field(repr=False)
    gallery: Images = field(repr=False)
    links: tuple[str, ...] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites in the order that gives them their colours."""
        return tuple(table(self.metrics, "sites"))

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """The stages in the order in which they ran."""
        return tuple(row for row in rows(self.metrics, "stages") if isinstance(row, dict))

    @property
    def private(self) -> bool:
        """Whether the run had noise at all; anything but the known mechanism counts as none."""
        return table(self.metrics, "privacy").get("mechanism") == "gaussian"

    @property
    def budget(self) -> float | None:
        """The epsilon that the plan allows a patient, where there is privacy."""
        return number(table(self.metrics, "privacy").get("epsilon")) if self.private else None


def read_run(folder: Path) -> Run:
    """Return the coordinator's part of the run in `folder`.

    Raises:
        InputError: if `metrics.json` is missing, is not JSON or has another format.
    """
    rule, remedy = "a run folder must hold a metrics.json of format 1", "make the run with fedspine simulate"
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    except OSError:
        raise InputError(rule, "no such file", remedy) from None
    except ValueError:
        raise InputError(rule, "a file that is not JSON", remedy) from None
    if not isinstance(metrics, dict) or metrics.get("format") != FORMAT:
        raise InputError(rule, "another format", remedy)
    plan = folder / "plan.toml"
    return Run(
        metrics=metrics,
        plan_text=plan.read_text("utf-8", errors="replace") if plan.is_file() else "",
        gallery=_images(folder / "gallery.safetensors"),
        links=tuple(site.name for site in _site_folders(folder)),
    )


def read_sites(folder: Path) -> list[SiteFiles]:
    """Return what each site folder of the run holds, by name."""
    return [
        SiteFiles(
            folder=site,
            name=site.name,
            metrics=_json(site / "metrics.json"),
            gallery=_images(site / "gallery.safetensors"),
            ledger=_book(site / "ledger.jsonl"),
            egress=_book(site / "egress.jsonl"),
        )
        for site in _site_folders(folder)
    ]


def table(value: object, *keys: str) -> dict[str, Any]:
    """Return the table that lies at `keys` within `value`, empty where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def rows(value: object, *keys: str) -> list[Any]:
    """Return the list that lies at `keys` within `value`, empty where there is none."""
    found = table(value, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, list) else []


def series(values: object) -> list[float | None]:
    """Return a list of numbers, `None` where an item is not a finite one."""
    return [number(item) for item in values] if isinstance(values, list) else []


def _site_folders(folder: Path) -> list[Path]:
    sites = folder / "sites"
    return sorted(path for path in sites.iterdir() if path.is_dir()) if sites.is_dir() else []


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _images(path: Path) -> dict[str, NDArray[np.float32]]:
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return {key: np.nan_to_num(np.asarray(file.get_tensor(key), np.float32)) for key in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return {}


def _book(path: Path) -> Book:
    if not path.is_file():
        return Book()
    try:
        return Book(tuple(read(path, "the file")), intact=True, found=True)
    except PrivacyError:
        return Book(tuple(_readable(path.read_text("utf-8", errors="replace"))), intact=False, found=True)


def _readable(text: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for raw in text.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines

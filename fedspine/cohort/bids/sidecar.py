"""Read the sidecars of a BIDS image, and say what they say in DICOM's words.

A value holds for every image below its folder whose name has all of the sidecar's entities and its suffix; a deeper
sidecar goes before a higher one (BIDS' inheritance principle). Sidecars are written in DICOM keywords with times in
seconds, so they are turned into a DICOM data set: all rules on headers then apply to them unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from fedspine.cohort.bids.tree import Item, Tree
from fedspine.errors import SeriesError

LARGEST_SIDECAR = 4_000_000
"""Bytes; dcm2niix writes a few thousand, mostly slice times."""

# seconds to milliseconds; a value from here on was written in milliseconds by mistake
TIMES = {"EchoTime": 1.0, "RepetitionTime": 60.0, "InversionTime": 20.0}
# BIDS' own words for DICOM's
RENAMED = {
    "ManufacturersModelName": "ManufacturerModelName",
    "ContrastBolusIngredient": "ContrastBolusAgent",
    "RepetitionTimePreparation": "RepetitionTime",
    "RepetitionTimeExcitation": "RepetitionTime",
    "ReceiveCoilActiveElements": "ReceiveCoilName",
}
# groups of DICOM that describe an acquisition; the patient's (0010) is not read, whatever a sidecar holds
GROUPS = frozenset({0x0008, 0x0018, 0x0020})
KINDS = frozenset({"CS", "LO", "SH", "LT", "ST", "UT", "DS", "FD", "FL", "IS", "US", "SS", "UL", "SL"})
# words of PulseSequenceType, which BIDS has in place of ScanningSequence
SEQUENCES = (
    ("EP", ("epi", "echo planar", "echo-planar")),
    ("IR", ("inversion", "mprage", "mp-rage", "stir", "flair", "tirm")),
    ("GR", ("gradient", "gre", "mprage", "mp-rage", "flash", "spgr", "ffe")),
    ("SE", ("spin echo", "spin-echo", "tse", "fse", "space", "rare")),
)


def sidecars_of(item: Item, tree: Tree, ending: str) -> list[Item]:
    """Return the sidecars with this ending that apply to an image, the most general first."""
    found = []
    for depth in range(len(item.folders) + 1):
        here = [
            one
            for one in tree.sidecars.get(item.folders[:depth], ())
            if one.ending == ending and one.suffix == item.suffix and one.entities.items() <= item.entities.items()
        ]
        found += sorted(here, key=lambda one: len(one.entities))
    return found


def read_sidecar(folder: Path, items: list[Item]) -> dict[str, Any]:
    """Return the values of several sidecars, later ones winning.

    Raises:
        SeriesError: when one of them is not a JSON object of bounded size.
    """
    values: dict[str, Any] = {}
    for item in items:
        try:
            if item.file.size > LARGEST_SIDECAR:
                raise ValueError
            read = json.loads((folder / item.file.where).read_text("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            raise _broken() from None
        if not isinstance(read, dict):
            raise _broken()
        values |= read
    return values


def _broken() -> SeriesError:
    return SeriesError("a sidecar must be a JSON object", "one that is not", "mend the file or take it out")


def read_numbers(folder: Path, items: list[Item]) -> list[list[float]]:
    """Return the rows of numbers in the most specific of these .bval or .bvec files, none without a file."""
    if not items:
        return []
    item = items[-1]
    try:
        if item.file.size > LARGEST_SIDECAR:
            raise ValueError
        text = (folder / item.file.where).read_text("ascii")
        rows = [[float(word) for word in line.split()] for line in text.splitlines() if line.strip()]
    except (OSError, ValueError):
        rows = [[math.nan]]
    if not all(math.isfinite(value) for row in rows for value in row):
        raise SeriesError("b-values and directions must be numbers", "something else", "export the series again")
    return rows


def in_dicom(values: Mapping[str, Any]) -> Dataset:
    """Return what a sidecar says of the acquisition as a DICOM data set, times in milliseconds.

    What is no DICOM keyword, belongs to the patient or has an unfitting value is left out.
    """
    dataset = Dataset()
    for key, value in sorted(values.items(), key=lambda one: one[0] not in RENAMED):
        keyword = RENAMED.get(key, key)
        tag = tag_for_keyword(keyword)
        if tag is None or tag >> 16 not in GROUPS or dictionary_VR(tag) not in KINDS:
            continue
        fitting = _fitting(keyword, value, dictionary_VR(tag))
        if fitting is not None:
            setattr(dataset, keyword, fitting)
    codes = _codes(values)
    if codes:
        dataset.ScanningSequence = codes
    return dataset


def _fitting(keyword: str, value: Any, kind: str) -> Any:
    """Return a value as the DICOM element wants it, or `None`."""
    several = value if isinstance(value, list) else [value]
    text = kind in ("CS", "LO", "SH", "LT", "ST", "UT")
    convert: Callable[[Any], Any] = _text if text else _number
    found = [convert(one) for one in several[:64]]
    if not found or any(one is None for one in found):
        return None
    if keyword in TIMES:
        found = [one * 1000.0 if one < TIMES[keyword] else one for one in found]
    if kind == "DS":
        found = [f"{one:.9g}" for one in found]
    elif kind in ("IS", "US", "SS", "UL", "SL"):
        found = [round(one) for one in found]
    return found[0] if len(found) == 1 else found


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).replace("\\", " ").strip()[:64]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e9 else None


def _codes(values: Mapping[str, Any]) -> list[str]:
    """Return DICOM's codes of the sequence; converters join several of them by `_` or `\\`."""
    written = values.get("ScanningSequence")
    if written:
        joined = " ".join(map(str, written)) if isinstance(written, list) else str(written)
        return [code for code in joined.upper().replace("\\", " ").replace("_", " ").split() if len(code) == 2]
    said = (
        f" {values.get('PulseSequenceType', '')} ".lower() if isinstance(values.get("PulseSequenceType"), str) else ""
    )
    return [code for code, words in SEQUENCES if any(word in said for word in words)]

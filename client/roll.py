"""Who takes part, written down at enrolment: the patients of each fold by pseudonym, and the site's scanners in order.

What is on the roll is public by agreement as far as it is numbers: how many patients a fold has, and how many of the
training patients lay on each scanner. Later every patient's term counts for the scanner that has that number on the
roll. Were scanners numbered anew from the patients at hand, one patient more could move all others to other numbers,
and the clipped sum by more than one term.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low

from fedspine.cohort.cache import write_whole
from fedspine.cohort.patient import Patient
from fedspine.cohort.scanner import MOST_SCANNERS, word_of
from fedspine.config import TRAIN, DataPlan

Times = tuple[float, float, float | None, float | None]
"""Echo, repetition and inversion time in ms, b-value in s/mm²."""


@dataclass(frozen=True)
class Protocols:
    """How a scanner is set, the median over those who lay on it: equipment, which stays at the site all the same.

    Args:
        field_tesla: as the magnet is sold.
        times: of every contrast whose echo and repetition times are known.
    """

    field_tesla: float
    times: Mapping[str, Times] = field(repr=False)


@dataclass(frozen=True)
class Roll:
    """What is fixed at enrolment.

    Args:
        folds: fold to pseudonyms.
        scanners: the site's scanners in words that never leave; the last stands for all others.
        patients: how many training patients lay on each.
        protocols: of each scanner.
    """

    folds: Mapping[str, tuple[str, ...]] = field(repr=False)
    scanners: tuple[str, ...] = field(repr=False)
    patients: tuple[int, ...]
    protocols: tuple[Protocols, ...] = field(default=(), repr=False)


def roll_of(sides: Mapping[str, Sequence[Patient]], data: DataPlan, before: Sequence[str] = ()) -> Roll:
    """Return the roll of these patients; scanners that most patients lay on come first.

    Those of an enrolment `before` keep their numbers, so that what was released of a scanner stays that scanner's.
    """
    words = {fold: [_word(one, data) for one in members] for fold, members in sides.items()}
    everyone = Counter(word for members in words.values() for word in members if word)
    found = sorted(everyone, key=lambda word: (-everyone[word], word))
    scanners = (*before, *(word for word in found if word not in before))[:MOST_SCANNERS]
    places = [min(scanners.index(w) if w in scanners else len(scanners), len(scanners) - 1) for w in words[TRAIN] if w]
    folds = {fold: tuple(one.identifier for one in members) for fold, members in sides.items()}
    everybody = [one for members in sides.values() for one in members]
    protocols = tuple(_protocols([one for one in everybody if _word(one, data) == word], data) for word in scanners)
    return Roll(folds, scanners, tuple(places.count(number) for number in range(MOST_SCANNERS)), protocols)


def _protocols(patients: Sequence[Patient], data: DataPlan) -> Protocols:
    times: dict[str, Times] = {}
    fields = []
    for contrast in data.contrasts:
        seen = [volume.scanner for one in patients if (volume := one.find(contrast)) is not None]
        fields += [scanner.field_tesla for scanner in seen if scanner.field_tesla is not None]
        echo, repetition, inversion, b_value = (
            _median([getattr(scanner, name) for scanner in seen])
            for name in ("echo_time_ms", "repetition_time_ms", "inversion_time_ms", "b_value")
        )
        if echo is not None and repetition is not None:
            times[contrast] = echo, repetition, inversion, b_value
    return Protocols(_median(fields) or 1.5, times)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median_low(known)) if known else None


def write_roll(file: Path, roll: Roll) -> None:
    """Keep the roll in `file`."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    protocols = [{"field": one.field_tesla, "times": dict(one.times)} for one in roll.protocols]
    kept = {"folds": roll.folds, "scanners": roll.scanners, "patients": roll.patients, "protocols": protocols}
    text = json.dumps(kept)
    write_whole(file, lambda opened: opened.write(text.encode()))


def read_roll(file: Path, found: Roll) -> Roll:
    """Return the roll kept in `file`; of one kept before scanners were on it, the scanners that are `found` now."""
    kept = json.loads(file.read_text("utf-8"))
    folds = {fold: tuple(kept.get("folds", kept)[fold]) for fold in found.folds}
    if "scanners" not in kept:
        return Roll(folds, found.scanners, found.patients, found.protocols)
    protocols = tuple(
        Protocols(one["field"], {name: tuple(times) for name, times in one["times"].items()})
        for one in kept.get("protocols", [])
    )
    return Roll(folds, tuple(kept["scanners"]), tuple(kept["patients"]), protocols)


def _word(patient: Patient, data: DataPlan) -> str:
    """Return the scanner that the patient counts as scanned on, as `PatientTensors.scanner` does; empty without one."""
    volumes = (patient.find(contrast) for contrast in data.contrasts)
    return next((word_of(volume.scanner) for volume in volumes if volume is not None), "")

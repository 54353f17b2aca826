"""A scanner's settings as a bounded row that means the same on every vendor, and their joint scale from private sums.

A row holds only what all vendors write alike. Three headers would otherwise tell the vendor of the very same sequence:

- *Repetition of an inversion-prepared train* (MPRAGE): one vendor writes the time between inversions (2,000 ms), the
  others that between two excitations (4 to 8 ms); none writes both (`cohort.scanner.repetition_of`). One cannot be
  computed from the other, and that one of them is missing tells the vendor as well as its value would; the inversion
  time is missing from one vendor's headers too. So all three times of such a train are unknown here, whoever made it. A
  gradient echo of a small flip angle repeated within 20 ms may be a train whose preparation the header leaves out, and
  counts as one.
- *Flip angle of a spin echo*: some write the excitation's (90 degrees), some the refocusing one (120 to 180). It is
  known for gradient echoes alone.
- *No diffusion weighting*: written as b = 0 or not at all. It is unknown in both cases.

A value is (setting - `CENTRES`) / `SPREADS`, times as logarithms, clipped to ±`BOUND`: centres and spreads are public
constants, wide enough for any clinical protocol. What is left of a difference between vendors is a difference in how
the image was made: at spine-generic, T2 is repeated every 1,500 ms on one vendor and every 2,500 ms on another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Scanner
from fedspine.cohort.weighting import PREPARED_FLIP_DEG, SPIN_ECHO_FLIP_DEG, is_prepared

Array = NDArray[np.float64]

TIMING = ("log TR", "log TI", "log excitation spacing")
"""The columns that one vendor fills in otherwise than another for a prepared train."""

COILS = ("head/neck", "spine", "body", "surface")
"""Kinds of receive coil: a column each, 1 for the coil's kind and 0 for the others, unknown without a telling name."""

ACQUISITION = ("field", "log TE", *TIMING, "flip angle", "b-value", *(f"coil {kind}" for kind in COILS))
"""The columns of a row."""

CENTRES = {
    "field": 2.25,
    "log TE": math.log(30.0),
    "log TR": math.log(1500.0),
    "log TI": math.log(600.0),
    "log excitation spacing": math.log(6.0),
    "flip angle": 20.0,
    "b-value": 500.0,
}
"""Public centres: tesla, logarithms of milliseconds, degrees, s/mm²; between 1.5 and 3 T, T1 and T2 weighting."""

SPREADS = {
    "field": 0.75,
    "log TE": math.log(3.0),
    "log TR": math.log(3.0),
    "log TI": math.log(3.0),
    "log excitation spacing": math.log(2.0),
    "flip angle": 15.0,
    "b-value": 500.0,
}
"""Public spreads in the same units; 1.5 T becomes -1 and 3 T becomes 1."""

BOUND = 3.0
"""Values are clipped to this many spreads."""

LEAST = 0.25
"""Least deviation, in public spreads, by which a column is divided.

Where all hospitals set the same, an unbounded scale would stretch the digits that a console rounds to.
"""

INVERSION_FROM_MS = 80.0
"""A shorter inversion time prepares the fat alone (`cohort.contrast`)."""

KINDS = (
    ("head/neck", r"head|brain|neck|\bnv\b|neuro|hnc|hns|hnu|\bhe[ap]?\d|\bhe[ap]\b|\bhc\d|\bnc?\d|\bne\d|tmj"),
    ("spine", r"spine|\bsp\d|\bspc|ctl|cervical|thoracic|lumbar"),
    ("body", r"body|torso|\bbo?\d|abdomen|cardiac|thorax|pelvi|q-?bc|anterior|\baa\b"),
    ("surface", r"flex|loop|surface|knee|shoulder|wrist|breast|extremity|ankle|endo|micro"),
)
"""What tells a kind in a coil's name, in lower case. The first that is found counts: a head and neck coil comes with
elements of the spine coil below it, and the spine coil with some of the body coil in front."""


@dataclass(frozen=True, eq=False)
class AcquisitionScale:
    """Mean and deviation of every column for each contrast, both (contrast, column), in public spreads."""

    mean: Array
    deviation: Array

    def scaled(self, values: Array, known: Array) -> Array:
        """Return (value - mean) / deviation within ±`BOUND`, zero where unknown; all (..., contrast, column)."""
        return np.asarray(np.clip((values - self.mean) / self.deviation, -BOUND, BOUND) * known)


def coil_kind(name: str | None) -> str | None:
    """Return one of `COILS` for a coil as its vendor spells it, `None` for a name that tells nothing.

    >>> [coil_kind(one) for one in ("HC1-7;NC1_2;SP1", "Head+Neck_40", "HDCTL_12", "BO1;SP4-6", "SENSE-Flex-M")]
    ['head/neck', 'head/neck', 'spine', 'spine', 'surface']
    >>> coil_kind("MULTI COIL"), coil_kind("Q-Body"), coil_kind(None)
    (None, 'body', None)
    """
    folded = (name or "").casefold().replace("_", " ")
    return next((kind for kind, pattern in KINDS if re.search(pattern, folded)), None)


def acquisition_row(scanner: Scanner) -> tuple[Array, Array]:
    """Return a series' settings and which of them are known.

    Args:
        scanner: of one series of one patient. Nothing else is looked at, so the row is that patient's alone.

    Returns:
        values (len(`ACQUISITION`),), within ±`BOUND`, zero where unknown; known (len(`ACQUISITION`),) in {0, 1}.
    """
    settings = _settings(scanner)
    row = [(settings[name] - CENTRES[name]) / SPREADS[name] for name in CENTRES]
    kind = coil_kind(scanner.coil)
    row += [math.nan if kind is None else float(kind == one) for one in COILS]
    values = np.clip(np.array(row), -BOUND, BOUND)
    known = np.isfinite(values)
    return np.where(known, values, 0.0), known.astype(np.float64)


def acquisition_rows(scanners: Sequence[Scanner | None]) -> tuple[Array, Array]:
    """Return values and known, both (contrast, column), of one patient's series, of which some may be missing."""
    rows = [acquisition_row(scanner or Scanner()) for scanner in scanners]
    both = np.array(rows).reshape(len(rows), 2, len(ACQUISITION))
    return both[:, 0], both[:, 1]


def term(values: Array, known: Array) -> dict[str, Array]:
    """Return what one patient adds to the sums: `known`, `first`, `second`, each (contrast, column).

    It is a function of this patient's rows alone, and bounded: entries are within 1, `BOUND` and `BOUND`² - 1, so that
    the sum over patients, clipped at a public norm and noised once, is the one release that this scale needs.
    """
    return {"known": known, "first": values * known, "second": (values**2 - 1) * known}


def joint_scale(sums: Mapping[str, Array], noise: Mapping[str, float] | None = None) -> AcquisitionScale:
    """Return the scale that all hospitals share, from the sum of all terms of all of them.

    The public centre and spread are a normal prior of one spread; the sums move it, the less the fewer patients have a
    setting and the noisier the release. A setting that nobody has stays at the prior.

    Args:
        sums: of `term`, over all patients of all hospitals.
        noise: standard deviation of the noise on each entry, by the name of the sum; none if left out.
    """
    first, second, counted = ((noise or {}).get(key, 0.0) for key in ("first", "second", "known"))
    count = np.maximum(sums["known"], 0.0)
    # one patient more or less in the count is worth about one spread in the sum
    mean = sums["first"] * _share(count, 1.0, math.hypot(first, counted))
    excess = sums["second"] * _share(count, 2.0, math.hypot(second, counted))
    variance = np.maximum(1.0 + excess - mean**2, LEAST**2)
    return AcquisitionScale(np.clip(mean, -BOUND, BOUND), np.sqrt(np.minimum(variance, BOUND**2)))


def _share(count: Array, variance: float, noise: float) -> Array:
    """Return the factor from a sum over `count` patients to the posterior mean of one, the prior's variance being 1."""
    return np.asarray(count / np.maximum(count**2 + variance * count + noise**2, 1e-12))


def _settings(scanner: Scanner) -> dict[str, float]:
    """Return the settings in their units, times as logarithms; NaN where unknown or not alike on every vendor."""
    train, flip = _may_be_train(scanner), _positive(scanner.flip_angle_deg)
    timing = (scanner.repetition_time_ms, scanner.inversion_time_ms, scanner.excitation_spacing_ms)
    logs = [math.nan if train else _log(value) for value in timing]
    return {
        "field": _positive(scanner.field_tesla),
        "log TE": _log(scanner.echo_time_ms),
        **dict(zip(TIMING, logs, strict=True)),
        "flip angle": flip if flip < SPIN_ECHO_FLIP_DEG else math.nan,
        "b-value": _positive(scanner.b_value),
    }


def _may_be_train(scanner: Scanner) -> bool:
    """Tell whether these may be the excitations of a prepared train, of which vendors write different times."""
    flip, inverted = _positive(scanner.flip_angle_deg), _positive(scanner.inversion_time_ms) >= INVERSION_FROM_MS
    if scanner.excitation_spacing_ms is not None:
        return inverted or not flip > PREPARED_FLIP_DEG
    prepared = is_prepared(scanner.repetition_time_ms, scanner.flip_angle_deg)
    return flip < SPIN_ECHO_FLIP_DEG and (inverted or prepared)


def _positive(value: float | None) -> float:
    return value if value is not None and 0 < value < math.inf else math.nan


def _log(value: float | None) -> float:
    return math.log(_positive(value))

"""The scanner record in words and units that mean the same on every vendor.

A raw header tells its vendor by the spelling of a name, the unit or the digits of the field (15000 gauss, 2.89 T for
"3 T") and by what *RepetitionTime* means: for the same MPRAGE one vendor writes the time from inversion to inversion
(2,000 ms), the others that between two excitations of a train (4 to 8 ms). See `docs/decisions/0010-*`.
"""

from __future__ import annotations

import math

from fedspine.cohort.contrast import SeriesHeader, is_gradient_echo, is_prepared_gradient_echo
from fedspine.cohort.patient import Scanner
from fedspine.cohort.weighting import is_prepared

VENDORS = (
    ("siemens", "Siemens"),
    ("philips", "Philips"),
    ("toshiba", "Toshiba"),
    ("canon", "Canon"),
    ("uih", "UIH"),
    ("united imaging", "UIH"),
    ("hitachi", "Hitachi"),
    ("fuji", "Fujifilm"),
    ("esaote", "Esaote"),
    ("neusoft", "Neusoft"),
    ("hyperfine", "Hyperfine"),
    ("ge medical", "GE"),
    ("ge health", "GE"),
    ("general electric", "GE"),
)
"""A part of the name that consoles write, in lower case, and the word for the vendor."""

MOST_SCANNERS = 4
"""Scanners of a site that are told apart; a fifth and others count with the fourth."""

GAUSS_PER_TESLA = 10_000.0
LARGEST_TESLA = 100.0
NOMINAL_TESLA = (1.0, 1.5, 3.0, 7.0)
# how far the field that a magnet reports may lie from the one it is sold as
NOMINAL = 0.05
# no steady state of whole spins is read faster; below this the header may mean the spacing of a prepared train
TRAIN_TO_MS = 20.0


def vendor_of(text: str) -> str | None:
    """Return one word for the vendor, the text itself where it is an unknown one.

    >>> vendor_of("SIEMENS"), vendor_of("Siemens Healthineers"), vendor_of("GE MEDICAL SYSTEMS"), vendor_of("CANON_MEC")
    ('Siemens', 'Siemens', 'GE', 'Canon')
    """
    folded = " ".join(text.casefold().replace("_", " ").split())
    known = next((word for part, word in VENDORS if part in folded), None)
    return known or ("GE" if folded == "ge" else text.strip() or None)


def word_of(scanner: Scanner) -> str:
    """Return what tells one scanner of a hospital from another: vendor, model and field; `unknown` without any.

    The coil is not part of it: one scanner has several, chosen by what is imaged.

    >>> word_of(Scanner("Siemens", "Aera", 1.5)), word_of(Scanner())
    ('Siemens Aera 1.5 T', 'unknown')
    """
    field = None if scanner.field_tesla is None else f"{scanner.field_tesla:g} T"
    return " ".join(part for part in (scanner.vendor, scanner.model, field) if part) or "unknown"


def tesla_of(value: float | None) -> float | None:
    """Return the field strength in tesla as the magnet is sold: a value in gauss is converted, 2.89 T is 3 T.

    >>> tesla_of(15000), tesla_of(2000), tesla_of(1.494), tesla_of(2.89362), tesla_of(0.0)
    (1.5, 0.2, 1.5, 3.0, None)
    """
    if value is None or not 0 < value < math.inf:
        return None
    tesla = value / GAUSS_PER_TESLA if value > LARGEST_TESLA else value
    nominal = min(NOMINAL_TESLA, key=lambda one: abs(one - tesla))
    return nominal if abs(nominal - tesla) <= NOMINAL * nominal else round(tesla, 2)


def repetition_of(header: SeriesHeader) -> tuple[float | None, float | None]:
    """Return the repetition time and the spacing of excitations in ms, from what the vendor calls RepetitionTime.

    The first is the time between preparations, or between excitations that meet the same magnetisation; the second that
    between the excitations of a gradient-echo train. The one that a vendor does not tell is `None`; never are both
    given. A gradient echo repeated within 20 ms may belong to a train whose preparation the header keeps to itself, so
    that only the spacing is certain.

    >>> repetition_of(SeriesHeader(scanning_sequence=("GR", "IR"), repetition_time_ms=2000, flip_angle_deg=9))
    (2000, None)
    >>> repetition_of(SeriesHeader(scanning_sequence=("GR",), repetition_time_ms=7.6, flip_angle_deg=9))
    (None, 7.6)
    >>> repetition_of(SeriesHeader(scanning_sequence=("SE",), repetition_time_ms=550))
    (550, None)
    """
    time_ms = header.repetition_time_ms
    if time_ms is None or not 0 < time_ms < math.inf:
        return None, None
    if not is_gradient_echo(header) or "EP" in header.scanning_sequence:
        return time_ms, None
    if is_prepared_gradient_echo(header):
        whole = is_prepared(time_ms, header.flip_angle_deg) or time_ms >= (header.inversion_time_ms or math.inf)
        return (time_ms, None) if whole else (None, time_ms)
    return (None, time_ms) if time_ms < TRAIN_TO_MS else (time_ms, None)

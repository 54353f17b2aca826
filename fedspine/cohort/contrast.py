"""Tell which contrast a series shows, from how it was acquired first and from its free text second.

The order of the rules (the first that applies decides); text counts by the words of `cohort.words` alone:

1. CT in Hounsfield units is CT, a CT map in other units (RescaleType) and a localizer of any modality are `other`.
2. Derived pictures that are no anatomy (phase, fractional anisotropy, subtraction, projection, fat fraction, maps of
   T1, T2 or the field) are `other`, and so are the fat and the opposed-phase picture of a Dixon series; a derived map
   called ADC is `ADC`, its exponential is `other`.
3. Diffusion weighting (b of 50 s/mm² or more, or ImageType or text says so) is `DWI`; the b = 0 picture of a diffusion
   series and any other echo-planar picture are `other`.
4. A name of T2*-weighting (T2*, MEDIC, MERGE, mFFE) or of susceptibility (SWI) is `other`: such series combine several
   echoes, and the header often gives the first, shortest one.
5. An inversion nulls what has T1 = TI / ln 2 (less with a short repetition time). That is fat up to a TI of 400 ms:
   `STIR`. From 1,500 ms on it is fluid: `FLAIR`; in between `FLAIR` with an echo of 60 ms or more, else `T1`. An
   inversion below 80 ms, or one named SPAIR or SPIR, prepares the fat alone and does not count. Gradient echoes with a
   preparation (MPRAGE) are `T1`.
6. Gradient echo: `T1` where the signal equation of `cohort.weighting` says that T1 shows most, else `other` (proton
   density, T2*). Without a flip angle, `T1` with an echo of less than 8 ms.
7. Spin echo: `T1` or `T2` where the signal equation says so, `other` for proton density; an even mixture goes on to
   the next rules.
8. The contrast that an Enhanced object names itself (AcquisitionContrast).
9. Words: proton density, T1 FLAIR or MPRAGE, FLAIR, STIR, ADC, DWI, T1, T2, in this order.
10. Anything else is `other`.

Where ScanningSequence is missing, an excitation below 60 degrees or repeated within 50 ms is taken for a gradient echo.
`T1` becomes `T1c` with a contrast agent in the header or text; a text that says "pre" or "without" wins over a header
that names an agent, because consoles fill the agent in for the whole examination.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fedspine.cohort.weighting import is_prepared, makes_spin_echo, shown_by_gradient_echo, shown_by_spin_echo
from fedspine.cohort.words import words_in

INVERSION_FROM_MS, FAT_NULL_TO_MS, FLUID_NULL_FROM_MS = 80.0, 400.0, 1500.0
DIFFUSION_FROM = 50.0
LONG_ECHO_FROM_MS = 60.0
GRADIENT_T1_TO_MS = 8.0


@dataclass(frozen=True)
class SeriesHeader:
    """What the rules look at; `None` or empty where the header does not say.

    Times in milliseconds, b-value in s/mm², flip angle in degrees; `repetition_time_ms` as the vendor writes it.
    `scanning_sequence` holds DICOM's codes (SE, GR, EP, IR, RM) or the Enhanced words (SPIN, GRADIENT, BOTH), `variant`
    the codes of SequenceVariant, `unit` the RescaleType.
    """

    modality: str = "MR"
    description: str = ""
    protocol: str = ""
    sequence: str = ""
    scanning_sequence: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    acquisition_contrast: str = ""
    contrast_agent: str = ""
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    b_value: float | None = None
    unit: str = ""


def identify(header: SeriesHeader) -> str:
    """Return one of `cohort.patient.CONTRASTS` by the rules of this module.

    >>> identify(SeriesHeader(echo_time_ms=10, repetition_time_ms=500, contrast_agent="Gadovist"))
    'T1c'
    >>> identify(SeriesHeader(description="SAG STIR"))
    'STIR'
    """
    words = _words(header)
    for rule in RULES:
        contrast = rule(header, words)
        if contrast is not None:
            return "T1c" if contrast == "T1" and _enhanced(header) else contrast
    return "other"


Words = frozenset[str]


def _words(header: SeriesHeader) -> Words:
    """Return the words of description and sequence names, and the protocol's where the description says nothing."""
    return (words_in(header.description) or words_in(header.protocol)) | words_in(header.sequence)


def _modality(header: SeriesHeader, words: Words) -> str | None:
    if "LOCALIZER" in header.image_type or "localizer" in words:
        return "other"
    if header.modality != "CT":
        return None
    return "CT" if header.unit in HOUNSFIELD else "other"


HOUNSFIELD = frozenset({"", "HU", "HU_MOD", "US"})
"""Rescale types (DICOM C.11.1.1.2) that are Hounsfield units: a CT's own default, modified ones, and `unspecified`,
which many archives write; iodine, effective atomic number and electron density maps are named otherwise."""


# values of ImageType that mark a picture which is not plain anatomy
NOT_ANATOMY = frozenset(
    {"PHASE", "P", "PHASE MAP", "IMAGINARY", "I", "REAL", "R", "VELOCITY", "SUB", "SUBTRACTION"}
    | {"MIP", "MNIP", "MINIP", "MAX_IP", "PROJECTION IMAGE", "FAT", "F", "FF", "FAT_FRACTION"}
    | {"T1_MAP", "T1 MAP", "T2_MAP", "T2 MAP", "T2STAR_MAP", "FA", "EXP", "EADC", "FRACTIONAL_ANISOTROPY"}
    | {"OPP_PHASE", "OUT_PHASE", "OPPOSED_PHASE", "OPPOSED", "OPP", "OP"}
    | {"B0", "B0 MAP", "B1", "B1 MAP", "FIELD_MAP"}
)


def _derived(header: SeriesHeader, words: Words) -> str | None:
    values = set(header.image_type)
    derived = "DERIVED" in values
    if values & NOT_ANATOMY or words & {"calibration", "fatonly", "opposed"} or (derived and "exponential" in words):
        return "other"
    if "ADC" in values or (derived and "adc" in words):
        return "ADC"
    return "other" if derived and words & {"anisotropy", "subtraction", "projection"} else None


def _diffusion(header: SeriesHeader, words: Words) -> str | None:
    values = set(header.image_type)
    if (header.b_value or 0.0) >= DIFFUSION_FROM:
        return "DWI"
    named = bool(values & {"DIFFUSION", "TRACEW"}) or "dwi" in words
    if named and header.b_value is None and "b0" not in words:
        return "DWI"
    return "other" if named or "EP" in header.scanning_sequence or words & {"epi", "b0"} else None


def _star(header: SeriesHeader, words: Words) -> str | None:
    return "other" if "susceptibility" in words else None


def is_gradient_echo(header: SeriesHeader) -> bool:
    """Tell a gradient echo by the codes of its sequence, or where there are none by its excitation."""
    codes = set(header.scanning_sequence)
    if codes & {"SE", "SPIN", "BOTH", "GR", "GRADIENT"}:
        return not codes & {"SE", "SPIN", "BOTH"}
    return not makes_spin_echo(header.repetition_time_ms, header.flip_angle_deg)


def _inverts(header: SeriesHeader) -> bool:
    return (header.inversion_time_ms or 0.0) >= INVERSION_FROM_MS


def is_prepared_gradient_echo(header: SeriesHeader) -> bool:
    """Tell a gradient echo whose magnetisation is inverted first (MPRAGE and its like)."""
    if not is_gradient_echo(header):
        return False
    named = "MP" in header.variant or "mprage" in _words(header)
    return named or _inverts(header) or is_prepared(header.repetition_time_ms, header.flip_angle_deg)


def _inversion(header: SeriesHeader, words: Words) -> str | None:
    if is_prepared_gradient_echo(header):
        return "T1"
    time_ms = header.inversion_time_ms or 0.0
    if not _inverts(header) or "spair" in words:
        return None
    if time_ms <= FAT_NULL_TO_MS:
        return "STIR"
    return "FLAIR" if time_ms >= FLUID_NULL_FROM_MS or (header.echo_time_ms or 0.0) >= LONG_ECHO_FROM_MS else "T1"


def _times(*values: float | None) -> bool:
    """Tell whether all of `values` are times or angles that a scanner can have."""
    return all(value is not None and 0 < value < math.inf for value in values)


def _gradient(header: SeriesHeader, words: Words) -> str | None:
    echo_ms, repetition_ms, flip_deg = header.echo_time_ms, header.repetition_time_ms, header.flip_angle_deg
    if not is_gradient_echo(header) or not _times(echo_ms):
        return None
    if words & {"bssfp", "angiography"}:
        return "other"
    assert echo_ms is not None
    if _times(repetition_ms, flip_deg) and flip_deg is not None and flip_deg <= 180 and repetition_ms is not None:
        return "T1" if shown_by_gradient_echo(echo_ms, repetition_ms, flip_deg) == "T1" else "other"
    return "T1" if echo_ms < GRADIENT_T1_TO_MS else "other"


def _spin(header: SeriesHeader, words: Words) -> str | None:
    echo_ms, repetition_ms = header.echo_time_ms, header.repetition_time_ms
    if is_gradient_echo(header) or echo_ms is None or repetition_ms is None or not _times(echo_ms, repetition_ms):
        return None
    if words & {"flair", "t1flair", "stir"}:  # an inversion whose time the header keeps to itself
        return None
    shown = shown_by_spin_echo(echo_ms, repetition_ms)
    return "other" if shown == "density" else shown


# DICOM C.8.13.3.3.1; what is not here is no contrast of ours
NAMED = {"DIFFUSION": "DWI", "FLUID_ATTENUATED": "FLAIR", "STIR": "STIR", "T1": "T1", "T2": "T2", "UNKNOWN": None}


def _named(header: SeriesHeader, words: Words) -> str | None:
    return NAMED.get(header.acquisition_contrast, "other") if header.acquisition_contrast else None


SPOKEN = (
    ("other", {"density"}),
    ("T1", {"t1flair", "mprage"}),
    ("FLAIR", {"flair"}),
    ("STIR", {"stir"}),
    ("ADC", {"adc"}),
    ("DWI", {"dwi"}),
    ("T1", {"t1"}),
    ("T2", {"t2"}),
)


def _spoken(header: SeriesHeader, words: Words) -> str | None:
    for said in (words, words_in(header.protocol)):
        for contrast, several in SPOKEN:
            if said & several:
                return contrast
    return None


def _enhanced(header: SeriesHeader) -> bool:
    """Tell whether a contrast agent was given."""
    words = words_in(header.description) or words_in(header.protocol)
    if "precontrast" in words:
        return False
    return header.contrast_agent.strip().casefold() not in NO_AGENT or "contrast" in words


NO_AGENT = frozenset(
    {"", "-", "0", "n", "no", "non", "none", "nil", "n/a", "na", "false", "without", "ohne", "nein", "kein", "keine"}
    | {"sans", "aucun", "sin", "ninguno", "senza", "nessuno", "sem", "nao", "não", "geen", "zonder", "yok", "brak"}
)
"""What consoles write into ContrastBolusAgent where none was given."""

RULES: tuple[Callable[[SeriesHeader, Words], str | None], ...] = (
    _modality,
    _derived,
    _diffusion,
    _star,
    _inversion,
    _gradient,
    _spin,
    _named,
    _spoken,
)

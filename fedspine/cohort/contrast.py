"""Tell which contrast a series shows, from how it was acquired first and from its free text second.

The order of the rules (the first that applies decides):

1. CT is CT; a localizer of any modality is `other`.
2. Derived pictures that are no anatomy (phase, fractional anisotropy, subtraction, projection, fat fraction, maps of
   T1, T2 or the field) are `other`; a derived map called ADC is `ADC`, its exponential is `other`.
3. Diffusion weighting (b of 50 s/mm² or more, or ImageType says so) is `DWI`; the b = 0 picture of a diffusion series
   and any other echo-planar picture are `other`.
4. A name of T2*-weighting (T2*, MEDIC, MERGE, mFFE) or of susceptibility (SWI) is `other`: such series combine several
   echoes, and the header often gives the first, shortest one.
5. An inversion time tells `STIR` (80 to 400 ms, not gradient echo) and `FLAIR` (1,500 ms or more and not gradient
   echo); in between it is `T1`.
6. Gradient echo: echo time under 8 ms is `T1`; longer is T2*, which is `other`.
7. Spin echo: echo time under 40 ms is `T1` with a repetition time under 1,500 ms and proton density, which is `other`,
   with one over 1,800 ms; echo time of 60 ms or more is `T2`.
8. The contrast that an Enhanced object names itself (AcquisitionContrast).
9. Text: FLAIR, STIR, ADC, DWI, T1, T2, in this order.
10. Anything else is `other`.

`T1` becomes `T1c` with a contrast agent in the header or text; a text that says "pre" or "without" wins over a header
that names an agent, because consoles fill the agent in for the whole examination.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

STIR_FROM_MS, STIR_TO_MS, FLAIR_FROM_MS = 80.0, 400.0, 1500.0
DIFFUSION_FROM = 50.0
GRADIENT_T1_TO_MS = 8.0
SHORT_ECHO_TO_MS, LONG_ECHO_FROM_MS = 40.0, 60.0
SHORT_REPETITION_TO_MS, LONG_REPETITION_FROM_MS = 1500.0, 1800.0


@dataclass(frozen=True)
class SeriesHeader:
    """What the rules look at; `None` or empty where the header does not say.

    Times in milliseconds, b-value in s/mm². `scanning_sequence` holds DICOM's codes (SE, GR, EP, IR, RM) or the
    Enhanced words (SPIN, GRADIENT, BOTH).
    """

    modality: str = "MR"
    description: str = ""
    protocol: str = ""
    sequence: str = ""
    scanning_sequence: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    acquisition_contrast: str = ""
    contrast_agent: str = ""
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    b_value: float | None = None


def identify(header: SeriesHeader) -> str:
    """Return one of `cohort.patient.CONTRASTS` by the rules of this module.

    >>> identify(SeriesHeader(echo_time_ms=10, repetition_time_ms=500, contrast_agent="Gadovist"))
    'T1c'
    >>> identify(SeriesHeader(description="SAG STIR"))
    'STIR'
    """
    for rule in RULES:
        contrast = rule(header)
        if contrast is not None:
            return "T1c" if contrast == "T1" and _enhanced(header) else contrast
    return "other"


def _says(pattern: str, text: str) -> bool:
    """Tell whether a word of `text` matches; digits and letters may follow each other without a blank, as in t1tse."""
    return re.search(rf"(?<![a-z0-9])(?:{pattern})", text) is not None


def _text(header: SeriesHeader) -> str:
    """Return description and sequence names in lower case; the protocol only where there is no description."""
    return f"{header.description or header.protocol} {header.sequence}".lower().replace("_", " ")


def _modality(header: SeriesHeader) -> str | None:
    if "LOCALIZER" in header.image_type or _says(r"loc\b|locali[sz]er|scout|survey|pilot|topogram", _text(header)):
        return "other"
    return "CT" if header.modality == "CT" else None


# words of ImageType that mark a picture which is not plain anatomy
NOT_ANATOMY = frozenset(
    {"PHASE", "P", "PHASE MAP", "IMAGINARY", "I", "REAL", "R", "VELOCITY", "SUB", "SUBTRACTION"}
    | {"MIP", "MNIP", "MINIP", "MAX_IP", "PROJECTION IMAGE", "FAT", "F", "FF", "FAT_FRACTION"}
    | {"T1_MAP", "T1 MAP", "T2_MAP", "T2 MAP", "T2STAR_MAP", "FA", "EXP", "EADC", "FRACTIONAL_ANISOTROPY"}
    | {"B0", "B0 MAP", "B1", "B1 MAP", "FIELD_MAP"}
)


def _derived(header: SeriesHeader) -> str | None:
    words, text = set(header.image_type), _text(header)
    derived = "DERIVED" in words
    if words & NOT_ANATOMY or _says(r"e-?adc|exp(onential)?\b.*(adc|apparent)|field.?map|b1.?map|shim|calib", text):
        return "other"
    if "ADC" in words or (derived and _says(r"adc|apparent diff", text)):
        return "ADC"
    if derived and _says(r"fa\b|colfa|tensor|sub\b|subtr|mip\b|mpr thick|projected", text):
        return "other"
    return None


def _diffusion(header: SeriesHeader) -> str | None:
    words, text = set(header.image_type), _text(header)
    if "TRACEW" in words or (header.b_value or 0.0) >= DIFFUSION_FROM:
        return "DWI"
    named = "DIFFUSION" in words or _says(r"dwi|dti|dt high|diff|dw", text)
    if named and header.b_value is None:
        return "DWI"
    if named or "EP" in header.scanning_sequence or _says(r"\*?epfid|\*?ep2d|fmri|bold", text):
        return "other"
    return None


def _star(header: SeriesHeader) -> str | None:
    return "other" if _says(r"t2 ?(\*|star)|medic|merge|m-?ffe|swi", _text(header)) else None


def _gradient_echo(header: SeriesHeader) -> bool:
    codes = set(header.scanning_sequence)
    return bool(codes & {"GR", "GRADIENT"}) and not codes & {"SE", "SPIN", "BOTH"}


def _inversion(header: SeriesHeader) -> str | None:
    time_ms = header.inversion_time_ms
    if time_ms is None or time_ms < STIR_FROM_MS:  # a shorter one prepares the fat, not the contrast
        return None
    if _gradient_echo(header):
        return "T1"
    if time_ms <= STIR_TO_MS:
        return "STIR"
    return "FLAIR" if time_ms >= FLAIR_FROM_MS else "T1"


def _gradient(header: SeriesHeader) -> str | None:
    if not _gradient_echo(header) or header.echo_time_ms is None or header.echo_time_ms <= 0:
        return None
    if _says(r"fiesta|ciss|trufi|b-?ffe|bssfp|tof|angio|pc\b", _text(header)):
        return "other"
    return "T1" if header.echo_time_ms < GRADIENT_T1_TO_MS else "other"


def _spin(header: SeriesHeader) -> str | None:
    echo_ms, repetition_ms = header.echo_time_ms, header.repetition_time_ms
    if _gradient_echo(header) or not echo_ms or not repetition_ms:
        return None
    if _says(r"flair|dark.?fluid|stir|tirm", _text(header)):  # an inversion whose time the header keeps to itself
        return None
    if echo_ms >= LONG_ECHO_FROM_MS:
        return "T2"
    if echo_ms < SHORT_ECHO_TO_MS and repetition_ms < SHORT_REPETITION_TO_MS:
        return "T1"
    return "other" if echo_ms < SHORT_ECHO_TO_MS and repetition_ms > LONG_REPETITION_FROM_MS else None


# DICOM C.8.13.3.3.1; what is not here is no contrast of ours
NAMED = {"DIFFUSION": "DWI", "FLUID_ATTENUATED": "FLAIR", "STIR": "STIR", "T1": "T1", "T2": "T2", "UNKNOWN": None}


def _named(header: SeriesHeader) -> str | None:
    return NAMED.get(header.acquisition_contrast, "other") if header.acquisition_contrast else None


WORDS = (
    ("other", r"pd\b|proton"),
    ("T1", r"t1.?flair|mp-?rage|tfl3d"),
    ("FLAIR", r"(t2.?)?flair|dark.?fluid"),
    ("STIR", r"(t2.?)?stir|(t2.?)?tirm"),
    ("ADC", r"adc|apparent diff"),
    ("DWI", r"dwi|diff"),
    ("T1", r"t1"),
    ("T2", r"t2"),
)


def _words(header: SeriesHeader) -> str | None:
    for text in (_text(header), header.protocol.lower().replace("_", " ")):
        for contrast, pattern in WORDS:
            if _says(pattern, text):
                return contrast
    return None


def _enhanced(header: SeriesHeader) -> bool:
    """Tell whether a contrast agent was given."""
    text = f"{header.description} {header.protocol if not header.description else ''}".lower().replace("_", " ")
    if _says(r"pre\b|pre.?(contrast|gd|gad|km)|w/?o\b|without|native?\b|ohne|non.?contrast|unenhanced|-c\b", text):
        return False
    agent = header.contrast_agent.strip().lower()
    if agent not in ("", "none", "no", "n", "0", "nein", "false", "n/a", "na", "without", "ohne", "-"):
        return True
    return re.search(r"\+ ?c\b", text) is not None or _says(r"post\b|gd\b|gad|ce\b|km\b|contrast|with c\b|t1c\b", text)


RULES: tuple[Callable[[SeriesHeader], str | None], ...] = (
    _modality,
    _derived,
    _diffusion,
    _star,
    _inversion,
    _gradient,
    _spin,
    _named,
    _words,
)

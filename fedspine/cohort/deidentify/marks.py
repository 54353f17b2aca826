"""Refuse pictures that may show a person: text drawn into the pixels, captured screens, faces."""

from __future__ import annotations

from pydicom.dataset import Dataset

from fedspine.errors import SeriesError

CAPTURED = frozenset({"DV", "DF", "SD", "SI", "DRW"})
"""ConversionType of digitised video and film, scanned documents and images, and drawings (PS3.3 C.8.6.1)."""

SCREENS = frozenset({"SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE", "SCREEN CAPTURE", "SCREENSHOT", "SECONDARY CAPTURE"})
"""Words of ImageType that vendors give to pictures of a screen."""

WRITTEN_ON = frozenset({"US", "IVUS", "XA", "RF", "ES", "SC", "XC", "GM", "SM", "OP", "DOC", "HC", "OT", "SR"})
"""Modalities that write names into their pictures, or hold captures; none of them belongs to an MR or CT object."""


def refuse_pictures_of_persons(dataset: Dataset) -> None:
    """Raise a `SeriesError` where the header says that the pixels show more than anatomy.

    A header that is silent proves nothing: what MR and CT scanners draw into slices they seldom declare.
    """
    if _word(dataset, "BurnedInAnnotation") == "YES":
        raise SeriesError(
            "a picture must not have text burned into it", "one whose header says so", "export the series without"
        )
    if _word(dataset, "RecognizableVisualFeatures") == "YES":
        raise SeriesError(
            "a picture must not show a recognisable face",
            "one whose header says so",
            "remove the face, then set RecognizableVisualFeatures to NO",
        )
    image_type = dataset.get("ImageType") or []
    words = {str(word).strip().upper() for word in ([image_type] if isinstance(image_type, str) else image_type)}
    if _word(dataset, "ConversionType") in CAPTURED or words & SCREENS:
        raise SeriesError(
            "an image must come from a scanner", "a captured screen, film or document", "leave captures out"
        )
    if _word(dataset, "Modality") in WRITTEN_ON:
        raise SeriesError(
            "an MR or CT image must say so in its Modality", "another modality", "leave captures and reports out"
        )


def _word(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()

"""Values that vendors keep in private DICOM elements: b-value and coil.

Elements are found by their private creator, never by a fixed block. Sources: the vendors' conformance statements and
pydicom's private dictionary.
"""

from __future__ import annotations

import math

from pydicom.dataset import Dataset

# vendor's element of the b-value: group, creator, element within the block
B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
    (0x0065, "Image Private Header", 0x09),
)
COILS = ((0x0051, "SIEMENS MR HEADER", 0x0F),)
# GE adds a multiple of this to the b-value as a flag
GE_FLAG = 100_000


def b_value_of(dataset: Dataset) -> float | None:
    """Return the b-value in s/mm², the standard element first."""
    standard = _first(dataset.get("DiffusionBValue"))
    if standard is not None:
        return standard
    for group, creator, element in B_VALUES:
        value = _first(_private(dataset, group, creator, element))
        if value is not None:
            return value % GE_FLAG if group == 0x0043 else value
    return None


def coil_of(dataset: Dataset) -> str:
    """Return the receive coil that only a private element names, or an empty text."""
    for group, creator, element in COILS:
        value = _private(dataset, group, creator, element)
        if value:
            return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()
    return ""


def _private(dataset: Dataset, group: int, creator: str, element: int) -> object:
    try:
        return dataset.get_private_item(group, element, creator).value
    except (KeyError, ValueError):
        return None


def _first(value: object) -> float | None:
    """Return the first number in `value`: number, text with backslashes, list, or undecoded bytes of such text."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = value.split("\\")[0]
    elif hasattr(value, "__getitem__"):
        value = value[0] if len(value) else None  # type: ignore[arg-type]
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None

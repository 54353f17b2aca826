"""Values that vendors keep in private DICOM elements: b-value, direction of diffusion and coil.

Elements are found by their private creator, never by a fixed block. Sources: the vendors' conformance statements and
pydicom's private dictionary.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from pydicom.dataset import Dataset

# vendor's element of the b-value: group, creator, element within the block
B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
    (0x0065, "Image Private Header", 0x09),
)
# vendor's elements of the direction of diffusion: one of three numbers, or three of one
DIRECTIONS = (
    (0x0019, "SIEMENS MR HEADER", (0x0E,)),
    (0x0065, "Image Private Header", (0x37,)),
    (0x2005, "Philips MR Imaging DD 001", (0xB0, 0xB1, 0xB2)),
    (0x0019, "GEMS_ACQU_01", (0xBB, 0xBC, 0xBD)),
)
COILS = ((0x0051, "SIEMENS MR HEADER", 0x0F),)
# Siemens' CSA headers of image and series, and the coil's name in either
CSA_HEADERS = ((0x0029, "SIEMENS CSA HEADER", 0x10), (0x0029, "SIEMENS CSA HEADER", 0x20))
CSA_COILS = ("ImaCoilString", "CoilString")
# a real one has 150 kB at most; a larger one is not parsed
LARGEST_CSA = 1 << 20
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


def direction_of(dataset: Dataset) -> list[float]:
    """Return the direction of diffusion as (x, y, z), or an empty list.

    It tells the pictures of one series apart; vendors give it in axes of their own, so it is no geometry.
    """
    for group, creator, elements in DIRECTIONS:
        values: list[float] = []
        for element in elements:
            value = _private(dataset, group, creator, element)
            several = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
            values += [number for part in several if (number := _first(part)) is not None]  # type: ignore[attr-defined]
        if len(values) == 3:
            return values
    return []


def coil_of(dataset: Dataset) -> str:
    """Return the receive coil that only a private element names, or an empty text."""
    for group, creator, element in COILS:
        value = _private(dataset, group, creator, element)
        if value:
            return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()
    return _coil_in_csa(dataset)


def _coil_in_csa(dataset: Dataset) -> str:
    """Return the coil that only Siemens' CSA headers name, or an empty text."""
    tags = csa_of(dataset)
    names = [str(item).strip() for name in CSA_COILS for item in tags.get(name, ())]
    return names[0] if names else ""


def csa_of(dataset: Dataset) -> dict[str, list[Any]]:
    """Return the values of Siemens' CSA headers by name, the image's before the series'; a broken header has none."""
    found: dict[str, list[Any]] = {}
    for group, creator, element in CSA_HEADERS:
        value = _private(dataset, group, creator, element)
        if isinstance(value, bytes) and value.startswith(b"SV10") and len(value) <= LARGEST_CSA:
            try:
                tags = _csa_reader().read(value)["tags"]
                found = {name: list(tag["items"]) for name, tag in tags.items() if tag["items"]} | found
            except Exception:  # the parser raises anything on what is cut short
                continue
    return found


def _csa_reader() -> Any:
    """Return nibabel's parser, which calls itself experimental whenever it is loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom import csareader
    return csareader


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

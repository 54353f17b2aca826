"""One image plane as a DICOM header describes it, from top-level elements or from Enhanced functional groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from fedspine.cohort.dicom.private import b_value_of, direction_of
from fedspine.errors import SeriesError

SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM, FARTHEST_MM = 1e-3, 1e3, 1e5

# Enhanced objects use other names for three things
ALIASES = {"EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime", "FrameType": "ImageType"}


@dataclass(frozen=True)
class Frame:
    """One image plane as its header describes it.

    Args:
        position_mm: centre of the first voxel, (x, y, z) in LPS.
        orientation: direction cosines of increasing column index, then of increasing row index (DICOM's order).
        pixel_spacing_mm: (between rows, between columns).
        thickness_mm: distance to the next slice as the header gives it, else the slice's thickness.
        slope: rescale slope.
        intercept: rescale intercept.
        image_type: the values of ImageType.
        echo_time_ms: echo time.
        repetition_time_ms: RepetitionTime as the vendor means it.
        inversion_time_ms: inversion time.
        b_value: diffusion weighting in s/mm².
        gradient: direction of diffusion, (x, y, z).
        moment: temporal position, acquisition number and stack, which tell repeated planes apart.
        flip_angle_deg: flip angle.
        padding: of CT, the lowest and highest stored value that fills places which were not measured.
    """

    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    thickness_mm: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    image_type: tuple[str, ...] = ()
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    b_value: float | None = None
    gradient: tuple[float, ...] = ()
    moment: tuple[str, ...] = ()
    flip_angle_deg: float | None = None
    padding: tuple[float, ...] = ()


def number(value: object) -> float | None:
    """Return `value` (the first, if several) as a finite number, or `None`.

    >>> number("15000"), number(["0.5", "1"]), number("nan"), number("")
    (15000.0, 0.5, None, None)
    """
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else None  # type: ignore[arg-type, index]
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def listed(value: object) -> list[object]:
    """Return the values of an element as a list, however many it holds."""
    if value is None or value == "":
        return []
    return list(value) if not isinstance(value, str) and hasattr(value, "__iter__") else [value]


def words(value: object) -> str:
    """Return the values of an element as text, parted by blanks."""
    return " ".join(str(part).strip() for part in listed(value)).strip()


def flat(group: Dataset) -> dict[str, object]:
    """Return the values of a functional group by keyword, one level of sequences down."""
    found: dict[str, object] = {}
    for element in group:
        if element.VR == "SQ" and element.value:
            for inner in element.value[0]:
                if inner.VR == "SQ" and inner.value:
                    found |= {deep.keyword: deep.value for deep in inner.value[0] if deep.keyword}
                elif inner.keyword:
                    found[ALIASES.get(inner.keyword, inner.keyword)] = inner.value
    return found


def frames_of(dataset: Dataset) -> tuple[Frame, ...]:
    """Return the planes of an image file."""
    top = {name: dataset.get(name) for name in FRAME_KEYWORDS}
    top["DiffusionBValue"] = b_value_of(dataset)
    top["DiffusionGradientOrientation"] = dataset.get("DiffusionGradientOrientation") or direction_of(dataset)
    if dataset.get("Modality") == "CT":
        top |= {name: dataset.get(name) for name in PADDING_KEYWORDS}
    mapping = dataset.get("RealWorldValueMappingSequence")
    if mapping:
        top |= {name: mapping[0].get(name) for name in ("RealWorldValueSlope", "RealWorldValueIntercept")}
    if not dataset.get("PerFrameFunctionalGroupsSequence"):
        if int(number(dataset.get("NumberOfFrames")) or 1) > 1:
            raise SeriesError("planes must have positions", "a multi-frame file without", "export it as Enhanced DICOM")
        return (_frame(top),)
    shared = dataset.get("SharedFunctionalGroupsSequence")
    common = top | (flat(shared[0]) if shared else {})
    return tuple(_frame(common | flat(group)) for group in dataset.PerFrameFunctionalGroupsSequence)


FRAME_KEYWORDS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "ImageType",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "DiffusionGradientOrientation",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
)


PADDING_KEYWORDS = ("PixelPaddingValue", "PixelPaddingRangeLimit")


def position_of(value: object) -> tuple[float, ...]:
    """Return the (x, y, z) in millimetres of an ImagePositionPatient, or raise a `SeriesError`."""
    position = _numbers(value, 3)
    if not position:
        raise _nowhere()
    if max(map(abs, position)) > FARTHEST_MM:
        raise _impossible()
    return position


def _nowhere() -> SeriesError:
    return SeriesError(
        "an image must give its position, orientation and pixel spacing", "a header without them", "export it again"
    )


def _impossible() -> SeriesError:
    return SeriesError("an image must lie within reach of a scanner", "an impossible geometry", "export it again")


def _frame(values: Mapping[str, object]) -> Frame:
    """Return the plane that `values` (by DICOM keyword) describe."""
    position = position_of(values.get("ImagePositionPatient"))
    orientation = _numbers(values.get("ImageOrientationPatient"), 6)
    spacing = _numbers(values.get("PixelSpacing"), 2)
    if not orientation or not spacing:
        raise _nowhere()
    if not SMALLEST_VOXEL_MM <= min(spacing) <= max(spacing) <= LARGEST_VOXEL_MM:
        raise _impossible()
    image_type = tuple(str(value).strip().upper() for value in listed(values.get("ImageType")))
    slope, intercept = number(values.get("RescaleSlope")), number(values.get("RescaleIntercept"))
    if "DERIVED" in image_type and number(values.get("RealWorldValueSlope")):
        # of a map; the rescale of such files is often one to screen values
        slope, intercept = number(values.get("RealWorldValueSlope")), number(values.get("RealWorldValueIntercept"))
    return Frame(
        position_mm=position,
        orientation=orientation,
        pixel_spacing_mm=spacing,
        thickness_mm=_thickness(values),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        image_type=image_type,
        echo_time_ms=number(values.get("EchoTime")),
        repetition_time_ms=number(values.get("RepetitionTime")),
        inversion_time_ms=number(values.get("InversionTime")) or None,
        b_value=number(values.get("DiffusionBValue")),
        gradient=_numbers(values.get("DiffusionGradientOrientation"), 3),
        moment=tuple(words(values.get(name)) for name in MOMENT_KEYWORDS),
        flip_angle_deg=number(values.get("FlipAngle")),
        padding=_padding(values),
    )


def _thickness(values: Mapping[str, object]) -> float | None:
    """Return the distance between slices in millimetres, or their thickness; `None` where neither can be one."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        thickness_mm = abs(number(values.get(name)) or 0.0)  # some scanners count down
        if SMALLEST_VOXEL_MM <= thickness_mm <= LARGEST_VOXEL_MM:
            return thickness_mm
    return None


def _padding(values: Mapping[str, object]) -> tuple[float, ...]:
    """Return the lowest and highest stored value that means no voxel at all, none where the header names none."""
    found = [value for name in PADDING_KEYWORDS if (value := number(values.get(name))) is not None]
    return (min(found), max(found)) if found and number(values.get(PADDING_KEYWORDS[0])) is not None else ()


MOMENT_KEYWORDS = ("TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "StackID")


def _numbers(value: object, count: int) -> tuple[float, ...]:
    """Return `count` finite numbers, or none at all."""
    found = [number(part) for part in listed(value)]
    return tuple(part for part in found if part is not None) if len(found) == count and None not in found else ()

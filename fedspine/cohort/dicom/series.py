"""Sort the planes of a series into stacks with an exact geometry, from headers alone.

One series may hold several stacks: other orientations, echoes, b-values, kinds of image, directions or moments. Each
becomes its own stack. Slices sort by position along the normal of their plane, never by file name or number; a stack
with a slice missing in the middle is refused, because its spacing would be wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.contrast import SeriesHeader, identify
from fedspine.cohort.dicom.frame import Frame
from fedspine.cohort.dicom.header import FileHeader
from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import Scanner
from fedspine.cohort.scanner import repetition_of
from fedspine.errors import SeriesError

SAME_ORIENTATION = 1e-3
SAME_ANGLE = 1e-2
SAME_POSITION_MM = 1e-2
# how far a slice may lie from its place, as a share of the distance between slices
IRREGULAR = 0.02
# the share of a stack's positions that one moment must fill to be a stack of its own
WHOLE = 0.9
# a lone slice across a series of at least this many is a stray, not a stack; localizers have one slice a direction
STRAY_FROM = 3


@dataclass(frozen=True)
class Plane:
    """One frame of one file.

    Args:
        file: place within the site folder.
        index: number of the frame in the file.
        header: the file's header.
        frame: the plane's own header.
    """

    file: str = field(repr=False)
    index: int
    header: FileHeader = field(repr=False)
    frame: Frame = field(repr=False)


@dataclass(frozen=True, eq=False)
class Stack:
    """The planes of one volume, before their pixels are read.

    Args:
        planes: for each slice in order its planes; more than one where a slice was sent twice.
        affine: (4, 4), (slice, row, column, 1) to LPS millimetres.
        contrast: one of `cohort.patient.CONTRASTS`.
        scanner: how it was acquired.
    """

    planes: tuple[tuple[Plane, ...], ...] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    contrast: str
    scanner: Scanner

    @property
    def header(self) -> FileHeader:
        """The header of the first slice's file."""
        return self.planes[0][0].header

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns) in voxels."""
        return len(self.planes), *self.header.shape

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid(self.shape, self.affine)

    @property
    def plane(self) -> int:
        """The patient axis that the slices are stacked along: 0 sagittal, 1 coronal, 2 axial."""
        return int(np.argmax(np.abs(self.affine[:3, 0])))

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of the stack, each once."""
        return tuple(dict.fromkeys(plane.file for slice_planes in self.planes for plane in slice_planes))


def stacks_of(planes: Sequence[Plane]) -> tuple[list[Stack], list[tuple[str, SeriesError]]]:
    """Return the stacks in the planes of one series, and what was refused with its place."""
    stacks, refused = [], []
    groups = [part for group in _by(planes, _kind) for part in _by_orientation(group)]
    largest = max((len(group) for group in groups), default=0)
    for group in groups:
        place = min(plane.file for plane in group)
        try:
            if len(group) == 1 and largest >= STRAY_FROM and len(_by_orientation(planes)) > 1:
                raise SeriesError(
                    "the slices of a series must share one orientation", "a slice that lies across", "export it again"
                )
            parts = _by_moment(group)
        except SeriesError as error:
            refused.append((place, error))
            continue
        for part in parts:
            try:
                stacks.append(_stack(part))
            except SeriesError as error:
                refused.append((min(plane.file for plane in part), error))
    return stacks, refused


def _by(planes: Iterable[Plane], key: Callable[[Plane], Hashable]) -> list[list[Plane]]:
    groups: dict[Hashable, list[Plane]] = defaultdict(list)
    for plane in planes:
        groups[key(plane)].append(plane)
    return list(groups.values())


def _kind(plane: Plane) -> Hashable:
    """Return what all slices of a stack share exactly."""
    frame = plane.frame
    echo_ms = None if frame.echo_time_ms is None else round(frame.echo_time_ms, 1)
    spacing_mm = tuple(round(step, 4) for step in frame.pixel_spacing_mm)
    return (
        plane.header.modality,
        plane.header.shape,
        plane.header.tiles,
        spacing_mm,
        echo_ms,
        frame.b_value,
        frame.image_type,
    )


def _by_orientation(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Group planes whose direction cosines agree; rounding to a grid would part neighbours at its edges."""
    groups: list[list[Plane]] = []
    for plane in planes:
        for group in groups:
            first = group[0].frame.orientation
            if max(abs(a - b) for a, b in zip(first, plane.frame.orientation, strict=True)) < SAME_ORIENTATION:
                group.append(plane)
                break
        else:
            groups.append([plane])
    return groups


def _by_moment(planes: list[Plane], first: int = 0) -> list[list[Plane]]:
    """Part planes that repeat a position by direction of diffusion or by moment, where the header tells them apart.

    A value parts the planes only if one of its parts fills the stack: a scanner may also number interleaved halves of
    one stack, which must stay together.
    """
    _, slices = _sorted(planes)
    if len(slices) == len(planes):
        return [planes]
    keys = (_gradient, *(_moment(number) for number in range(len(planes[0].frame.moment))))
    for number in range(first, len(keys)):
        parts = _by(planes, keys[number])
        if len(parts) > 1 and max(len(_sorted(part)[1]) for part in parts) >= WHOLE * len(slices):
            return [inner for part in parts for inner in _by_moment(part, number + 1)]
    return [planes]


def _gradient(plane: Plane) -> Hashable:
    return tuple(round(cosine, 3) for cosine in plane.frame.gradient)


def _moment(number: int) -> Callable[[Plane], Hashable]:
    return lambda plane: plane.frame.moment[number]


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Return the unit normal of a plane: the cross product of the row's and the column's direction (DICOM C.7.6.2).

    >>> normal_of([1, 0, 0, 0, 1, 0]).tolist()
    [0.0, 0.0, 1.0]
    """
    row, column = np.asarray(orientation[:3], np.float64), np.asarray(orientation[3:], np.float64)
    normal: NDArray[np.float64] = np.cross(row, column)
    length = float(np.linalg.norm(normal))
    if abs(length - 1.0) > SAME_ANGLE or abs(float(row @ column)) > SAME_ANGLE:
        raise SeriesError("direction cosines must be at right angles and of length 1", "others", "export it again")
    return normal / length


def _sorted(planes: Sequence[Plane]) -> tuple[NDArray[np.float64], list[list[Plane]]]:
    """Return the slice positions (slice, 3) in millimetres and the planes of each, along the normal."""
    normal = normal_of(planes[0].frame.orientation)
    positions_mm = np.asarray([plane.frame.position_mm for plane in planes], np.float64)
    along_mm = positions_mm @ normal
    # the second key makes the order of copies independent of the order of files
    order = sorted(range(len(planes)), key=lambda i: (along_mm[i], planes[i].file, planes[i].index))
    slices: list[list[Plane]] = []
    starts: list[int] = []
    for i in order:
        if starts and along_mm[i] - along_mm[starts[-1]] < SAME_POSITION_MM:
            slices[-1].append(planes[i])
        else:
            starts.append(i)
            slices.append([planes[i]])
    return positions_mm[starts], slices


def _stack(planes: Sequence[Plane]) -> Stack:
    """Return the stack of planes of one kind and orientation; a `SeriesError` when their positions do not make one."""
    positions_mm, slices = _sorted(planes)
    frame, header = slices[0][0].frame, slices[0][0].header
    step_mm = _step(positions_mm, normal_of(frame.orientation), frame.thickness_mm or 1.0)
    affine = np.eye(4)
    affine[:3, 0] = step_mm
    affine[:3, 1] = np.asarray(frame.orientation[3:]) * frame.pixel_spacing_mm[0]
    affine[:3, 2] = np.asarray(frame.orientation[:3]) * frame.pixel_spacing_mm[1]
    affine[:3, 3] = positions_mm[0]
    described = series_header(header, frame)
    repetition_ms, spacing_ms = repetition_of(described)
    scanner = replace(
        header.scanner,
        echo_time_ms=frame.echo_time_ms,
        repetition_time_ms=repetition_ms,
        inversion_time_ms=frame.inversion_time_ms,
        b_value=frame.b_value,
        flip_angle_deg=frame.flip_angle_deg,
        excitation_spacing_ms=spacing_ms,
    )
    return Stack(tuple(map(tuple, slices)), affine, identify(described), scanner)


def _step(positions_mm: NDArray[np.float64], normal: NDArray[np.float64], thickness_mm: float) -> NDArray[np.float64]:
    """Return the step from slice to slice in millimetres; refuse slices that do not lie on one regular line."""
    count = len(positions_mm)
    if count == 1:
        return normal * thickness_mm  # one slice has no neighbour
    step: NDArray[np.float64] = (positions_mm[-1] - positions_mm[0]) / (count - 1)
    line = positions_mm[0] + np.arange(count)[:, None] * step
    off = float(np.abs(positions_mm - line).max()) / float(np.linalg.norm(step))
    if off > IRREGULAR:
        gaps_mm = np.diff(positions_mm @ normal)
        raise SeriesError(
            "slices must lie at equal distances",
            f"{count} slices {gaps_mm.min():.2f} to {gaps_mm.max():.2f} mm apart",
            "export the missing slices too",
        )
    return step


def series_header(header: FileHeader, frame: Frame) -> SeriesHeader:
    """Return what `cohort.contrast` looks at."""
    text = header.text
    codes = (text.get("ScanningSequence") or text.get("EchoPulseSequence", "")).upper().split()
    codes += ["EP"] if text.get("EchoPlanarPulseSequence") == "YES" else []
    return SeriesHeader(
        modality=header.modality,
        description=text.get("SeriesDescription", ""),
        protocol=text.get("ProtocolName", ""),
        sequence=f"{text.get('SequenceName', '')} {text.get('PulseSequenceName', '')}".strip(),
        scanning_sequence=tuple(codes),
        variant=tuple(text.get("SequenceVariant", "").upper().split()),
        acquisition_contrast=text.get("AcquisitionContrast", ""),
        image_type=frame.image_type,
        contrast_agent=text.get("ContrastBolusAgent", ""),
        echo_time_ms=frame.echo_time_ms,
        repetition_time_ms=frame.repetition_time_ms,
        inversion_time_ms=frame.inversion_time_ms,
        flip_angle_deg=frame.flip_angle_deg,
        b_value=frame.b_value,
        unit=text.get("RescaleType", "").upper(),
    )

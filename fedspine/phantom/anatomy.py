"""The anatomy of one person: the curves and measures of a spine, whichever part of it an examination shows.

Everything is laid out in the spine's own frame and bent afterwards: `ap_mm` runs from front to back with its origin at
the centre of the canal, `along_mm` from the top of C1 to the feet, `lateral_mm` along the slices. Sagittal angles lie
in the typical range of adults lying on their back, and are not from one source; the Cobb angle of a scoliosis is
10 degrees or more by definition (Cobb 1948).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import levels
from fedspine.phantom.view import FINER, View

YOUNGEST, OLDEST = 18.0, 88.0
SCOLIOTIC = 0.10
"""Share of people with a Cobb angle of 10 degrees or more."""

STEP_MM = 0.5
TABLE_MM = np.arange(-60.0, float(levels.EDGES_MM[-1]) + 240.0, STEP_MM)
"""The centre line is tabulated at these places along the spine."""
_ANGLE_LEVELS = ("C1", "C2", "C7", "T1", "T7", "T12", "L1", "L3", "L5", "S1", "S3")
_ANGLE_AT_MM = np.array([levels.MIDDLE_MM[levels.LEVELS.index(name)] for name in _ANGLE_LEVELS])


@dataclass(frozen=True)
class Anatomy:
    """The measures of one spine; lengths in mm.

    Args:
        scale: size relative to an average spine, whose sizes `levels` holds.
        angles: the tangent's angle to the vertical in degrees at C1, C2, C7, T1, T7, T12, L1, L3, L5, S1 and S3;
            positive where the way down leads backwards.
        cobb_deg: angle of the main lateral curve.
        apex_mm, wave_mm: where along the spine that curve is furthest out, and the length of its whole wave.
        side: the side it is convex to, 1 or -1.
        canal_mm: half depth of the canal.
        cord_mm: half depth of the cord.
        muscle_mm, fat_mm: thickness behind the canal.
        front_mm: distance from the canal to the air in front.
        leanness: 0 to 1, how much muscle there is where else fat would lie.
    """

    scale: float
    angles: tuple[float, ...] = field(repr=False)
    cobb_deg: float
    apex_mm: float
    wave_mm: float
    side: float
    canal_mm: float
    cord_mm: float
    muscle_mm: float
    fat_mm: float
    front_mm: float
    leanness: float


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates of the fine grid in the spine's frame; float32, mm of an average spine.

    Args:
        ap_mm: (row, column), from front to back, 0 at the centre of the canal.
        along_mm: (row, column), from the top of C1 to the feet along the spine.
        lateral_mm: (slice, row), 0 at the midline of the spine.
        behind_mm: (row, column), like `ap_mm`, but from a line that follows the spine smoothly: soft tissue and skin.
        beside_mm: (row,), like `along_mm`: the place of the spine at the same height.
    """

    ap_mm: NDArray[np.float32] = field(repr=False)
    along_mm: NDArray[np.float32] = field(repr=False)
    lateral_mm: NDArray[np.float32] = field(repr=False)
    behind_mm: NDArray[np.float32] = field(repr=False)
    beside_mm: NDArray[np.float32] = field(repr=False)


def draw_age(stream: np.random.Generator) -> float:
    """Draw a patient's age in years."""
    return float(np.round(stream.uniform(YOUNGEST, OLDEST), 1))


def draw_anatomy(stream: np.random.Generator, *, age: float) -> Anatomy:
    """Draw a spine; the aged are more stooped, leaner in muscle and more often scoliotic."""
    old = (age - YOUNGEST) / (OLDEST - YOUNGEST)
    kyphosis = float(np.clip(stream.normal(34.0 + 10.0 * old, 8.0), 15.0, 65.0))
    lordosis = float(np.clip(stream.normal(50.0 - 4.0 * old, 9.0), 22.0, 75.0))
    neck = float(np.clip(stream.normal(14.0, 9.0), -8.0, 35.0))
    l1 = -0.30 * lordosis + float(stream.normal(0.0, 3.0))
    t1, s1 = l1 + 2.0 + kyphosis, l1 + lordosis
    angles = (
        *(t1 - neck - 4.0, t1 - neck, t1, t1, l1 + 0.45 * kyphosis, l1 + 2.0, l1, l1 + 0.33 * lordosis),
        *(l1 + 0.70 * lordosis, s1, s1 + float(stream.uniform(5.0, 25.0))),
    )
    scoliotic = bool(stream.uniform() < SCOLIOTIC * (0.6 + 0.8 * old))
    cobb = float(np.clip(10.0 + stream.exponential(9.0), 10.0, 40.0)) if scoliotic else float(stream.uniform(0.0, 6.0))
    return Anatomy(
        scale=float(np.clip(stream.normal(1.0, 0.06), 0.85, 1.15)),
        angles=angles,
        cobb_deg=cobb,
        apex_mm=float(levels.MIDDLE_MM[int(stream.choice((14, 20)))] + stream.uniform(-30.0, 30.0)),
        wave_mm=float(stream.uniform(280.0, 420.0)),
        side=float(stream.choice((-1.0, 1.0))),
        canal_mm=float(stream.uniform(7.5, 9.5)),
        cord_mm=float(stream.uniform(3.6, 4.6)),
        muscle_mm=float(stream.uniform(28.0, 42.0)),
        fat_mm=float(stream.uniform(5.0, 26.0)),
        front_mm=float(stream.uniform(95.0, 175.0)),
        leanness=float(np.clip(stream.normal(0.75 - 0.45 * old, 0.12), 0.05, 0.95)),
    )


Line = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def centre_line(anatomy: Anatomy, turn_deg: float = 0.0, smooth_mm: float = 0.0) -> Line:
    """Return (back_mm, down_mm, angle) of the canal at every place of the table along the spine, each (place,).

    The spine is turned by `turn_deg`. With `smooth_mm`, the angle is averaged over that length: so skin follows.
    """
    angle = np.deg2rad(np.interp(TABLE_MM, _ANGLE_AT_MM, anatomy.angles) - turn_deg)
    if smooth_mm:
        width = int(smooth_mm / STEP_MM)
        total = np.cumsum(np.concatenate([np.full(width, angle[0]), angle, np.full(width, angle[-1])]))
        angle = (total[2 * width :] - total[: -2 * width]) / (2 * width)
    return np.cumsum(np.sin(angle)) * STEP_MM, np.cumsum(np.cos(angle)) * STEP_MM, angle


def sideways_mm(anatomy: Anatomy, along_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the spine lies aside at these places: a wave whose angle between inflections is the Cobb angle."""
    slope = np.tan(np.deg2rad(anatomy.cobb_deg) / 2.0)
    turns = 2.0 * np.pi * (along_mm - anatomy.apex_mm) / anatomy.wave_mm
    return np.asarray(anatomy.side * slope * anatomy.wave_mm / (2.0 * np.pi) * np.cos(turns))


def turn_of(anatomy: Anatomy, level: int) -> float:
    """Return the degrees by which a patient's head and shoulders are bedded so that the level lies more upright."""
    if level >= levels.L1:
        return 0.0
    return 0.7 * float(np.interp(levels.MIDDLE_MM[level], _ANGLE_AT_MM, anatomy.angles))


def frame_of(anatomy: Anatomy, view: View) -> Frame:
    """Bend the fine grid of a view straight."""
    slices, rows, columns = (FINER * length for length in view.shape)
    step_mm = view.pixel_mm / FINER / anatomy.scale
    turn = turn_of(anatomy, view.level)
    back, down, angle = centre_line(anatomy, turn)
    here = _index(float(levels.MIDDLE_MM[view.level]))
    down_mm = (np.arange(rows) - (rows - 1) / 2) * step_mm - view.offset_mm / anatomy.scale + down[here]
    back_mm = (np.arange(columns) + 0.5 - columns * view.column) * step_mm + back[here]
    place = np.interp(down_mm, down, TABLE_MM)[:, None]
    sine, cosine = np.sin(angle), np.cos(angle)
    # the nearest place on the line: three steps of Newton from the one at the same height
    for _ in range(3):
        index = _index(place)
        ahead = (down_mm[:, None] - down[index]) * cosine[index] + (back_mm - back[index]) * sine[index]
        place = TABLE_MM[index] + np.clip(ahead, -25.0, 25.0)
    index = _index(place)
    across = (back_mm - back[index]) * cosine[index] - (down_mm[:, None] - down[index]) * sine[index]
    smooth_back, smooth_down, _ = centre_line(anatomy, turn, smooth_mm=70.0)
    shift = np.interp(levels.MIDDLE_MM[view.level], TABLE_MM, back - smooth_back)
    skin = np.interp(down_mm, smooth_down, smooth_back) + shift
    # the points of a slice lie within its thickness, not within the gap
    middle_mm = (np.arange(view.shape[0]) - (view.shape[0] - 1) / 2) * view.gap_mm
    within_mm = ((np.arange(FINER) + 0.5) / FINER - 0.5) * view.thickness_mm
    aside_mm = ((middle_mm[:, None] + within_mm[None, :]).reshape(slices) + view.aside_mm) / anatomy.scale
    spine = sideways_mm(anatomy, np.interp(down_mm, down, TABLE_MM))
    spine = spine - sideways_mm(anatomy, levels.MIDDLE_MM[view.level : view.level + 1])
    return Frame(
        ap_mm=across.astype(np.float32),
        along_mm=place.astype(np.float32),
        lateral_mm=(aside_mm[:, None] - spine[None, :]).astype(np.float32),
        behind_mm=(back_mm[None, :] - skin[:, None]).astype(np.float32),
        beside_mm=np.interp(down_mm, down, TABLE_MM).astype(np.float32),
    )


def _index(place_mm: float | NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the nearest entry of the table."""
    steps = np.rint((np.asarray(place_mm) - TABLE_MM[0]) / STEP_MM)
    return np.asarray(np.clip(steps, 0, len(TABLE_MM) - 1).astype(np.intp))

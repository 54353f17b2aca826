"""Spinal implants of titanium: pedicle screws and rods, and what the metal does to the image.

A simple form of what Hargreaves et al. 2011, AJR 197:547, describe: metal gives no signal, and its susceptibility pulls
the field around it, so that spins there lose phase (a void) or land elsewhere (a bright rim on one side, along the
direction of frequency encoding). The disturbance grows with the field strength; a spin echo refocuses most of it, an
echo-planar image almost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, shift

from fedspine.phantom import levels
from fedspine.phantom.anatomy import Anatomy, Frame
from fedspine.phantom.shapes import paint_ball
from fedspine.phantom.tissue import Tissue

SHARE = 0.04
"""Share of patients who carry an implant."""
_ROD_MM, _SCREW_MM = 3.2, 3.4
VOID_MM = {"spin echo": 1.6, "inversion recovery": 2.4, "echo planar": 8.0}
"""How far the void reaches beyond the metal at 1.5 T; typical of titanium, not from one source."""
_PILE_UP = 0.7


@dataclass(frozen=True)
class Implant:
    """Screws in these levels, both sides, joined by rods; `first` to `last` are indices into `levels.LEVELS`."""

    first: int
    last: int


def draw_implant(stream: np.random.Generator, *, age: float, level: int) -> Implant | None:
    """Draw an implant near the imaged level, or none; the neck's are not drawn, for they are rarely screwed so."""
    has, reach = stream.uniform(size=2)
    if level < levels.T1 or has >= SHARE * (0.5 + age / 80.0):
        return None
    first = min(levels.L5, max(levels.T1, level + int(stream.integers(-2, 2))))
    return Implant(first, min(levels.S1, first + 1 + int(2 * reach)))


def paint_implant(tissues: NDArray[np.uint8], anatomy: Anatomy, frame: Frame, implant: Implant) -> None:
    """Draw screws through the pedicles and rods behind them, in place."""
    canal_mm = anatomy.canal_mm
    beside_mm, behind_mm = canal_mm + 6.0, canal_mm + 14.0
    places = [float(levels.MIDDLE_MM[level]) - 2.0 for level in range(implant.first, implant.last + 1)]
    for side in (-beside_mm, beside_mm):
        for along_mm in places:
            ahead_mm = -(canal_mm + 0.35 * float(levels.DEPTH_MM[implant.first]))
            centre = ((ahead_mm + behind_mm) / 2, along_mm, side)
            paint_ball(tissues, frame, centre, ((behind_mm - ahead_mm) / 2, _SCREW_MM, _SCREW_MM), Tissue.METAL)
        rod_mm = (places[0] + places[-1]) / 2, (places[-1] - places[0]) / 2 + 10.0
        paint_ball(tissues, frame, (behind_mm, rod_mm[0], side), (_ROD_MM, rod_mm[1], _ROD_MM), Tissue.METAL)


def disturbance(
    metal: NDArray[np.bool_], spacing_mm: tuple[float, float, float], sequence: str, field_tesla: float
) -> NDArray[np.float32]:
    """Return the factor by which metal changes the signal, (slice, row, column): 0 in the void, above 1 at its rim.

    Args:
        metal: voxels that hold metal.
        spacing_mm: along (slice, row, column).
        sequence: a key of `VOID_MM`.
        field_tesla: the void's radius grows with it.
    """
    reach_mm = VOID_MM[sequence] * (field_tesla / 1.5) ** (2.0 / 3.0)
    distance = distance_transform_edt(~metal, sampling=spacing_mm)
    factor = np.clip(distance / reach_mm - 0.5, 0.0, 1.0)
    # what left the void was moved along the rows and piles up below it
    void = (distance < reach_mm).astype(np.float32)
    moved_rows = max(1.0, 0.8 * reach_mm / spacing_mm[1])
    rim = shift(void, (0.0, moved_rows, 0.0), order=1, mode="constant") * (distance >= reach_mm)
    return np.asarray(factor * (1.0 + _PILE_UP * rim), dtype=np.float32)

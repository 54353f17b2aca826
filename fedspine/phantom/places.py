"""Where the vertebrae of a phantom lie in its image: the truth of whoever looks for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.levels import VERTEBRAE, nowhere
from fedspine.phantom import levels
from fedspine.phantom.anatomy import STEP_MM, TABLE_MM, Anatomy, centre_line, sideways_mm, turn_of
from fedspine.phantom.view import View
from fedspine.phantom.wear import Wear

WIDTH = 0.68
"""Half the width of a body as a share of its depth, as `bones` draws it."""


def level_places(anatomy: Anatomy, wear: Wear, view: View) -> NDArray[np.float64]:
    """Return the centres of the vertebral bodies, (level, 3) as (slice, row, column) of the image; NaN out of it.

    The inverse of `anatomy.frame_of` at the middle of each body as `bones` draws it; the ring of C1 has none, and the
    dens within it counts. Where the spine curves out of the slices, the last slice that cuts the body is given.
    """
    back, down, angle = centre_line(anatomy, turn_of(anatomy, view.level))
    collapse = np.array([disc.collapse for disc in wear.discs])[: len(VERTEBRAE)]
    seen = slice(len(VERTEBRAE))
    share = levels.DISC_SHARE[seen] * (1.0 - collapse)
    along_mm = levels.EDGES_MM[:-1][seen] + levels.PITCH_MM[seen] * (1.0 - share) / 2
    ahead_mm = -(anatomy.canal_mm + 1.5 + levels.DEPTH_MM[seen] / 2)
    here = int(np.rint((levels.MIDDLE_MM[view.level] - TABLE_MM[0]) / STEP_MM))
    back_mm, down_mm, turn = (np.interp(along_mm, TABLE_MM, values) for values in (back, down, angle))
    back_mm = back_mm + ahead_mm * np.cos(turn) - back[here]
    down_mm = down_mm - ahead_mm * np.sin(turn) - down[here]
    # at the height of a point, not of its level: so the frame bends the spine aside
    aside_mm = sideways_mm(anatomy, np.interp(down_mm + down[here], down, TABLE_MM))
    aside_mm = aside_mm - sideways_mm(anatomy, levels.MIDDLE_MM[view.level : view.level + 1])
    slices, rows, columns = view.shape
    places = nowhere()
    places[:, 0] = (aside_mm * anatomy.scale - view.aside_mm) / view.gap_mm + (slices - 1) / 2
    places[:, 1] = (down_mm * anatomy.scale + view.offset_mm) / view.pixel_mm + (rows - 1) / 2
    places[:, 2] = back_mm * anatomy.scale / view.pixel_mm + columns * view.column - 0.5
    reach = WIDTH * levels.DEPTH_MM[seen] * anatomy.scale / view.gap_mm
    cut = (places[:, 0] > -0.5 - reach) & (places[:, 0] < slices - 0.5 + reach)
    within = (places[:, 1:] >= -0.5).all(1) & (places[:, 1:] < np.array([rows, columns]) - 0.5).all(1)
    places[:, 0] = np.clip(places[:, 0], 0, slices - 1)
    places[~(cut & within)] = np.nan
    return places

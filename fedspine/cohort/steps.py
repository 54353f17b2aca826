"""What a plan may do to a CT image before it is trained on: named steps, each a pure function of one patient's volume.

They run in the order of `config.STEPS`: an isolation in Hounsfield units on the whole volume, then a window, scaling
to [0, 1] and CLAHE on the slices that are used. Without any step a CT is scaled from [-1000, 1000] HU to [0, 1], and
that is also what a missing `scale` falls back to. `clahe` also applies to MR, on values that are in [0, 1] already;
everything else is for CT alone.

A step that finds nothing to isolate leaves the image as it is and says so; it never fails a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedspine.cohort.patient import AIR_HU
from fedspine.errors import SeriesError

Image = NDArray[np.float32]
Region = NDArray[np.bool_]

FULL_HU = (-1000.0, 1000.0)
"""The range that becomes [0, 1] where the plan names no window: air to compact bone."""


@dataclass(frozen=True)
class Window:
    """A window of Hounsfield units.

    Args:
        level: its middle.
        width: from black to white.
    """

    level: float
    width: float

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value that it shows."""
        return self.level - self.width / 2, self.level + self.width / 2


WINDOWS = {
    "window-bone": Window(400.0, 1800.0),
    "window-soft-tissue": Window(50.0, 400.0),
    "window-lung": Window(-600.0, 1500.0),
}
"""The usual presets of a reading room (Radiopaedia, "Windowing (CT)", rID 52108; Hoang et al. 2010, AJR 195:W132)."""

BODY_FROM_HU = -500.0
"""Between air with its noise and fat (-100)."""
LUNG_TO_HU = -320.0
"""Between lung (-850 to -500) and soft tissue (0 to 60); used so on LIDC-IDRI and LUNA16, near Otsu's threshold."""
COARSE_MM = 2.0
"""Regions are found on voxels of about this size: organs are centimetres large."""
TABLE_MM = 4.0
"""Radius that parts the body from what it touches: a table's sheet is thinner than twice this."""
LUNG_CLOSING_MM = 8.0
"""Radius that takes vessels and small nodules at the wall back into the lung."""
DENT_MM2 = 600.0
"""A dent of a lung in a slice that is smaller is a nodule at the wall (28 mm across), a larger one is heart or liver.

On 25 phantoms with a malignant nodule, 94 % of its voxels stay (89 % without the dents) at a Dice of 0.98 of the lungs.
What is lost is of nodules at the mediastinum and the diaphragm, which no threshold tells from those.
"""
SMALLEST_LUNG_ML = 50.0
"""Of one lung, where all of the chest is in view; in proportion where a part of it is."""
WHOLE_CHEST_MM = 150.0
AIRWAY_MM2 = 700.0
"""Larger than the trachea in a slice: at most 27 mm across in men (Breatnach et al. 1984, AJR 142:903)."""
AIRWAY_OFF = 0.2
"""How far from the middle of the body an airway's centre may lie, as a share of half its width."""


def isolated(
    steps: Sequence[str], voxels: NDArray[np.generic], spacing_mm: Sequence[float]
) -> tuple[Image, SeriesError | None]:
    """Return a CT volume after the isolation among `steps`, and what is to be said where it found nothing.

    Args:
        steps: names of a plan.
        voxels: (slice, row, column) in Hounsfield units.
        spacing_mm: along (slice, row, column).
    """
    image = np.asarray(voxels, np.float32)
    find = next((FINDERS[name] for name in steps if name in FINDERS), None)
    if find is None:
        return image, None
    region = find(image, spacing_mm)
    if region is None:
        return image, SeriesError(
            "the step must find its region in a CT image",
            "none",
            "the image was used as it is; leave the step out of the plan if others show no such region either",
        )
    return np.where(region, image, np.float32(AIR_HU)), None


def shown(steps: Sequence[str], values: Image, contrast: str) -> Image:
    """Return slices in about [0, 1] after window, scaling and CLAHE.

    Args:
        steps: names of a plan.
        values: (slice, row, column); Hounsfield units where `contrast` is CT, else in about [0, 1] already.
        contrast: one of `cohort.patient.CONTRASTS`.
    """
    if contrast == "CT":
        window = next((WINDOWS[name].range for name in steps if name in WINDOWS), FULL_HU)
        values = np.clip(values, *window)
        low, high = window if "scale" in steps else FULL_HU
        values = (values - np.float32(low)) / np.float32(high - low)
    return equalised(values) if "clahe" in steps else values


def equalised(values: Image, clip_limit: float = 0.01) -> Image:
    """Return each slice with its contrast equalised in tiles (CLAHE; Zuiderveld 1994, in scikit-image).

    It is another nonlinear map for every tile of every image, so an additive model of scanner effects (ComBat) no
    longer holds afterwards: see docs/how-to/use-ct.md before using it with `harmonise`.

    Args:
        values: (slice, row, column); what lies outside [0, 1] is clipped.
        clip_limit: how much a tile's contrast may be raised, from 0 to 1.
    """
    from skimage.exposure import equalize_adapthist  # takes a while to load, and most plans have no CLAHE

    clipped = np.clip(values, 0.0, 1.0)
    flat = [np.ptp(part) == 0 for part in clipped]  # an empty slice has no histogram to equalise
    return np.stack(
        [
            part if empty else equalize_adapthist(part, clip_limit=clip_limit).astype(np.float32)
            for part, empty in zip(clipped, flat, strict=True)
        ]
    )


def find_body(image: Image, spacing_mm: Sequence[float]) -> Region | None:
    """Return where the patient is, without the table, lungs and bowel gas included; `None` where nobody is.

    The largest connected part above `BODY_FROM_HU` after an opening, each slice's holes filled.
    """
    coarse, step, coarse_mm = _coarse(image, spacing_mm)
    dense = coarse > BODY_FROM_HU
    opened = _each_slice(dense, ndimage.binary_opening, _disc(TABLE_MM, coarse_mm))
    parts, count = ndimage.label(opened)
    if not count:
        return None
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    # what the opening took off the skin comes back, what it parted does not
    grown = ndimage.binary_dilation(largest, _disc(TABLE_MM, coarse_mm)[None]) & dense
    return _fine(np.stack([ndimage.binary_fill_holes(part) for part in grown]), step, image.shape)


def find_lungs(image: Image, spacing_mm: Sequence[float]) -> Region | None:
    """Return where the lungs are, with their vessels and nodules and without trachea; `None` where there are none.

    Air within the body below `LUNG_TO_HU` without the airways, of which the connected parts of at least
    `SMALLEST_LUNG_ML` count; a closing takes back what is dense in them.
    """
    coarse, step, coarse_mm = _coarse(image, spacing_mm)
    body = find_body(coarse, coarse_mm)
    if body is None:
        return None
    air = (coarse < LUNG_TO_HU) & body
    air = np.stack([_without_airways(*pair, coarse_mm) for pair in zip(air, body, strict=True)])
    parts, count = ndimage.label(air)
    millilitres = np.bincount(parts.ravel(), minlength=count + 1) * float(np.prod(coarse_mm)) / 1000.0
    least = SMALLEST_LUNG_ML * min(1.0, coarse.shape[0] * coarse_mm[0] / WHOLE_CHEST_MM)
    lungs = np.isin(parts, [one for one in range(1, count + 1) if millilitres[one] >= least])
    if not lungs.any():
        return None
    closed = _each_slice(lungs, ndimage.binary_closing, _disc(LUNG_CLOSING_MM, coarse_mm))
    filled = np.stack([_without_dents(ndimage.binary_fill_holes(part), coarse_mm) for part in closed])
    return _fine(filled & body, step, image.shape)


def _without_dents(lungs: Region, spacing_mm: Sequence[float]) -> Region:
    """Return the lungs of one slice (row, column) with small dents in their convex outline filled."""
    from skimage.morphology import convex_hull_image  # as with CLAHE

    parts, count = ndimage.label(lungs)
    filled = lungs.copy()
    for one in range(1, count + 1):
        lung = parts == one
        if lung.sum() < 3:
            continue
        dents, found = ndimage.label(convex_hull_image(lung) & ~lung)
        area_mm2 = np.bincount(dents.ravel(), minlength=found + 1) * spacing_mm[1] * spacing_mm[2]
        filled |= np.isin(dents, [dent for dent in range(1, found + 1) if area_mm2[dent] < DENT_MM2])
    return filled


def _without_airways(air: Region, body: Region, spacing_mm: Sequence[float]) -> Region:
    """Return the air of one slice (row, column) without small round parts in the middle: trachea and main bronchi."""
    parts, count = ndimage.label(air)
    columns = np.flatnonzero(body.any(0))
    if not count or not len(columns):
        return air
    middle, half = (columns[0] + columns[-1]) / 2, max((columns[-1] - columns[0]) / 2, 1.0)
    area_mm2 = np.bincount(parts.ravel(), minlength=count + 1) * spacing_mm[1] * spacing_mm[2]
    places = np.array(ndimage.center_of_mass(air, parts, range(1, count + 1)))
    off = np.abs(places[:, 1] - middle) / half
    airways = [one for one in range(1, count + 1) if area_mm2[one] < AIRWAY_MM2 and off[one - 1] < AIRWAY_OFF]
    return air & ~np.isin(parts, airways)


FINDERS: dict[str, Callable[[Image, Sequence[float]], Region | None]] = {
    "isolate-body": find_body,
    "isolate-lung": find_lungs,
}


def _coarse(image: Image, spacing_mm: Sequence[float]) -> tuple[Image, tuple[int, ...], tuple[float, ...]]:
    """Return every few voxels of an image, how many were left out along each axis, and the distance of those kept."""
    step = tuple(max(1, int(COARSE_MM / one)) for one in spacing_mm)
    kept = tuple(float(one * count) for one, count in zip(spacing_mm, step, strict=True))
    return image[:: step[0], :: step[1], :: step[2]], step, kept


def _fine(region: Region, step: tuple[int, ...], shape: tuple[int, ...]) -> Region:
    """Return a coarse region on the grid of the image it was found in, its outline smooth."""
    if step == (1, 1, 1):
        return region
    weights = region.astype(np.float32)
    for axis in range(3):  # linear along one axis after the other
        places = np.minimum(np.arange(shape[axis]) / step[axis], region.shape[axis] - 1)
        low = places.astype(np.intp)
        high = np.minimum(low + 1, weights.shape[axis] - 1)
        part = (places - low).astype(np.float32).reshape([-1 if one == axis else 1 for one in range(3)])
        weights = np.take(weights, low, axis) * (1 - part) + np.take(weights, high, axis) * part
    return np.asarray(weights >= 0.5)


def _disc(radius_mm: float, spacing_mm: Sequence[float]) -> Region:
    """Return a disc within a slice as a structuring element, at least one voxel of it."""
    rows, columns = (int(radius_mm / one) for one in spacing_mm[1:])
    down, across = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    return np.asarray((down * spacing_mm[1]) ** 2 + (across * spacing_mm[2]) ** 2 <= radius_mm**2)


def _each_slice(region: Region, change: Callable[..., Region], disc: Region) -> Region:
    """Apply a morphological operation to each slice; slices may be far apart. The border counts as outside."""
    rows, columns = disc.shape[0], disc.shape[1]
    padded = np.pad(region, ((0, 0), (rows, rows), (columns, columns)))
    changed = np.stack([change(part, disc) for part in padded])
    return changed[:, rows : rows + region.shape[1], columns : columns + region.shape[2]]

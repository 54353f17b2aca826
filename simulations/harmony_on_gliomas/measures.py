"""What is measured of a glioma and its head, from one patient alone, in blocks.

Contrasts are in the order of `idh_study.signs.CONTRASTS` (T1, FLAIR, T1c), axial, front at the top. A measure is NaN
where its contrast is missing or nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, label
from skimage.measure import regionprops

from fedspine.cohort.tensors import PatientTensors
from fedspine.evaluation.radiomics import NAMES, radiomic_features
from simulations.idh_study.signs import signs

Array = NDArray[np.float64]
Region = NDArray[np.bool_]

T1, FLAIR, T1C = range(3)
CONTRASTS = 3

BODY = 0.05
"""Above this share of the patient's own range a pixel is head."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BORDER = 2
"""Pixels on either side of the lesion's edge."""
FOCUS = 10
"""Pixels of the least part that counts as a focus of its own."""

INTENSITY = 2 + len(QUANTILES)
LESION, RELATION, FORM = 14, 11, 9


def intensity(patient: PatientTensors) -> Array:
    """Return mean, deviation and `QUANTILES` of the head's intensities per contrast, (21,)."""
    images, _, _ = _arrays(patient)
    rows = []
    for image in images:
        head = image[image > BODY]
        rows.append([head.mean(), head.std(), *np.quantile(head, QUANTILES)] if head.size else [math.nan] * INTENSITY)
    return np.array(rows).ravel()


def lesion(patient: PatientTensors) -> Array:
    """Return (14,): per contrast the head's mean and deviation, the lesion's less it, and its deviation; then its size.

    Size is the log of its pixels and the share of slices that show it.
    """
    images, inside, head = _arrays(patient)
    if not inside.any():
        return np.full(LESION, math.nan)
    rows = [[i[head].mean(), i[head].std(), i[inside].mean() - i[head].mean(), i[inside].std()] for i in images]
    return np.array([*np.ravel(rows), math.log(inside.sum()), inside.any((1, 2)).mean()])


def relation(patient: PatientTensors) -> Array:
    """Return how the lesion relates to the patient's own other tissue, (11,), in robust deviations of that tissue.

    Per contrast the median's distance; the log ratio of spreads in T1 and FLAIR; uptake of contrast agent (T1c - T1),
    its mean and its 95th percentile; FLAIR in the lesion's core less its rim (a tumour with the mutation may be dark
    inside of a bright rim: Patel et al. 2017, Clin Cancer Res 23:6078); the step at the edge, and how steep it is, in
    FLAIR; the step in T1.
    """
    images, inside, head = _arrays(patient)
    rest = head & ~np.stack([binary_dilation(part, iterations=BORDER) for part in inside])
    if not inside.any() or rest.sum() < FOCUS:
        return np.full(RELATION, math.nan)
    units = [_spread(image[rest]) for image in images]
    middle = [(np.median(i[inside]) - np.median(i[rest])) / unit for i, unit in zip(images, units, strict=True)]
    wider = [math.log(max(_spread(images[c][inside]), 1e-3) / units[c]) for c in (T1, FLAIR)]
    uptake = images[T1C] - images[T1]
    taken = (uptake[inside] - np.median(uptake[rest])) / _spread(uptake[rest])
    core, rim = _core(inside)
    depth = (images[FLAIR][core].mean() - images[FLAIR][rim].mean()) / units[FLAIR]
    inner, outer = _edges(inside, head)
    step = [(images[c][inner].mean() - images[c][outer].mean()) / units[c] for c in (FLAIR, T1)]
    slope = np.stack([np.hypot(*np.gradient(part)) for part in images[FLAIR]])
    steep = slope[inner | outer].mean() / units[FLAIR]
    return np.array([*middle, *wider, taken.mean(), np.quantile(taken, 0.95), depth, step[0], steep, step[1]])


def form(patient: PatientTensors) -> Array:
    """Return the lesion's place, size and form, (9,), in shares of the head.

    Distance of the centroid from the front, from the midline and from the lowest slice; logs of the largest
    cross-section and of the volume; of that cross-section roundness (4πA/P²) and solidity; foci, and the share of the
    largest.
    """
    _, inside, head = _arrays(patient)
    if not inside.any() or not head.any():
        return np.full(FORM, math.nan)
    slices, rows, columns = (axis.mean() for axis in np.nonzero(inside))
    front, back = np.flatnonzero(head.any((0, 2)))[[0, -1]]
    left, right = np.flatnonzero(head.any((0, 1)))[[0, -1]]
    aside = abs(columns - (left + right) / 2) / max((right - left) / 2, 1)
    areas = inside.sum((1, 2))
    region = regionprops(inside[int(areas.argmax())].astype(np.uint8))[0]
    roundness = 4 * math.pi * region.area / max(float(region.perimeter), 1.0) ** 2
    parts = np.bincount(label(inside)[0].ravel())[1:]
    return np.array(
        [
            (rows - front) / max(back - front, 1),
            aside,
            slices / max(len(inside) - 1, 1),
            math.log(areas.max() / head.sum((1, 2)).max()),
            math.log(inside.sum() / head.sum()),
            min(roundness, 1.5),
            float(region.solidity),
            math.log(max(int((parts >= FOCUS).sum()), 1)),
            parts.max() / parts.sum(),
        ]
    )


def radiomics(patient: PatientTensors) -> Array:
    """Return `evaluation.radiomics` per contrast, (72,): the mean over slices with lesion, by its area."""
    if patient.lesion is None or not bool(patient.lesion.any()):
        return np.full(CONTRASTS * len(NAMES), math.nan)
    areas = patient.lesion[:, 0].sum((1, 2)).double()
    shown = areas > 0
    rows = []
    for contrast, present in enumerate(patient.present.tolist()):
        found = radiomic_features(patient.images[shown, contrast], patient.lesion[shown, 0]).double()
        mean = (found * areas[shown, None]).sum(0) / areas.sum()
        rows.append(mean.numpy() if present else np.full(len(NAMES), math.nan))
    return np.concatenate(rows)


def three_signs(patient: PatientTensors) -> Array:
    """Return the literature's signs, (3,): see `idh_study.signs`."""
    nothing = patient.images[:, :1] * 0
    return signs(patient, patient.lesion if patient.lesion is not None else nothing)


BLOCKS: dict[str, Callable[[PatientTensors], Array]] = {
    "intensity": intensity,
    "lesion": lesion,
    "signs": three_signs,
    "relation": relation,
    "form": form,
    "radiomics": radiomics,
}


def _arrays(patient: PatientTensors) -> tuple[Array, Region, Region]:
    """Return images (contrast, slice, row, column), NaN where missing; lesion and head, (slice, row, column) each."""
    images = patient.images.double().numpy().transpose(1, 0, 2, 3).copy()
    images[patient.present.numpy() == 0] = math.nan
    inside = np.zeros(images.shape[1:], bool) if patient.lesion is None else patient.lesion[:, 0].numpy() > 0.5
    return images, inside, np.asarray((np.nan_to_num(images) > BODY).any(0))


def _spread(values: Array) -> float:
    low, high = np.quantile(values, (0.16, 0.84))
    return max(float(high - low) / 2, 1e-3)


def _core(inside: Region) -> tuple[Region, Region]:
    """Return the deeper and the shallower half of the lesion, slice by slice."""
    depth = np.stack([distance_transform_edt(part) for part in inside])
    deepest = depth.max((1, 2), keepdims=True)
    return inside & (depth > deepest / 2), inside & (depth <= deepest / 2)


def _edges(inside: Region, head: Region) -> tuple[Region, Region]:
    inner = np.stack([part & ~binary_erosion(part, iterations=BORDER) for part in inside])
    outer = np.stack([binary_dilation(part, iterations=BORDER) & ~part for part in inside])
    return inner, outer & head

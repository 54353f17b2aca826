"""What a reader without a network could measure of a lesion: the raw numbers that must not give the class away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum_filter, minimum_filter

from fedspine.cohort.patient import Patient
from fedspine.phantom.levels import LEVELS
from fedspine.phantom.patient import draw, to_patient
from fedspine.phantom.scanner import CONTRASTS, SCANNERS

Table = NDArray[np.float64]

RING_VOXELS = (3, 7, 7)
"""The background ring lies within this neighbourhood of the lesion, (slice, row, column)."""
EDGE_VOXELS = (1, 3, 3)


@dataclass(frozen=True)
class Measured:
    """Phantoms as tables of numbers, one row a phantom.

    Args:
        malignant: (phantom,) bool.
        intensity: (phantom, feature) the single intensity features, named by `names`.
        form: (phantom, feature) size, margin, place and intensities relative to the surroundings.
        omics: (phantom, column).
        names: of the intensity features.
    """

    malignant: NDArray[np.bool_]
    intensity: Table
    form: Table
    omics: Table
    names: tuple[str, ...]


def measure(count: int, seed: int, shape: tuple[int, int, int]) -> Measured:
    """Draw `count` phantoms, benign and malignant in turn, evenly over all scanners, and measure each."""
    rows: list[tuple[dict[str, float], list[float], NDArray[np.float64]]] = []
    for index in range(count):
        generator = np.random.default_rng([seed, index])
        phantom = draw(generator, label=("benign", "malignant")[index % 2], shape=shape)
        patient = to_patient(phantom, "phantom", SCANNERS[index // 2 % len(SCANNERS)], generator)
        regions = _regions(phantom.mask > 0)
        rows.append((_intensity(patient, regions), _form(patient, regions), phantom.omics))
    return Measured(
        malignant=np.arange(count) % 2 == 1,
        intensity=np.array([list(row[0].values()) for row in rows]),
        form=np.array([row[1] for row in rows]),
        omics=np.array([row[2] for row in rows]),
        names=tuple(rows[0][0]),
    )


def best_threshold(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the best balanced accuracy that any threshold on `values`, of either sign, can reach.

    >>> best_threshold(np.array([3.0, 4.0, 1.0, 2.0]), np.array([False, False, True, True]))
    1.0
    >>> best_threshold(np.array([1.0, 1.0, 1.0, 1.0]), np.array([False, False, True, True]))
    0.5
    """
    order = np.argsort(values)
    right, wrong = np.cumsum(positive[order]) / positive.sum(), np.cumsum(~positive[order]) / (~positive).sum()
    # equal values cannot be told apart: only the last of them is a threshold
    possible = np.append(np.diff(values[order]) > 0.0, True)
    return float(0.5 + 0.5 * np.abs(right - wrong)[possible].max())


@dataclass(frozen=True, eq=False)
class _Regions:
    """Lesion, background ring, the rim just outside the lesion, and its interior; each bool (slice, row, column)."""

    lesion: NDArray[np.bool_]
    ring: NDArray[np.bool_]
    rim: NDArray[np.bool_]
    interior: NDArray[np.bool_]


def _regions(lesion: NDArray[np.bool_]) -> _Regions:
    grown = maximum_filter(lesion, EDGE_VOXELS)
    interior = minimum_filter(lesion, EDGE_VOXELS)
    ring = maximum_filter(lesion, RING_VOXELS) & ~grown
    return _Regions(lesion, ring, grown & ~lesion, interior if interior.any() else lesion)


def _intensity(patient: Patient, regions: _Regions) -> dict[str, float]:
    """Return mean, sd, percentiles and lesion minus background of every contrast."""
    lesion, ring = regions.lesion, regions.ring
    features: dict[str, float] = {}
    for contrast in CONTRASTS:
        voxels = patient.volumes[contrast].voxels.astype(np.float64)
        inside = voxels[lesion]
        features[f"{contrast} mean"], features[f"{contrast} sd"] = float(inside.mean()), float(inside.std())
        for percent, value in zip((10, 50, 90), np.percentile(inside, (10, 50, 90)), strict=True):
            features[f"{contrast} percentile {percent}"] = float(value)
        features[f"{contrast} minus background"] = float(inside.mean() - voxels[ring].mean())
    return features


def _form(patient: Patient, regions: _Regions) -> list[float]:
    """Return size, extent, number of lesions, outline, place, and how each contrast changes at the margin."""
    lesion, ring, rim, interior = regions.lesion, regions.ring, regions.rim, regions.interior
    spacing_mm = np.array(patient.volumes["T1"].spacing_mm)
    places = np.argwhere(lesion)
    outline = (lesion & ~minimum_filter(lesion, EDGE_VOXELS)).sum()
    features = [
        *(np.ptp(places, axis=0) * spacing_mm),
        len(places) * float(np.prod(spacing_mm)),
        float(label(lesion)[1]),
        float(outline) / np.sqrt(len(places)),
        *places.mean(axis=0),
        float(LEVELS.index(patient.level or "")),
    ]
    for contrast in CONTRASTS:
        voxels = patient.volumes[contrast].voxels.astype(np.float64)
        # relative to the brighter half of the image, so that the scanner's gain cancels
        scale = float(voxels[voxels > np.median(voxels)].mean())
        inside, around = voxels[lesion] / scale, voxels[ring] / scale
        features += [inside.mean(), around.mean(), around.std(), voxels[interior].mean() / scale]
        features += [voxels[rim].mean() / scale - inside.mean(), inside.std() / (inside.mean() + 0.01)]
    t1, t1c = (patient.volumes[contrast].voxels.astype(np.float64) for contrast in ("T1", "T1c"))
    uptake = np.log((t1c[lesion].mean() + 1.0) / (t1[lesion].mean() + 1.0))
    return [*features, float(uptake - np.log((t1c[ring].mean() + 1.0) / (t1[ring].mean() + 1.0)))]

"""A small, documented set of radiomic features of one image of one contrast, by scikit-image and scipy.

First-order and texture features as radiologists' software computes them (IBSR names in words), and two of the lesion.
A Fréchet distance in such features follows what MR images look like to a reader better than one in features learned on
photographs (Konz 2024, FRD). The full set of that paper needs a compiler to install; this one needs nothing, and its
values are its own: never compare them with published FRD values.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.stats import kurtosis, skew
from skimage.feature import graycomatrix, graycoprops
from torch import Tensor

LEVELS, BRIGHTEST = 16, 1.5
"""Grey levels of the texture matrix, over [0, `BRIGHTEST`]: the same for every image, so that contrast counts."""

FIRST_ORDER = (
    *("mean", "deviation", "skewness", "kurtosis", "10th percentile", "median", "90th percentile", "entropy"),
    *("edge mean", "edge deviation"),
)
TEXTURE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
"""Properties of the grey-level co-occurrence matrix (Haralick 1973)."""
STEPS = (1, 3)
"""Pixels between the two that the matrix counts; all four directions are averaged."""
LESION = ("lesion share", "lesion conspicuity")

NAMES = FIRST_ORDER + tuple(f"{name} at {step}" for step in STEPS for name in TEXTURE) + LESION
"""The features in order."""

_RING = 3


def radiomic_features(images: Tensor, masks: Tensor) -> Tensor:
    """Return (image, len(`NAMES`)), float32.

    Args:
        images: (image, row, column), intensities as in `PatientTensors.images`.
        masks: (image, row, column), lesions; the lesion's features are 0 where there is none.
    """
    pairs = zip(images.double().clamp(0, BRIGHTEST).numpy(), masks.bool().numpy(), strict=True)
    rows = [_features(image, mask) for image, mask in pairs]
    return torch.tensor(np.array(rows), dtype=torch.float32).reshape(len(rows), len(NAMES))


def _features(image: NDArray[np.float64], mask: NDArray[np.bool_]) -> list[float]:
    return [*_first_order(image), *_texture(image), *_lesion(image, mask)]


def _first_order(image: NDArray[np.float64]) -> list[float]:
    spread = float(image.std())
    shares = np.bincount(_shades(image).ravel(), minlength=LEVELS) / image.size
    edges = np.hypot(*np.gradient(image))
    return [
        float(image.mean()),
        spread,
        float(skew(image, axis=None)) if spread > 1e-6 else 0.0,
        float(kurtosis(image, axis=None)) if spread > 1e-6 else 0.0,
        *(float(value) for value in np.percentile(image, (10, 50, 90))),
        float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()),
        float(edges.mean()),
        float(edges.std()),
    ]


def _texture(image: NDArray[np.float64]) -> list[float]:
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = graycomatrix(_shades(image), STEPS, angles, levels=LEVELS, symmetric=True, normed=True)
    per_name = [graycoprops(matrix, name).mean(axis=1) for name in TEXTURE]  # (step,) each
    return [float(values[step]) for step in range(len(STEPS)) for values in per_name]


def _lesion(image: NDArray[np.float64], mask: NDArray[np.bool_]) -> list[float]:
    """Return the share of the image and how far its brightness lies from a ring around it, in deviations."""
    ring = binary_dilation(mask, iterations=_RING) & ~mask
    if not mask.any() or not ring.any():
        return [float(mask.mean()), 0.0]
    apart = float(image[mask].mean() - image[ring].mean())
    return [float(mask.mean()), apart / (float(image.std()) + 1e-3)]


def _shades(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.minimum(image / BRIGHTEST * LEVELS, LEVELS - 1).astype(np.uint8)

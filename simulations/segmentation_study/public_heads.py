"""Made-up axial heads with a tumour: public pre-training for brain images, of which spine phantoms know nothing.

After SynthSeg (Billot 2023): shapes are crude and intensities drawn anew for every patient, so that a network learns
what holds for all of them - a tumour is brighter than what is around it in FLAIR, and mostly darker in T1 - rather than
how one scanner shows it. No patient is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedspine.cohort.tensors import PatientTensors

Plane = NDArray[np.float64]

INTENSITIES = {
    "T1": {"grey": 0.42, "white": 0.55, "fluid": 0.15, "scalp": 0.9},
    "T1c": {"grey": 0.42, "white": 0.52, "fluid": 0.15, "scalp": 0.9},
    "FLAIR": {"grey": 0.55, "white": 0.45, "fluid": 0.15, "scalp": 0.6},
}
"""Of each contrast, typical on a scale where white matter is about a half."""

TUMOUR = {"T1": (-0.28, 0.02), "T1c": (-0.22, 0.15), "FLAIR": (0.12, 0.6)}
"""How much brighter than white matter a tumour is, from and to."""


def public_heads(count: int, seed: int, *, contrasts: Sequence[str], size: int, slices: int) -> list[PatientTensors]:
    """Return `count` heads of `slices` slices; a contrast that is not in `INTENSITIES` is missing."""
    return [_head(np.random.default_rng([seed, index]), contrasts, size, slices) for index in range(count)]


def _head(random: np.random.Generator, contrasts: Sequence[str], size: int, slices: int) -> PatientTensors:
    shape = random.uniform((0.31, 0.25), (0.41, 0.33))
    middle = random.uniform(-0.05, 0.05, 2)
    centre, radius = random.uniform(-0.55, 0.55, 3), random.uniform(0.05, 0.22) * random.uniform(0.75, 1.25, 3)
    known = [name for name in contrasts if name in INTENSITIES]
    looks = {name: _look(name, random) for name in known}
    bare = random.random() < 0.3
    images, masks = np.zeros((slices, len(contrasts), size, size)), np.zeros((slices, 1, size, size))
    for index, height in enumerate(np.linspace(-0.9, 0.9, slices)):
        labels, inside = _slice(random, size, shape * np.sqrt(1 - 0.7 * height**2), middle, bare)
        tumour = _tumour(random, size, shape, middle, centre, radius, height * 0.5) & inside
        masks[index, 0] = tumour
        for channel, name in enumerate(contrasts):
            if name in looks:
                images[index, channel] = _shown(random, labels, tumour, looks[name])
    scaled = torch.from_numpy(_scaled(images)).float()
    present = torch.tensor([float(name in INTENSITIES) for name in contrasts])
    nothing = torch.zeros(0)
    return PatientTensors(scaled, present, torch.from_numpy(masks).float(), -1, nothing, nothing)


def _look(name: str, random: np.random.Generator) -> dict[str, float]:
    """Return intensities of one patient's scan: label to value, `rim` the enhancement of the tumour's edge."""
    typical = INTENSITIES[name]
    drawn = {label: value + random.normal(0, 0.06) for label, value in typical.items()}
    drawn["tumour"] = drawn["white"] + random.uniform(*TUMOUR[name])
    drawn["rim"] = random.uniform(0.1, 0.5) if name == "T1c" and random.random() < 0.4 else 0.0
    drawn["grain"], drawn["noise"] = random.uniform(0.0, 0.1), random.uniform(0.01, 0.05)
    drawn["bias"] = random.uniform(0.0, 0.25)
    return {label: max(value, 0.02) if label != "rim" else value for label, value in drawn.items()}


def _slice(
    random: np.random.Generator, size: int, axes: Plane, middle: Plane, bare: bool
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.bool_]]:
    """Return where each tissue is, later ones over earlier ones, and where the brain is; `bare` of scalp and skull."""
    rows, columns = np.meshgrid(*[np.linspace(-0.5, 0.5, size)] * 2, indexing="ij")
    y, x = rows - middle[0], columns - middle[1]
    wobble = 0.025 * _smooth(random, size, size / 12)
    distance = np.hypot(y / axes[0], x / axes[1]) + wobble
    folds = _smooth(random, size, size / 40)
    opening = random.uniform(0.03, 0.11)
    ventricles = np.zeros_like(distance, bool)
    for side in (-1, 1):
        ventricles |= np.hypot(y / (axes[0] * 0.4), (x - side * opening) / (opening * 0.6)) < 1 + 0.3 * wobble
    inside = distance < 1
    labels = {
        "scalp": (distance < 1.22) & (not bare),
        "skull": distance < 1.14,
        "fluid": distance < 1.04,
        "grey": inside,
        "white": inside & (distance < 0.88) & (folds > -0.5),
        "ventricles": ventricles & inside & (random.random() < 0.8),
    }
    return labels, inside & ~labels["ventricles"]


def _tumour(
    random: np.random.Generator, size: int, axes: Plane, middle: Plane, centre: Plane, radius: Plane, height: float
) -> NDArray[np.bool_]:
    """Return where this slice cuts a lobulated ellipsoid."""
    rows, columns = np.meshgrid(*[np.linspace(-0.5, 0.5, size)] * 2, indexing="ij")
    y = (rows - middle[0] - centre[0] * axes[0]) / radius[0]
    x = (columns - middle[1] - centre[1] * axes[1]) / radius[1]
    z = (height - centre[2] * 0.5) / (2 * radius[2])
    lobes = 0.25 * _smooth(random, size, size * radius.mean() / 2)
    return np.asarray(np.sqrt(y**2 + x**2 + z**2) + lobes < 1)


def _shown(
    random: np.random.Generator, labels: dict[str, NDArray[np.bool_]], tumour: NDArray[np.bool_], look: dict[str, float]
) -> Plane:
    """Return one slice of one contrast."""
    image = np.zeros(tumour.shape)
    values = {**look, "skull": 0.03, "ventricles": look["fluid"]}
    for label, where in labels.items():
        image[where] = values[label]
    size = len(image)
    grain = 1 + look["grain"] * _smooth(random, size, size / 60) + 0.08 * _smooth(random, size, size / 10)
    soft = gaussian_filter(tumour.astype(float), random.uniform(0.6, 2.0))
    edge = np.clip(4 * soft * (1 - soft), 0, 1)
    image = image * (1 - soft) + soft * look["tumour"] * (1 + 0.15 * _smooth(random, size, size / 25))
    image = gaussian_filter(image * grain + edge * look["rim"], 0.6)
    image *= np.exp(look["bias"] * _smooth(random, size, size / 4))
    noise = random.normal(0, look["noise"], (2, *image.shape))
    return np.asarray(np.hypot(image + noise[0], noise[1]) * (labels["skull"] | labels["scalp"]))


def _smooth(random: np.random.Generator, size: int, scale: float) -> Plane:
    """Return smooth noise of standard deviation 1, (size, size)."""
    field = gaussian_filter(random.normal(size=(size, size)), max(scale, 0.5), mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def _scaled(images: Plane) -> Plane:
    """Scale each contrast as `cohort.tensors` does real images."""
    low, high = np.percentile(images, (1.0, 99.0), axis=(0, 2, 3), keepdims=True)
    return np.asarray(np.clip((images - low) / np.maximum(high - low, 1e-6), 0.0, 1.5))

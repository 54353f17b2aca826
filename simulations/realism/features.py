"""What a reader without a network could measure of a slice: the numbers by which a phantom may give itself away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter, zoom

Slice = NDArray[np.float64]
"""(row, column), from 0 to 1."""
Named = dict[str, float]

PERCENTILES = (1, 5, 25, 50, 75, 90, 95)


def scaled(volume: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a patient's slices, (slice, row, column), as 8 bits: its 98th percentile becomes white, for both sides."""
    white = max(float(np.percentile(np.asarray(volume, dtype=np.float64), 98)), 1e-6)
    return np.asarray(np.clip(np.rint(volume.astype(np.float64) / white * 255.0), 0, 255), dtype=np.uint8)


def histogram(image: Slice) -> Named:
    """Return the distribution of grey values."""
    counts = np.histogram(image, bins=16, range=(0.0, 1.0))[0] / image.size
    found = {f"histogram {index / 16:.2f}": float(count) for index, count in enumerate(counts)}
    found |= {f"percentile {p}": float(np.percentile(image, p)) for p in PERCENTILES}
    return found | {"mean": float(image.mean()), "deviation": float(image.std())}


def spectrum(image: Slice) -> Named:
    """Return the logarithm of the power by spatial frequency, along columns, along rows and in all directions."""
    edge = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None, :]
    power = np.abs(np.fft.fft2((image - image.mean()) * edge)) ** 2
    down, across = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :]
    radius = np.hypot(down, across)
    total = float(power[radius > 0.0].sum())
    found: Named = {}
    for name, sector in (
        ("", np.ones(power.shape, bool)),
        ("down ", np.abs(down) > 2 * np.abs(across)),
        ("across ", np.abs(across) > 2 * np.abs(down)),
    ):
        for low in np.arange(0.0, 0.5, 0.04):
            ring = sector & (radius > low) & (radius <= low + 0.04)
            found[f"power {name}{low:.2f}"] = float(np.log10(power[ring].sum() / total + 1e-9))
    return found


def texture(image: Slice) -> Named:
    """Return how grey values change from pixel to pixel, at four scales."""
    found: Named = {}
    for width in (0.0, 1.0, 2.0, 4.0):
        smooth = gaussian_filter(image, width) if width else image
        detail = smooth - gaussian_filter(image, 2.0 * width or 1.0)
        spread = detail.std() + 1e-6
        found[f"detail {width:g}"] = float(np.log(spread))
        found[f"tails {width:g}"] = float(np.log(((detail / spread) ** 4).mean()))
        found[f"skew {width:g}"] = float(((detail / spread) ** 3).mean())
    mean = uniform_filter(image, 7)
    local = np.sqrt(np.maximum(uniform_filter(image * image, 7) - mean * mean, 0.0))
    for percent in PERCENTILES:
        found[f"local deviation {percent}"] = float(np.percentile(local, percent))
        bright = local[mean > 0.25] if (mean > 0.25).any() else local
        found[f"local deviation of bright tissue {percent}"] = float(np.percentile(bright, percent))
    for axis, name in enumerate(("down", "across")):
        one = np.take(image, range(1, image.shape[axis]), axis) - np.take(image, range(image.shape[axis] - 1), axis)
        two = np.take(image, range(2, image.shape[axis]), axis) - np.take(image, range(image.shape[axis] - 2), axis)
        found[f"neighbours {name}"] = float(one.var() / (two.var() + 1e-9))
    return found


def anatomy(image: Slice) -> Named:
    """Return the slice as a picture of 16 x 16."""
    small = zoom(gaussian_filter(image, image.shape[0] / 32), (16 / image.shape[0], 16 / image.shape[1]), order=1)
    return {f"place {row},{column}": float(small[row, column]) for row in range(16) for column in range(16)}


FAMILIES: dict[str, Callable[[Slice], Named]] = {
    "histogram": histogram,
    "spectrum": spectrum,
    "texture": texture,
    "anatomy": anatomy,
}
"""Each kind of measure, so that one at a time can be asked to tell the two apart."""


def measured(slices: NDArray[np.uint8]) -> dict[str, tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Return, by family, the names of the measures and (slice, measure)."""
    found = {}
    for family, measure in FAMILIES.items():
        rows = [measure(image / 255.0) for image in slices]
        found[family] = tuple(rows[0]), np.array([list(row.values()) for row in rows])
    return found

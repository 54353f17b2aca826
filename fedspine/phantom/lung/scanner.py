"""CT scanners: kernel, noise, tilt, and how a chest becomes Hounsfield units on the image's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedspine.phantom.lung.chest import FINER, Map

LOWEST_HU, HIGHEST_HU = -1024, 3071
"""Twelve bits."""


@dataclass(frozen=True)
class CTScanner:
    """One scanner with its reconstruction.

    Args:
        vendor, model, kernel: as the DICOM header spells them.
        blur_mm: standard deviation of the point spread in the plane.
        edge: how much a sharp kernel exaggerates edges.
        noise_hu: standard deviation in soft tissue.
        grain_mm: size of the grain of the noise.
        tilt: of the gantry in radians.
        signed: whether pixels are stored as Hounsfield units with a sign, instead of with an intercept of -1024.
    """

    vendor: str
    model: str
    kernel: str
    blur_mm: float
    edge: float
    noise_hu: float
    grain_mm: float
    tilt: float = 0.0
    signed: bool = False


CT_SCANNERS: tuple[CTScanner, ...] = (
    CTScanner("SIEMENS", "SOMATOM Definition AS", "B30f", 0.9, 0.0, 14.0, 1.4),
    CTScanner("GE MEDICAL SYSTEMS", "LightSpeed VCT", "LUNG", 0.4, 0.7, 38.0, 0.6, signed=True),
    CTScanner("Philips", "Brilliance 64", "C", 0.8, 0.1, 18.0, 1.2, tilt=0.12),
    CTScanner("SIEMENS", "SOMATOM Force", "Br59d", 0.5, 0.5, 26.0, 0.8),
    CTScanner("TOSHIBA", "Aquilion ONE", "FC08", 1.0, 0.0, 12.0, 1.6),
)
"""Kernels from smooth to sharp; the sharper, the noisier (Boedeker et al. 2007, Phys Med Biol 52:4027)."""


def acquire_ct(image: Map, scanner: CTScanner, pixel_mm: float, generator: np.random.Generator) -> NDArray[np.int16]:
    """Return the Hounsfield units that `scanner` makes of a chest, int16 (slice, row, column).

    Args:
        image: Hounsfield units on the fine grid.
        scanner: whose kernel and noise.
        pixel_mm: distance of the image's pixels.
        generator: of the noise.
    """
    slices, rows, columns = (side // FINER for side in image.shape)
    voxels = image.reshape(slices, FINER, rows, FINER, columns, FINER).mean((1, 3, 5), dtype=np.float32)
    blurred = gaussian_filter(voxels, (0.0, scanner.blur_mm / pixel_mm, scanner.blur_mm / pixel_mm))
    if scanner.edge:
        wide = gaussian_filter(blurred, (0.0, 2.0 / pixel_mm, 2.0 / pixel_mm))
        blurred += np.float32(scanner.edge) * (blurred - wide)
    grain = scanner.grain_mm / pixel_mm
    noise = gaussian_filter(generator.standard_normal(voxels.shape, dtype=np.float32), (0.0, grain, grain))
    # quantum noise grows along the rays that cross most tissue: towards the middle of the body
    down, across = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    weight = (1.25 - 0.6 * np.sqrt(down**2 + across**2)).astype(np.float32)
    noise *= weight * np.float32(scanner.noise_hu) / max(float(noise.std()), 1e-6)
    return np.asarray(np.clip(np.rint(blurred + noise), LOWEST_HU, HIGHEST_HU), np.int16)

"""What a scanner keeps of an image: the low spatial frequencies it has time for, with its noise among them.

A scanner measures fewer frequencies than its images have pixels, sets the others to zero and tapers the edge a little.
So borders are blurred and ring (Gibbs), and noise is no longer independent between neighbours. Noise is complex
Gaussian in each channel and the magnitude is taken at the end: Rician where there is signal, Rayleigh in air
(Gudbjartsson and Patz 1995, Magn Reson Med 34:910).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TAPER = 0.30
"""The outer share of the measured frequencies that is tapered by a cosine."""


def window(length: int, share: float) -> NDArray[np.float64]:
    """Return the weight of each frequency, (length,) in FFT order: 1 within, tapered, 0 beyond `share` of them.

    >>> window(8, 0.5).round(2).tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    reach = np.abs(np.fft.fftfreq(length)) / (0.5 * share)
    edge = np.clip((reach - (1.0 - TAPER)) / TAPER, 0.0, 1.0)
    return np.asarray(np.where(reach < 1.0, 0.5 + 0.5 * np.cos(np.pi * edge), 0.0))


def magnitude(
    received: NDArray[np.float32], noise: float, share: tuple[float, float], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return the image that the scanner makes of `received`, (slice, row, column), signed.

    Args:
        received: what the coil receives.
        noise: standard deviation of each channel of the complex noise in the image.
        share: of the frequencies along (row, column) that are measured.
        generator: of the noise.
    """
    rows, columns = received.shape[1:]
    along_rows, along_columns = window(rows, share[0]), window(columns, share[1])
    weight = along_rows[:, None] * along_columns[None, : columns // 2 + 1]
    # what the window takes from the noise is put back before it
    kept = float((along_rows**2).mean() * (along_columns**2).mean())
    level = noise / np.sqrt(kept)
    real = generator.standard_normal(received.shape, dtype=np.float32) * np.float32(level)
    imaginary = generator.standard_normal(received.shape, dtype=np.float32) * np.float32(level)
    # double precision: the last bit of a transform may differ between machines, that of a rounded count then does not
    one = _filtered(received.astype(np.float64) + real, weight)
    other = _filtered(imaginary.astype(np.float64), weight)
    return np.sqrt(one * one + other * other).astype(np.float32)


def _filtered(image: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * weight, s=image.shape[1:]))

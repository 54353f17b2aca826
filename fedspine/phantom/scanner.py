"""Scanners: what a hospital adds to an image, and never to a patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import levels
from fedspine.phantom.anatomy import STEP_MM, TABLE_MM, Anatomy, centre_line, turn_of
from fedspine.phantom.view import View

CONTRASTS = ("T1", "T1c", "T2", "STIR", "ADC")
"""The contrasts of an ordinary examination."""
EVERY_CONTRAST = ("T1", "T1c", "T2", "FLAIR", "STIR", "ADC", "DWI")
"""The contrasts a phantom can be scanned with."""


@dataclass(frozen=True)
class Protocol:
    """The habit of a scanner for one contrast; times in ms, `b_value` in s/mm².

    `train_ms` is the length of a turbo spin echo's train, 0 for a plain spin echo; `fat_saturated` suppresses fat.
    """

    echo_time_ms: float
    repetition_time_ms: float
    inversion_time_ms: float | None = None
    train_ms: float = 0.0
    b_value: float | None = None
    fat_saturated: bool = False


@dataclass(frozen=True)
class ScannerModel:
    """One scanner with its coil.

    Args:
        vendor, model, coil: as the DICOM header spells them.
        field_tesla: 1.5 or 3.
        gain: counts per unit of proton density at the canal.
        noise: standard deviation of each channel of the complex noise, in units of proton density.
        reach_mm: depth at which a surface coil's sensitivity has halved; large for a volume coil.
        ripple: relative unevenness between the coil's elements along the spine.
        element_mm: distance between the coil's elements.
        saturates: whether a band in front of the spine is saturated, so that belly and swallowing do not blur it.
        normalised: how far the image is divided by the coil's sensitivity to depth: 0 not at all, 1 until it is even.
        matrix: share of the image's frequencies along (row, column) that are measured.
        protocols: by contrast.
    """

    vendor: str
    model: str
    coil: str
    field_tesla: float
    gain: float
    noise: float
    reach_mm: float
    ripple: float
    element_mm: float
    matrix: tuple[float, float]
    saturates: bool
    normalised: float
    protocols: Mapping[str, Protocol] = field(repr=False)


def _protocols(
    *,
    t1: tuple[float, float],
    t2: tuple[float, float],
    stir: tuple[float, float, float],
    flair: tuple[float, float, float],
    diffusion: tuple[float, float, float],
    fat_saturated: bool,
) -> Mapping[str, Protocol]:
    """Build the table from (TE, TR), (TE, TR, TI) and, for diffusion, (TE, TR, b)."""
    return {
        "T1": Protocol(t1[0], t1[1]),
        "T1c": Protocol(t1[0], t1[1], fat_saturated=fat_saturated),
        "T2": Protocol(t2[0], t2[1], train_ms=180.0),
        "STIR": Protocol(stir[0], stir[1], stir[2]),
        "FLAIR": Protocol(flair[0], flair[1], flair[2]),
        "ADC": Protocol(diffusion[0], diffusion[1], b_value=diffusion[2], fat_saturated=True),
        "DWI": Protocol(diffusion[0], diffusion[1], b_value=diffusion[2], fat_saturated=True),
    }


SCANNERS: tuple[ScannerModel, ...] = (
    ScannerModel(
        "SIEMENS", "Aera", "Spine_32", 1.5, 900.0, 0.0065, 95.0, 0.08, 60.0,
        (0.98, 0.94), True, 0.50,
        _protocols(t1=(9.1, 560.0), t2=(96.0, 3600.0), stir=(42.0, 4200.0, 178.0), flair=(95.0, 9000.0, 2450.0),
                   diffusion=(72.0, 4500.0, 800.0), fat_saturated=False),
    ),
    ScannerModel(
        "SIEMENS", "Skyra", "HE1-4;SP1-8", 3.0, 700.0, 0.0038, 75.0, 0.14, 50.0,
        (1.00, 0.98), True, 0.60,
        _protocols(t1=(8.4, 640.0), t2=(91.0, 3900.0), stir=(38.0, 4600.0, 215.0), flair=(92.0, 9000.0, 2500.0),
                   diffusion=(63.0, 5200.0, 800.0), fat_saturated=True),
    ),
    ScannerModel(
        "GE MEDICAL SYSTEMS", "Optima MR450w", "GEM CTL", 1.5, 1500.0, 0.0075, 110.0, 0.06, 75.0,
        (0.94, 0.90), True, 0.40,
        _protocols(t1=(11.8, 500.0), t2=(104.0, 3100.0), stir=(46.0, 3900.0, 182.0), flair=(120.0, 8500.0, 2250.0),
                   diffusion=(78.0, 5000.0, 600.0), fat_saturated=True),
    ),
    ScannerModel(
        "GE MEDICAL SYSTEMS", "DISCOVERY MR750", "USCTL4567", 3.0, 1250.0, 0.0042, 80.0, 0.16, 55.0,
        (1.00, 0.95), True, 0.60,
        _protocols(t1=(10.2, 700.0), t2=(100.0, 3400.0), stir=(40.0, 4400.0, 220.0), flair=(118.0, 9500.0, 2480.0),
                   diffusion=(68.0, 6000.0, 1000.0), fat_saturated=False),
    ),
    ScannerModel(
        "Philips", "Ingenia", "MULTI COIL", 1.5, 420.0, 0.0065, 150.0, 0.04, 90.0,
        (0.95, 0.88), False, 0.70,
        _protocols(t1=(7.6, 450.0), t2=(110.0, 2900.0), stir=(60.0, 3500.0, 185.0), flair=(110.0, 8000.0, 2350.0),
                   diffusion=(70.0, 3800.0, 700.0), fat_saturated=False),
    ),
    ScannerModel(
        "Philips Medical Systems", "Achieva", "SENSE-Spine-15", 3.0, 520.0, 0.0045, 65.0, 0.12, 45.0,
        (0.97, 0.93), True, 0.55,
        _protocols(t1=(8.0, 600.0), t2=(120.0, 3000.0), stir=(55.0, 4000.0, 225.0), flair=(125.0, 11000.0, 2800.0),
                   diffusion=(60.0, 4200.0, 1000.0), fat_saturated=True),
    ),
)  # fmt: skip
"""Three vendors at 1.5 and 3 T; the habits are typical of each, not of one hospital."""


def sensitivity(
    scanner: ScannerModel, anatomy: Anatomy, view: View, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coil's sensitivity along rows, (row,), and columns, (column,); it is their product, 1 at the canal.

    The patient lies on the coil: it sees the back best. `generator` places the patient on it.
    """
    rows, columns = view.shape[1:]
    behind_mm = anatomy.canal_mm + anatomy.muscle_mm + anatomy.fat_mm
    back_mm = (np.arange(columns) + 0.5 - columns * view.column) * view.pixel_mm
    depth = np.maximum(behind_mm - back_mm, 0.0) / scanner.reach_mm
    at_canal = 1.0 + (behind_mm / scanner.reach_mm) ** 2
    down_mm = (np.arange(rows) + 0.5 - rows / 2) * view.pixel_mm
    wave = np.cos(2.0 * np.pi * down_mm / scanner.element_mm + generator.uniform(0.0, 2.0 * np.pi))
    fading = 1.0 / (1.0 + (down_mm / (1.5 * scanner.reach_mm)) ** 2)
    along = (1.0 + scanner.ripple * wave) * fading
    return along.astype(np.float32), (at_canal / (1.0 + depth * depth)).astype(np.float32)


def saturation_band(anatomy: Anatomy, view: View) -> NDArray[np.float32]:
    """Return what a band laid in front of the spine leaves of the signal, (row, column); it ends above the sacrum."""
    back, down, _ = centre_line(anatomy, turn_of(anatomy, view.level))
    place = int((levels.MIDDLE_MM[view.level] - TABLE_MM[0]) / STEP_MM)
    half = int(0.4 * view.shape[1] * view.pixel_mm / STEP_MM)
    sacrum = int((levels.EDGES_MM[levels.S1] - TABLE_MM[0]) / STEP_MM)
    seen = back[max(0, place - half) : max(place + 1, min(sacrum, place + half))] - back[place]
    depth_mm = anatomy.canal_mm + float(levels.DEPTH_MM[view.level])
    edge_mm = (float(seen.min()) - depth_mm - 14.0) * anatomy.scale
    rows, columns = view.shape[1:]
    back_mm = (np.arange(columns) + 0.5 - columns * view.column) * view.pixel_mm
    through = 1.0 / (1.0 + np.exp(-(back_mm - edge_mm) / 3.0))
    below_mm = (down[sacrum] - down[place]) * anatomy.scale + view.offset_mm - 15.0
    down_mm = (np.arange(rows) + 0.5 - rows / 2) * view.pixel_mm
    past = 1.0 / (1.0 + np.exp(-(down_mm - below_mm) / 6.0))
    return np.asarray(1.0 - 0.72 * (1.0 - past[:, None]) * (1.0 - through[None, :]), dtype=np.float32)

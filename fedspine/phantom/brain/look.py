"""How a head looks in T1, T1 with contrast agent, T2 and FLAIR: intensities drawn anew for every patient.

After SynthSeg (Billot 2023): what holds for all scanners stays (fluid is dark in T1 and FLAIR and bright in T2, a
glioma brighter than brain in FLAIR and mostly darker in T1), and all else varies more than it does in life, so that a
network learns the former. No signal equation is solved; the spine phantoms do that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedspine.phantom.brain.anatomy import Head
from fedspine.phantom.brain.fields import Map, in_plane, in_space
from fedspine.phantom.brain.tumour import Tumour

BRAIN_CONTRASTS = ("T1", "T1c", "T2", "FLAIR")

COUNTS = 1000.0
"""Stored value of an intensity of 1."""


@dataclass(frozen=True)
class Tones:
    """Intensities of one patient in one contrast; white matter lies near 0.5."""

    white: float
    grey: float
    fluid: float
    tumour: float


@dataclass(frozen=True, eq=False)
class Clutter:
    """What is bright in FLAIR or T1c and no tumour, (slice, row, column) from 0: old lesions, rims, vessels, flow."""

    spots: Map = field(repr=False)
    rims: Map = field(repr=False)
    vessels: Map = field(repr=False)
    flow: Map = field(repr=False)


def draw_tones(random: np.random.Generator, contrast: str, before: Tones | None) -> Tones:
    """Return the tones of a contrast; T1c is mostly like the T1 `before` it."""
    if contrast == "T1c" and before is not None and random.random() < 0.8:
        return Tones(*(value * random.uniform(0.92, 1.08) for value in vars(before).values()))
    if contrast in ("T1", "T1c"):
        white = random.uniform(0.38, 0.62)
        grey, fluid = white * random.uniform(0.68, 0.98), white * random.uniform(0.15, 0.55)
        return Tones(white, grey, fluid, random.uniform(fluid, grey))
    white = random.uniform(0.25, 0.55)
    grey = white * random.uniform(0.98, 1.3)
    fluid = grey * random.uniform(1.5, 2.6) if contrast == "T2" else white * random.uniform(0.1, 0.6)
    return Tones(white, grey, fluid, grey * (1.04 + 0.9 * random.random() ** 1.7))


def draw_clutter(random: np.random.Generator, head: Head) -> Clutter:
    """Return what a head holds besides a tumour."""
    pixel, deep = head.pixel_mm, head.depth_mm < -8
    spots = np.clip(2 * (in_plane(random, head.shape, 6 / pixel) - random.uniform(1.3, 2.2)), 0, 1)
    spots *= head.white * deep * (random.random() < 0.35)
    ventricles = head.fluid * (head.depth_mm < -18)
    rims = gaussian_filter(ventricles, (0, *2 * (random.uniform(1.5, 4.5) / pixel,))) * head.white
    vessels = np.clip(2 * (in_plane(random, head.shape, 5 / pixel) - 2), 0, 1) * (head.fluid > 0.3)
    flow = np.clip(in_plane(random, head.shape, 12 / pixel) - 1, 0, 1) * head.fluid * (head.places_mm[2] < -5)
    return Clutter(spots, rims * (random.random() < 0.6), vessels, flow)


def shown(
    random: np.random.Generator, head: Head, tumour: Tumour | None, clutter: Clutter, contrast: str, tones: Tones
) -> NDArray[np.int16]:
    """Return one contrast as a scanner would store it, (slice, row, column)."""
    grain = in_plane(random, head.shape, 14 / head.pixel_mm)
    image = head.grey * tones.grey + head.white * tones.white + head.fluid * tones.fluid
    image *= 1 + 0.05 * grain
    if contrast == "FLAIR":
        image += tones.grey * clutter.spots * random.uniform(0.2, 0.8)
        image += tones.grey * (clutter.rims * random.uniform(0.0, 0.6) + clutter.flow * random.uniform(0.0, 0.8))
    if tumour is not None:
        image = _with_tumour(random, head, image, tumour, contrast, tones, grain)
    if contrast == "T1c":
        image += clutter.vessels * random.uniform(0.0, 0.7)
    image = np.clip(image * head.brain + _around(random, head, contrast, tones) * (1 - head.brain), 0, None)
    image *= np.exp(random.uniform(0.0, 0.3) * in_space(random, head.places_mm, 90.0))
    image = gaussian_filter(image, (0, *2 * (random.uniform(0.5, 1.6) / head.pixel_mm,)))
    noise = random.normal(0.0, 2 * tones.white * random.uniform(0.004, 0.05), (2, *image.shape))
    return np.asarray(COUNTS * np.hypot(image + noise[0], noise[1] * (random.random() < 0.5)), np.int16)


def _with_tumour(
    random: np.random.Generator, head: Head, image: Map, tumour: Tumour, contrast: str, tones: Tones, grain: Map
) -> Map:
    fine = in_plane(random, head.shape, 5 / head.pixel_mm)
    solid = tones.tumour * (1 + random.uniform(0.03, 0.15) * fine + random.uniform(0.0, 0.2) * grain)
    cyst = tones.fluid if random.random() < 0.7 else 0.7 * tones.tumour
    share = tumour.share * (1.0 if contrast in ("FLAIR", "T2") else random.uniform(0.5, 1.0))
    image = image * (1 - share) + share * (solid * (1 - tumour.cyst) + cyst * tumour.cyst)
    return image + tumour.enhancing * random.uniform(0.1, 0.7) if contrast == "T1c" else image


def _around(random: np.random.Generator, head: Head, contrast: str, tones: Tones) -> Map:
    """Return what lies around the brain: fluid next to it, then bone, muscle, fat, and the eyes."""
    texture = in_plane(random, head.shape, 10 / head.pixel_mm)
    fat = random.uniform(0.3, 1.5) * (random.uniform(0.2, 1.0) if contrast == "FLAIR" else 1.0)
    near = (head.depth_mm < 5) * tones.fluid
    bone = tones.white * (random.uniform(0.04, 0.24) + 0.3 * np.clip(texture - 0.6, 0, 1))
    muscle = tones.white * random.uniform(0.25, 0.8) * (1 + 0.4 * texture)
    image = np.where(head.bone, bone, near)
    image = np.where(head.muscle, muscle, np.where(head.fat, fat * (1 + 0.25 * texture), image))
    return np.asarray(np.where(head.eyes, tones.fluid * random.uniform(0.7, 1.3), image))

"""Ordinary augmentation of one patient, by MONAI's transforms: the traditional arm of every comparison.

One geometry for all contrasts, all slices, the mask and whatever points follow it; intensities differ by contrast, as
they do between real sequences. It reads one patient and `draws` and nothing else, so a loss that uses it stays that
patient's own. In-plane only: slices are thick and few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms import (
    RandAdjustContrast,
    RandAffineGrid,
    RandBiasField,
    RandDeformGrid,
    RandRicianNoise,
    RandScaleIntensity,
    Resample,
)
from monai.transforms.utils import create_grid
from torch import Tensor
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors

BRIGHTEST = 1.5
"""Images lie in [0, 1.5] (`cohort.tensors`), before and after."""

CONTROL_POINTS = 5
"""Of the elastic deformation, a side."""


@dataclass(frozen=True)
class Strengths:
    """How far each change may go; drawn evenly within, for every patient anew.

    Args:
        rotation: radians, either way.
        shear: either way.
        scaling: of the size either way, per axis, so that pixel spacing and proportions change.
        shift: of the image's side, either way.
        elastic: pixels (of 64) by which control points, 1/4 of the side apart, move at most typically.
        mirror: probability of exchanging left and right columns. Only for axial or coronal slices: in a sagittal one
            columns run from front to back, and nobody stands that way.
        often: probability of each change of intensity.
        gamma: exponents of the contrast curve.
        brightness: of the intensity, either way.
        bias: largest coefficient of the logarithmic bias field's Legendre polynomials, of degree 3.
        noise: largest standard deviation of Rician noise; images are about [0, 1].
        resolution: smallest share of the pixels that a poorer image keeps a side.
    """

    rotation: float = 0.20
    shear: float = 0.06
    scaling: float = 0.15
    shift: float = 0.08
    elastic: float = 1.0
    mirror: float = 0.0
    often: float = 0.5
    gamma: tuple[float, float] = (0.7, 1.4)
    brightness: float = 0.15
    bias: float = 0.15
    noise: float = 0.05
    resolution: float = 0.5


FAR = Strengths(
    rotation=0.35,
    scaling=0.25,
    shift=0.1,
    elastic=2.0,
    often=0.8,
    gamma=(0.6, 1.7),
    brightness=0.3,
    bias=0.25,
    noise=0.08,
    resolution=0.4,
)
"""For phantoms and made patients: a simulator's mistakes are unknown, so what learns from it is shown more than there
is (domain randomisation, Tobin 2017; of medical images, SynthSeg, Billot 2023)."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where every pixel of the augmented image comes from.

    Args:
        source: (2, row, column): row and column, in pixels, of the original that is shown there.
        linear: (2, 2): how far the source moves a pixel of the result, (row, column), without the elastic part.
    """

    source: Tensor = field(repr=False)
    linear: Tensor = field(repr=False)

    def warp(self, images: Tensor, mode: str) -> Tensor:
        """Return (channel, row, column) images in the new geometry; `mode` is "bilinear" or "nearest"; outside is 0."""
        size = torch.tensor(images.shape[1:]).reshape(2, 1, 1)
        centred = torch.cat([self.source - (size - 1) / 2, torch.ones_like(self.source[:1])])  # MONAI's convention
        return plain(Resample(mode=mode, padding_mode="zeros")(images, grid=centred))

    def follow(self, points: Tensor) -> Tensor:
        """Return where points (point, 2), rows and columns in pixels, lie in the augmented image.

        The pixel that comes from nearest by, then the rest of the way by the linear part: exact for affine maps, and
        within a small share of a pixel for smooth ones. Points may leave the image. Points with NaN stay NaN.
        """
        known = points.nan_to_num()
        columns = self.source.shape[2]
        distance = (self.source.reshape(2, -1)[None] - known[:, :, None]).square().sum(1)
        nearest = distance.argmin(1)
        found = torch.stack([nearest // columns, nearest % columns], dim=1).to(points)
        missing = known - self.source.reshape(2, -1).T[nearest]
        result = found + missing @ torch.linalg.inv(self.linear).T
        return torch.where(points.isnan(), points, result)


def traditional(
    patient: PatientTensors, draws: torch.Generator, strengths: Strengths | None = None, *, apart: bool = False
) -> PatientTensors:
    """Return an augmented copy of `patient`; what is exactly zero (padding, missing contrasts) stays zero.

    Args:
        patient: of any grid; it is not changed.
        draws: seeds MONAI's transforms, one number for the geometry and one for each contrast, whatever is present.
        strengths: how far; the default's if `None`.
        apart: every slice in a geometry and with intensities of its own, for networks that see slices one by one: the
            same few patients then show them more. Places of levels are lost.
    """
    if apart and len(patient.images) > 1:
        return _slices_apart(patient, draws, strengths)
    strong = strengths or Strengths()
    contrasts = patient.images.shape[1]
    first, *rest = torch.randint(2**31, (1 + contrasts,), generator=draws).tolist()
    if not patient.has_image:
        return patient
    with _without_record():
        return _changed(patient, first, rest, strong)


def _slices_apart(patient: PatientTensors, draws: torch.Generator, strengths: Strengths | None) -> PatientTensors:
    bare, mask = replace(patient, levels=None), patient.mask
    changed = [
        traditional(bare.with_images(image, None if mask is None else mask[at : at + 1]), draws, strengths)
        for at, image in enumerate(torch.split(patient.images, 1))
    ]
    drawn = [one.mask for one in changed if one.mask is not None]
    return bare.with_images(torch.cat([one.images for one in changed]), torch.cat(drawn) if drawn else None)


@contextmanager
def _without_record() -> Iterator[None]:
    """Keep MONAI from writing down what is done to every tensor: it takes as long as the doing, and nobody asks."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _changed(patient: PatientTensors, first: int, rest: Sequence[int], strong: Strengths) -> PatientTensors:
    """Return `patient` in the geometry of seed `first`, each contrast with the intensities of its own of `rest`."""
    geometry = drawn_geometry(tuple(patient.images.shape[2:]), first, strong)
    warped = geometry.warp(patient.images.flatten(0, 1), "bilinear").reshape(patient.images.shape)
    images = torch.zeros_like(warped)
    for index, seed in enumerate(rest):
        if patient.present[index]:
            images[:, index] = _other_intensities(warped[:, index], seed, strong)
    changed = patient.with_images(images, None if patient.mask is None else _warped_mask(patient.mask, geometry))
    return changed if patient.levels is None else replace(changed, levels=_moved(patient.levels, geometry))


def _moved(levels: Tensor, geometry: Geometry) -> Tensor:
    """Return places (level, 3) as (slice, row, column) in the new geometry; NaN where they left the image."""
    places = torch.cat([levels[:, :1], geometry.follow(levels[:, 1:])], dim=1)
    last = torch.tensor(geometry.source.shape[1:]) - 0.5
    gone = ((places[:, 1:] < -0.5) | (places[:, 1:] > last)).any(1, keepdim=True)
    return torch.where(gone, torch.nan, places)


def _warped_mask(mask: Tensor, geometry: Geometry) -> Tensor:
    return geometry.warp(mask.flatten(0, 1), "nearest").reshape(mask.shape)


def drawn_geometry(shape: tuple[int, ...], seed: int, strengths: Strengths) -> Geometry:
    """Return a rotation, shear, scaling, shift and elastic deformation of images of `shape` (row, column)."""
    state = np.random.RandomState(seed)
    affine = RandAffineGrid(
        rotate_range=strengths.rotation,
        shear_range=(strengths.shear, strengths.shear),
        scale_range=(strengths.scaling, strengths.scaling),
        translate_range=[strengths.shift * side for side in shape],
    ).set_random_state(state=state)
    centred = plain(affine(grid=_elastic_grid(shape, state, strengths)))
    matrix = plain(affine.get_transformation_matrix())
    source = centred[:2] + (torch.tensor(shape).reshape(2, 1, 1) - 1) / 2
    linear = matrix[:2, :2].float().clone()
    if state.random_sample() < strengths.mirror:
        source, linear[:, 1] = source.flip(2), -linear[:, 1]
    return Geometry(source.float(), linear)


def _elastic_grid(shape: tuple[int, ...], state: np.random.RandomState, strengths: Strengths) -> Tensor:
    """Return the smooth deformation (3, row, column), in pixels from the centre, homogeneous.

    Only the control points' moves are enlarged: `Rand2DElastic` enlarges their places, which are then off at the rim.
    """
    control = RandDeformGrid(1.0, (0.0, strengths.elastic * max(shape) / 64)).set_random_state(state=state)
    control.randomize((CONTROL_POINTS, CONTROL_POINTS))
    moves = torch.from_numpy(control.random_offset * np.float32(control.rand_mag))
    grid: Tensor = create_grid(shape, dtype=float, backend="torch").float()
    grid[:2] += F.interpolate(moves[None], shape, mode="bicubic", align_corners=True)[0]
    return grid


def _other_intensities(images: Tensor, seed: int, strengths: Strengths) -> Tensor:
    """Return one contrast's slices (slice, row, column) as another scanner might have shown them."""
    often, state = strengths.often, np.random.RandomState(seed)
    changes = (
        RandBiasField(prob=often, degree=3, coeff_range=(-strengths.bias, strengths.bias)),
        RandAdjustContrast(prob=often, gamma=strengths.gamma),
        RandScaleIntensity(prob=often, factors=strengths.brightness),
        RandRicianNoise(prob=often, mean=0.0, std=strengths.noise, sample_std=True),
    )
    result = images
    if state.random_sample() < often / 2:
        result = _coarser(images, state.uniform(strengths.resolution, 1.0))
    for change in changes:
        result = plain(change.set_random_state(state=state)(result))
    return result.clamp(0.0, BRIGHTEST) * (images > 0)


def _coarser(images: Tensor, share: float) -> Tensor:
    """Return slices measured with `share` of the pixels a side (MONAI's own, 1.6, does it to 3-D volumes only)."""
    size = images.shape[1:]
    fewer = [max(round(side * share), 1) for side in size]
    small = F.interpolate(images[None], fewer, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, size, mode="bilinear", align_corners=False)[0]


def plain(values: Tensor) -> Tensor:
    """Return the tensor without MONAI's record of what was done to it."""
    return values.as_tensor() if hasattr(values, "as_tensor") else values

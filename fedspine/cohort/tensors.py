"""One patient as the tensors that every task reads, on the grid that the plan names.

Everything here looks at one patient alone: normalisation by the patient's own percentiles, never by the cohort's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspine.cohort.grid import as_read
from fedspine.cohort.levels import VERTEBRAE, grid_places
from fedspine.cohort.patient import Patient, Scanner, Volume
from fedspine.cohort.resample import chosen_slices, fitted, on_grid, square
from fedspine.cohort.steps import isolated, shown
from fedspine.config import DataPlan
from fedspine.errors import SeriesError

OMICS_BOUND = 4.0
"""Omics enter as asinh(value), clipped to this magnitude (asinh(27) = 4): counts stay apart, outliers stay bounded."""

GRADE = "grade"
"""A plan's omics may name the biopsy grade, which stands in the table of patients."""

ADC_UNIT = 3000.0
"""ADC in 10⁻⁶ mm²/s that becomes 1.0; free water at body temperature is about 3000."""


@dataclass(frozen=True)
class Person:
    """What is kept of a person when scanners are compared: it changes the image, and no scanner changed it.

    Args:
        age: in years.
        sex: "F" or "M".
        level: of the spine, 0 at C1 to 1 at S1.
    """

    age: float | None = None
    sex: str | None = None
    level: float | None = None


@dataclass(frozen=True, eq=False)
class PatientTensors:
    """A patient on the plan's grid.

    Args:
        images: (slice, contrast, row, column) float32, about [0, 1]; zero where a contrast is missing.
        present: (contrast,) float32, 1 where the contrast was acquired.
        mask: (slice, structure, row, column) float32 in {0, 1}, or `None`; a plan without structures has one, the
            lesion.
        label: index into the plan's classes, or -1.
        omics: (column,) float32, asinh of the value within ±`OMICS_BOUND`; zero where missing.
        omics_present: (column,) float32, 1 where measured.
        levels: (level, 3) float32, the centre of each of `cohort.levels.VERTEBRAE` as (slice, row, column) on this
            grid, whole numbers in the middle of a pixel; NaN where it is unknown or not in the image. `None` where
            nobody looked.
        person: age, sex and level of the spine, each where known.
        scanners: how each contrast was acquired; `None` where it was not.
        batch: number of the patient's scanner among the site's (`client.roll`); -1 without an image or a roll.
        harmonised: (feature,) image features as the consortium's average scanner would have measured them, and which
            are known; `None` where nobody harmonised.
        measured: the same features as the patient's own scanner measured them.
    """

    images: Tensor = field(repr=False)
    present: Tensor = field(repr=False)
    mask: Tensor | None = field(repr=False)
    label: int = field(repr=False)
    omics: Tensor = field(repr=False)
    omics_present: Tensor = field(repr=False)
    levels: Tensor | None = field(default=None, repr=False)
    person: Person = field(default=Person(), repr=False)
    scanners: tuple[Scanner | None, ...] = field(default=(), repr=False)
    batch: int = field(default=-1, repr=False)
    harmonised: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    measured: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    @property
    def scanner(self) -> Scanner | None:
        """The scanner of the first contrast that was acquired: what the patient counts as scanned on."""
        return next((one for one in self.scanners if one is not None), None)

    @property
    def has_image(self) -> bool:
        """Whether any of the plan's contrasts was acquired."""
        return bool(self.present.any())

    @property
    def lesion(self) -> Tensor | None:
        """(slice, 1, row, column): where any structure is, for whoever asks only that; the mask itself without any."""
        return self.mask if self.mask is None or self.mask.shape[1] == 1 else self.mask.amax(1, keepdim=True)

    def to(self, device: torch.device) -> PatientTensors:
        """Return the patient on `device`; itself where it is there already."""
        if self.images.device == device:
            return self
        held: dict[str, Any] = {
            f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)
        }
        return replace(self, **held)

    def with_images(self, images: Tensor, mask: Tensor | None) -> PatientTensors:
        """Return the patient with these images and this mask."""
        return replace(self, images=images, mask=mask)


def to_tensors(
    patient: Patient, columns: tuple[str, ...], plan: DataPlan, say: Callable[[SeriesError], None] = lambda unmet: None
) -> PatientTensors:
    """Return `patient` on the grid of `plan`, CT after the plan's steps.

    Whatever way up the images came, rows run as a radiologist sees them (`grid.as_read`). The mask's grid, or else the
    grid of the first contrast, is the reference; the other contrasts are resampled onto it (trilinear). In-plane, the
    larger side of the field of view fills `size` pixels and the other is padded, so pixels stay square in millimetres.
    Slices are taken evenly over the volume, whatever the mask says: at prediction there is none.

    Args:
        patient: what the hospital has.
        columns: names of `patient.omics`.
        plan: contrasts, classes, omics columns, size, slices and steps.
        say: called with the reason where a step could not be done; the image is used without it.
    """
    bare = without_images(patient, columns, plan)
    volumes = {c: _upright(found) for c in plan.contrasts if (found := patient.find(c)) is not None}
    if not volumes:
        return bare
    lesion = None if patient.mask is None else _upright(patient.mask)
    reference = _reference(patient, plan)
    assert reference is not None
    chosen = chosen_slices(reference.voxels.shape[0], plan.slices)
    images = torch.zeros(len(chosen), len(plan.contrasts), plan.size, plan.size)
    for index, contrast in enumerate(plan.contrasts):
        if contrast in volumes:
            volume = _isolated(volumes[contrast], plan.steps, say)
            values = shown(
                plan.steps, _normalised(on_grid(volume, reference, chosen), volume.contrast), volume.contrast
            )
            scaled = torch.from_numpy(np.clip(values, 0.0, 1.5).astype(np.float32))
            images[:, index] = square(scaled, reference.spacing_mm[1:], plan.size)
    mask = None
    if lesion is not None:
        inside = _structures(np.asarray(lesion.voxels[chosen]), plan)
        shown_on = [square(torch.from_numpy(one), reference.spacing_mm[1:], plan.size) for one in inside]
        mask = (torch.stack(shown_on, dim=1) > 0.5).float()
    return bare.with_images(images, mask)


def _structures(values: NDArray[np.generic], plan: DataPlan) -> list[NDArray[np.float32]]:
    """Return where each of the plan's structures is in a mask, or else where the lesion is, as 1 and 0."""
    if not plan.structures:
        return [(values != 0).astype(np.float32)]
    return [(values == number).astype(np.float32) for number in range(1, len(plan.structures) + 1)]


def without_images(patient: Patient, columns: tuple[str, ...], plan: DataPlan) -> PatientTensors:
    """Return what `to_tensors` makes but for images and mask: one empty slice, no mask. No voxel is read.

    The places of the levels are those on the whole grid.
    """
    omics, omics_present = _omics(patient, columns, plan.omics)
    label = plan.classes.index(patient.label) if patient.label in plan.classes else -1
    present = torch.tensor([float(patient.find(c) is not None) for c in plan.contrasts])
    empty = torch.zeros(1, len(plan.contrasts), plan.size, plan.size)
    person = Person(patient.age, patient.sex, _level_of(patient.level))
    volumes = [patient.find(c) for c in plan.contrasts]
    scanners = tuple(None if volume is None else volume.scanner for volume in volumes)
    levels = _levels(patient, plan)
    return PatientTensors(empty, present, None, label, omics, omics_present, levels, person, scanners)


def _level_of(word: str | None) -> float | None:
    """Return where on the spine a free word says, from 0 at C1 to 1 at S1; the first level of a range such as T4-T6."""
    first = (word or "").upper().replace("TH", "T").replace("D", "T").split("-")[0].split("/")[0].strip()
    return VERTEBRAE.index(first) / (len(VERTEBRAE) - 1) if first in VERTEBRAE else None


def _reference(patient: Patient, plan: DataPlan) -> Volume | None:
    """Return the volume whose grid counts, upright: the mask, or else the first contrast."""
    volumes = [found for c in plan.contrasts if (found := patient.find(c)) is not None]
    if not volumes:
        return None
    return _upright(patient.mask if patient.mask is not None else volumes[0])


def _levels(patient: Patient, plan: DataPlan) -> Tensor | None:
    """Return the places of the levels on the plan's grid, or `None`; see `PatientTensors.levels`."""
    reference = _reference(patient, plan)
    if patient.levels is None or reference is None:
        return None
    slices, rows, columns = reference.voxels.shape
    places = grid_places(patient.levels, reference.affine)
    chosen = np.array(chosen_slices(slices, plan.slices))
    step = slices / len(chosen)
    places[:, 0] = (places[:, 0] - chosen[0]) / step
    sides = fitted(rows, columns, reference.spacing_mm[1:], plan.size)
    for axis, side, (length, offset) in zip((1, 2), (rows, columns), sides, strict=True):
        places[:, axis] = (places[:, axis] + 0.5) * length / side - 0.5 + offset
    last = np.array([len(chosen) - 0.5, plan.size - 0.5, plan.size - 0.5])
    with np.errstate(invalid="ignore"):
        seen = ((places >= -0.5) & (places <= last)).all(1)
    places[~seen] = np.nan
    return torch.from_numpy(places.astype(np.float32))


def _omics(patient: Patient, columns: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    row: dict[str, float] = {} if patient.grade is None else {GRADE: patient.grade}
    if patient.omics is not None:
        row |= dict(zip(columns, patient.omics, strict=True))
    raw = np.array([row.get(name, np.nan) for name in wanted], dtype=np.float64)
    known = np.isfinite(raw)
    squashed = np.clip(np.arcsinh(np.where(known, raw, 0.0)), -OMICS_BOUND, OMICS_BOUND)
    return torch.from_numpy(squashed.astype(np.float32)), torch.from_numpy(known.astype(np.float32))


def _upright(volume: Volume) -> Volume:
    """Return the volume with its axes exchanged and reversed so that a network sees it the usual way up."""
    order, flips, affine = as_read(volume.affine, volume.voxels.shape, 0)
    if order == (0, 1, 2) and not any(flips):
        return volume
    turned = volume.voxels.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return replace(volume, voxels=turned, affine=affine)


def _isolated(volume: Volume, steps: tuple[str, ...], say: Callable[[SeriesError], None]) -> Volume:
    """Return a CT volume after the plan's isolation, any other as it is."""
    if volume.contrast != "CT" or not steps:
        return volume
    voxels, unmet = isolated(steps, volume.voxels, volume.spacing_mm)
    if unmet is not None:
        say(unmet)
    return replace(volume, voxels=voxels)


def _normalised(values: NDArray[np.float32], contrast: str) -> NDArray[np.float32]:
    """Scale to about [0, 1]: ADC by its unit, MR by the patient's own percentiles; CT keeps its unit for the steps."""
    if contrast == "CT":
        return values
    if contrast == "ADC":
        return values / np.float32(ADC_UNIT)
    low, high = np.percentile(values, (1.0, 99.0))
    return np.asarray((values - low) / max(float(high - low), 1e-6), np.float32)


def largest_lesion_slices(patients: Sequence[PatientTensors]) -> tuple[Tensor, Tensor, list[int]]:
    """Return, for patients that have a mask, the slice with most lesion, for pictures.

    Returns:
        images (patient, contrast, row, column), masks (patient, row, column), and which slice it is.
    """
    masks = [patient.lesion for patient in patients if patient.lesion is not None]
    slices = [int(mask.flatten(1).sum(1).argmax()) for mask in masks]
    images = [patient.images[index] for patient, index in zip(patients, slices, strict=True)]
    return torch.stack(images), torch.stack([m[i, 0] for m, i in zip(masks, slices, strict=True)]), slices

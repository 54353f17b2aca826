"""The values of a cohort: what one hospital knows of its patients. They never leave the hospital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CONTRASTS = ("T1", "T1c", "T2", "FLAIR", "STIR", "ADC", "DWI", "CT", "other")
"""The contrasts that `cohort.contrast` tells apart; `other` is kept out of training."""


@dataclass(frozen=True)
class Scanner:
    """How a series was acquired; `None` where the header does not say.

    Times in milliseconds, field strength in tesla, b-value in s/mm².
    """

    vendor: str | None = None
    model: str | None = None
    field_tesla: float | None = None
    coil: str | None = None
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    b_value: float | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """One series as an array with its geometry.

    Args:
        voxels: (slice, row, column), slices ordered by position along the slice normal.
        affine: (4, 4), maps (slice, row, column, 1) to (x, y, z, 1) in millimetres in DICOM's LPS patient axes.
        contrast: one of `CONTRASTS`.
        scanner: how it was acquired.
    """

    voxels: NDArray[np.generic] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    contrast: str
    scanner: Scanner = field(default_factory=Scanner)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (slice, row, column)."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)


@dataclass(frozen=True, eq=False)
class Patient:
    """One patient with whatever the hospital has; anything but the identifier may be missing.

    Args:
        identifier: the hospital's own id; local, never shown outside `fedspine check` and never sent.
        volumes: contrast to volume.
        mask: lesion mask, uint8 (slice, row, column), nonzero inside; its affine is that of one of `volumes`.
        label: the diagnosis as a free word.
        grade: biopsy grade.
        time: months of follow-up.
        event: 1 if the event happened at `time`, 0 if censored.
        level: vertebral level as a free word.
        omics: (column,) float64 in the order of `Cohort.omics_columns`; NaN where missing. `None` without a row.
    """

    identifier: str = field(repr=False)
    volumes: Mapping[str, Volume] = field(default_factory=dict, repr=False)
    mask: Volume | None = field(default=None, repr=False)
    label: str | None = field(default=None, repr=False)
    grade: float | None = field(default=None, repr=False)
    time: float | None = field(default=None, repr=False)
    event: float | None = field(default=None, repr=False)
    level: str | None = field(default=None, repr=False)
    omics: NDArray[np.float64] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Rejected:
    """A file, series, mask or table cell that was not used.

    Args:
        where: place within the site folder, for the hospital's own eyes only.
        reason: rule, what was found, remedy; holds nothing of a patient.
        patient: the patient concerned, where known; local only.
    """

    where: str = field(repr=False)
    reason: str
    patient: str | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Cohort:
    """All patients of one site.

    Args:
        name: the site's name (its folder's name).
        patients: sorted by identifier.
        omics_columns: names of the numeric omics columns.
        rejected: what was not used, and why.
    """

    name: str
    patients: tuple[Patient, ...] = field(repr=False)
    omics_columns: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = field(default=(), repr=False)

"""The values of a cohort: what one hospital knows of its patients, by pseudonym. They never leave the hospital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CONTRASTS = ("T1", "T1c", "T2", "FLAIR", "STIR", "ADC", "DWI", "CT", "other")
"""The contrasts that `cohort.contrast` tells apart; `other` is kept out of training."""

PLANES = ("sagittal", "coronal", "axial")
"""The planes in the order of the patient axes (x, y, z) that their slices are stacked along."""

CONTRAST_NAMES = CONTRASTS[:-1] + tuple(f"{contrast} {plane}" for contrast in CONTRASTS[:-1] for plane in PLANES)
"""What a plan may ask for: a contrast in the patient's main plane (`T2`), or in a plane of its own (`T2 axial`)."""


AIR_HU = -1024.0
"""Hounsfield units of a place where nothing is or was measured: the least of 12 bits."""


@dataclass(frozen=True)
class Scanner:
    """How a series was acquired; `None` where the header does not say.

    Args:
        vendor: one word, see `cohort.scanner`.
        model: as the vendor spells it.
        field_tesla: field strength as the magnet is sold.
        coil: receive coil as the vendor spells it.
        echo_time_ms: echo time.
        repetition_time_ms: time between preparations, or between excitations that meet the same magnetisation.
        inversion_time_ms: inversion time.
        b_value: diffusion weighting in s/mm².
        flip_angle_deg: flip angle as the header gives it.
        excitation_spacing_ms: time between the excitations of a gradient-echo train. Where a vendor tells one of this
            and `repetition_time_ms`, the other is `None`.
    """

    vendor: str | None = None
    model: str | None = None
    field_tesla: float | None = None
    coil: str | None = None
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    b_value: float | None = None
    flip_angle_deg: float | None = None
    excitation_spacing_ms: float | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """One series as an array with its geometry.

    Args:
        voxels: (slice, row, column), slices ordered by position along the slice normal.
        affine: (4, 4), maps (slice, row, column, 1) to (x, y, z, 1) in millimetres in DICOM's LPS patient axes.
        contrast: one of `CONTRASTS`.
        scanner: how it was acquired.
        computed: whether it is no picture of the scanner's but computed from others (an ADC map from DWI).
    """

    voxels: NDArray[np.generic] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    contrast: str
    scanner: Scanner = field(default_factory=Scanner)
    computed: bool = False

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (slice, row, column)."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    @property
    def plane(self) -> str:
        """The plane of its slices, one of `PLANES`; an oblique one counts as the nearest, isotropic voxels too."""
        return PLANES[int(np.argmax(np.abs(self.affine[:3, 0])))]


@dataclass(frozen=True, eq=False)
class FollowUp:
    """A later study of a patient.

    Args:
        months: since the baseline, in months of 30.4375 days.
        volumes: as `Patient.volumes`.
        mask: as `Patient.mask`, on one of these volumes.
        levels: as `Patient.levels`.
    """

    months: float = field(repr=False)
    volumes: Mapping[str, Volume] = field(repr=False)
    mask: Volume | None = field(default=None, repr=False)
    levels: NDArray[np.float64] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Patient:
    """One patient with whatever the hospital has; anything but the identifier may be missing.

    Args:
        identifier: the pseudonym that the site's key gives to the hospital's own id; never sent either.
        volumes: name to volume: each contrast in the patient's main plane, or if need be another, under the contrast's
            name (`T2`), and further planes under names such as `T2 axial`. All are of one study, the baseline.
        mask: lesion mask, or structures by number, uint8 (slice, row, column), nonzero inside; its affine is that of
            one of `volumes`.
        label: the diagnosis as a free word.
        grade: biopsy grade.
        time: months of follow-up.
        event: 1 if the event happened at `time`, 0 if censored.
        level: vertebral level as a free word.
        omics: (column,) float64 in the order of `Cohort.omics_columns`; NaN where missing. `None` without a row.
        follow_up: later studies, the earliest first.
        levels: (level, 3), centres of the vertebrae `cohort.levels.VERTEBRAE` in LPS millimetres; NaN where unknown.
        age: in years.
        sex: "F" or "M".
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
    follow_up: tuple[FollowUp, ...] = field(default=(), repr=False)
    levels: NDArray[np.float64] | None = field(default=None, repr=False)
    age: float | None = field(default=None, repr=False)
    sex: str | None = field(default=None, repr=False)

    def find(self, name: str) -> Volume | None:
        """Return the volume that a plan calls `name`, one of `CONTRAST_NAMES`, or `None`.

        `T2` is what `volumes` calls so. `T2 axial` is an axial T2, also where axial is this patient's main plane.
        """
        found = self.volumes.get(name)
        if found is None and " " in name:
            contrast, plane = name.rsplit(" ", 1)
            main = self.volumes.get(contrast)
            found = main if main is not None and main.plane == plane else None
        return found


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
        own_ids: pseudonym to the hospital's own id, for the hospital's screen alone.
        key_mark: tells this site's pseudonym key from any other one; nothing follows from it.
        key_kept: whether the next start finds the same key; without it, pseudonyms and folds change.
        cleared: what was taken out of the DICOM headers: (tag, what became of it, files, patients).
    """

    name: str
    patients: tuple[Patient, ...] = field(repr=False)
    omics_columns: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = field(default=(), repr=False)
    own_ids: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_mark: str = ""
    key_kept: bool = True
    cleared: tuple[tuple[int, str, int, int], ...] = field(default=(), repr=False)

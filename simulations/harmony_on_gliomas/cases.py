"""Patients of the study as rows of measures, read where someone drew the lesion or where a network found it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedspine.errors import InputError
from simulations.harmony_on_gliomas.measures import BLOCKS, Array
from simulations.idh_study.study import CLASSES
from simulations.segmentation_study.found import Masks
from simulations.segmentation_study.recipe import axial_brain
from simulations.segmentation_study.study import read_sites


@dataclass(frozen=True, eq=False)
class Cases:
    """Patients as rows.

    Args:
        sites: (patient,) words.
        labels: (patient,) 1 for wild type, 0 for mutant, -1 unknown.
        blocks: name to (patient, feature), NaN where unknown.
    """

    sites: NDArray[np.str_] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    blocks: dict[str, Array] = field(repr=False)

    def rows(self, chosen: NDArray[np.bool_]) -> Cases:
        """Return those patients alone."""
        return Cases(self.sites[chosen], self.labels[chosen], {k: v[chosen] for k, v in self.blocks.items()})


def cases_of(folder: Path, masks: Masks | None = None) -> Cases:
    """Return the measures of all patients below `folder` who have a mask and an image, by drawn masks or by `masks`.

    Raises:
        InputError: if a patient's is not among `masks`.
    """
    data = replace(axial_brain().data, classes=CLASSES)
    sites = read_sites(folder, data)
    members = [(site, patient) for site, patients in sites.items() for patient in patients]
    if masks is not None:
        keys = [(site, index) for site, patients in sites.items() for index in range(len(patients))]
        if missing := sum(key not in masks for key in keys):
            raise InputError("--masks must hold every patient's", f"{missing} missing", "run the other folds")
        pairs = zip(keys, members, strict=True)
        members = [(site, patient.with_images(patient.images, masks[key])) for key, (site, patient) in pairs]
    blocks = {name: np.array([measure(patient) for _, patient in members]) for name, measure in BLOCKS.items()}
    return Cases(np.array([site for site, _ in members]), np.array([p.label for _, p in members]), blocks)

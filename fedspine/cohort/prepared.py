"""Patients on the plan's grid, made when they are asked for and kept on disk: a cohort never has to fit into memory.

The first time a patient is asked for, `to_tensors` makes the tensors and they are kept below the site's cache; from
then on they are memory maps, also for the processes that a deployed Flower starts for every message. What was used
last stays in memory up to a bound, so a small cohort is read once.

Which patients there are, and how many, is known without opening any: sampling does not depend on their content.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import torch

from fedspine.cohort.cache import VERSION, forget_pages, write_whole
from fedspine.cohort.patient import Patient
from fedspine.cohort.scanner import word_of
from fedspine.cohort.tensors import PatientTensors, to_tensors, without_images
from fedspine.config import DataPlan
from fedspine.errors import SeriesError

MOST_BYTES_KEPT = 128 * 2**20
"""What a `Lazily` holds in memory of the patients it made last; one patient is always held."""

PLANS_KEPT = 4
"""How many plans' tensors stay on disk; those not used for longest go first."""


class Lazily(Sequence[PatientTensors]):
    """A sequence of patients, each made when it is asked for.

    Args:
        makers: a function per patient.
        most_bytes: bound on the images and masks kept in memory.
    """

    def __init__(self, makers: Sequence[Callable[[], PatientTensors]], most_bytes: int = MOST_BYTES_KEPT) -> None:
        self._makers = makers
        self._most = most_bytes
        self._kept: OrderedDict[int, PatientTensors] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._makers)

    @overload
    def __getitem__(self, index: int) -> PatientTensors: ...

    @overload
    def __getitem__(self, index: slice) -> Lazily: ...

    def __getitem__(self, index: int | slice) -> PatientTensors | Lazily:
        if isinstance(index, slice):
            return Lazily(self._makers[index], self._most)
        index = range(len(self))[index]
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        patient = self._makers[index]()
        self._kept[index] = patient
        self._bytes += _size(patient)
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return patient


def _size(patient: PatientTensors) -> int:
    return patient.images.nbytes + (0 if patient.mask is None else patient.mask.nbytes)


def mapped(patients: Sequence[PatientTensors], change: Callable[[PatientTensors], PatientTensors]) -> Lazily:
    """Return `patients`, each changed by `change` when it is asked for."""

    def maker(index: int) -> Callable[[], PatientTensors]:
        return lambda: change(patients[index])

    return Lazily([maker(index) for index in range(len(patients))])


def joined(*several: Sequence[PatientTensors]) -> Lazily:
    """Return several sequences as one."""

    def maker(patients: Sequence[PatientTensors], index: int) -> Callable[[], PatientTensors]:
        return lambda: patients[index]

    return Lazily([maker(patients, index) for patients in several for index in range(len(patients))])


def prepared(
    patients: Sequence[Patient],
    columns: tuple[str, ...],
    plan: DataPlan,
    keep: Path | None,
    say: Callable[[SeriesError], None] = lambda unmet: None,
    scanners: Sequence[str] = (),
) -> Lazily:
    """Return `patients` as the tensors of `plan`, made one at a time.

    Args:
        patients: what the hospital has.
        columns: names of `patient.omics`.
        plan: contrasts, classes, omics columns, size and slices.
        keep: folder for what was made, or `None` to make it anew each time; made if missing. An entry is known by the
            cached volumes it came from, so one that changed is never met again.
        say: called with the reason where a step of the plan could not be done, when the tensors are first made.
        scanners: the site's, as `scanner.word_of` calls them, by number; the last stands for all others.
    """
    folder = None if keep is None else _room(keep, plan)

    def maker(patient: Patient) -> Callable[[], PatientTensors]:
        return lambda: numbered(_prepare(patient, columns, plan, folder, say), scanners)

    return Lazily([maker(patient) for patient in patients])


def numbered(patient: PatientTensors, scanners: Sequence[str]) -> PatientTensors:
    """Return the patient with the number of its scanner among `scanners`; the last stands for all others."""
    if patient.scanner is None or not scanners:
        return patient
    word = word_of(patient.scanner)
    return replace(patient, batch=scanners.index(word) if word in scanners else len(scanners) - 1)


def _room(keep: Path, plan: DataPlan) -> Path | None:
    """Return the folder of this plan's tensors, and forget the plans that were not used for longest."""
    folder = keep / hashlib.blake2b(f"{VERSION}{plan!r}".encode(), digest_size=12).hexdigest()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.touch()
        others = sorted((path for path in keep.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime_ns)
        for old in others[PLANS_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return None
    return folder


def _prepare(
    patient: Patient, columns: tuple[str, ...], plan: DataPlan, folder: Path | None, say: Callable[[SeriesError], None]
) -> PatientTensors:
    key = None if folder is None else _key(patient, plan)
    if folder is None or key is None:
        return to_tensors(patient, columns, plan, say)
    files = folder / f"{key}.images.npy", folder / f"{key}.mask.npy"
    masked = patient.mask is not None and any(patient.find(contrast) is not None for contrast in plan.contrasts)
    images, mask = _load(files[0]), _load(files[1]) if masked else None
    if images is None or (masked and mask is None):
        made = to_tensors(patient, columns, plan, say)
        for volume in patient.volumes.values():
            forget_pages(volume.voxels)
        try:  # the mask first: where images are found, the mask was written
            if made.mask is not None:
                _save(files[1], made.mask)
            _save(files[0], made.images)
        except OSError:  # a full disk must not stop the training
            return made
        images, mask = _load(files[0]), _load(files[1]) if masked else None
        if images is None or (masked and mask is None):
            return made
    return without_images(patient, columns, plan).with_images(images, mask)


def _key(patient: Patient, plan: DataPlan) -> str | None:
    """Return a name made of the cached volumes that the tensors come from; `None` when one lies in no cache."""
    parts = []
    volumes = [(c, found) for c in plan.contrasts if (found := patient.find(c)) is not None]
    for name, volume in [*volumes, *([("mask", patient.mask)] if patient.mask is not None else [])]:
        file = getattr(volume.voxels, "filename", None)
        if file is None:
            return None
        try:
            stat = Path(file).stat()
        except OSError:  # it lay in a temporary folder
            return None
        parts.append(f"{name} {Path(file).name} {stat.st_mtime_ns} {volume.affine.tobytes().hex()}")
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _load(file: Path) -> torch.Tensor | None:
    """Return an array as a private map of the file; `None` where there is none, or a broken one."""
    try:
        return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError):  # the last for an empty file, as a loss of power leaves it
        return None


def _save(file: Path, tensor: torch.Tensor) -> None:
    write_whole(file, lambda to: np.save(to, tensor.contiguous().numpy(), allow_pickle=False))

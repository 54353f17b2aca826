"""One image of a BIDS data set: a NIfTI file with its sidecars, as the stacks that DICOM files would make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from fedspine.cohort.bids.sidecar import in_dicom, read_numbers, read_sidecar, sidecars_of
from fedspine.cohort.bids.tree import Item, Tree
from fedspine.cohort.cache import Cache, key_of
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom.header import FileHeader, header_of
from fedspine.cohort.dicom.record import restored, stored
from fedspine.cohort.dicom.series import Plane, Stack, stacks_of
from fedspine.cohort.grid import as_read
from fedspine.cohort.nifti import open_nifti, slice_axis, volumes_of
from fedspine.cohort.quiet import quiet
from fedspine.errors import SeriesError

MOST_VOLUMES = 4096
"""Of one 4-D file."""

# suffixes whose meaning DICOM would tell by ImageType
IMAGE_TYPES: Mapping[str, tuple[str, ...]] = {
    "adc": ("DERIVED", "PRIMARY", "ADC"),
    "fa": ("DERIVED", "PRIMARY", "FA"),
    "trace": ("DERIVED", "PRIMARY", "TRACEW"),
    "t1map": ("DERIVED", "PRIMARY", "T1_MAP"),
    "t2map": ("DERIVED", "PRIMARY", "T2_MAP"),
    "t2starmap": ("DERIVED", "PRIMARY", "T2STAR_MAP"),
    "tb1map": ("DERIVED", "PRIMARY", "B1 MAP"),
}
PARTS = {"phase": "PHASE", "real": "REAL", "imag": "IMAGINARY"}
"""Values of the entity `part`."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One NIfTI image before its voxels are read.

    Args:
        item: the file.
        shape: of the file's axes.
        order, flips: see `grid.as_read`.
        affine: (4, 4), (slice, row, column, 1) to LPS millimetres.
        header: that of its first plane, as if it were a DICOM file.
        b_values: one a volume, empty where there is no .bval.
        directions: (3, volume), empty where there is no .bvec.
    """

    item: Item = field(repr=False)
    shape: tuple[int, ...]
    order: tuple[int, int, int]
    flips: tuple[bool, ...]
    affine: NDArray[np.float64] = field(repr=False)
    header: FileHeader = field(repr=False)
    b_values: tuple[float, ...] = ()
    directions: tuple[tuple[float, ...], ...] = ()

    @property
    def sides(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = (self.shape[axis] for axis in self.order)
        return slices, rows, columns


def read_picture(folder: Path, item: Item, tree: Tree, cache: Cache, site_key: Key) -> Picture:
    """Return the image in a file with what its sidecars say, from the cache where nothing of them changed.

    Raises:
        SeriesError: when image or sidecar cannot be used.
    """
    beside = {ending: sidecars_of(item, tree, ending) for ending in (".json", ".bval", ".bvec")}
    files = [item.file, *(one.file for several in beside.values() for one in several)]
    key = key_of(
        f"picture {site_key.fingerprint()}", (part for file in files for part in (file.where, file.size, file.changed))
    )
    entry = cache.get(key)
    if entry is None:
        picture = _read(folder, item, beside, site_key)
        known = (picture.shape, picture.order, picture.flips, picture.affine.tolist(), stored(picture.header))
        cache.put(key, [*known, picture.b_values, picture.directions])
        return picture
    shape, order, flips, affine, header, b_values, directions = entry
    slices, row, column = order
    return Picture(
        item=item,
        shape=tuple(shape),
        order=(slices, row, column),
        flips=tuple(flips),
        affine=np.asarray(affine, np.float64),
        header=restored(header),
        b_values=tuple(b_values),
        directions=tuple(map(tuple, directions)),
    )


def _read(folder: Path, item: Item, beside: Mapping[str, list[Item]], site_key: Key) -> Picture:
    values = read_sidecar(folder, beside[".json"])
    _, shape, affine = open_nifti(folder / item.file.where, item.file.size)
    axis = slice_axis(shape, affine, str(values.get("SliceEncodingDirection", "")))
    order, flips, turned = as_read(affine, shape[:3], axis)
    with quiet():
        header = header_of(_as_dicom(item, values, turned, [shape[axis] for axis in order]), site_key).header
    # whose it is goes by the folder; the cache must not say it
    picture = Picture(item, shape, order, flips, turned, replace(header, patient=""))
    if item.data_type != "dwi" and len(shape) == 3:
        return picture
    b_values = [b for row in read_numbers(folder, beside[".bval"]) for b in row]
    directions = read_numbers(folder, beside[".bvec"])
    count = shape[3] if len(shape) == 4 else 1
    if len(shape) > 4 or count > MOST_VOLUMES or (count > 1 and len(b_values) != count):
        raise SeriesError(
            "a 4-D image must be a diffusion series with one b-value a volume in its .bval file",
            "volumes that nothing tells apart",
            "add the .bval file, or save the volumes one by one",
        )
    if len(b_values) != count:
        return picture
    fitting = len(directions) == 3 and all(len(row) == count for row in directions)
    return replace(
        picture, b_values=tuple(b_values), directions=tuple(zip(*directions, strict=True)) if fitting else ()
    )


def stacks(picture: Picture) -> tuple[list[Stack], list[tuple[str, SeriesError]]]:
    """Return the stacks in an image, one a volume, and what was refused; the rules are those of DICOM."""
    header = picture.header
    (frame,) = header.frames
    slices, cosines = picture.sides[0], _cosines(picture.affine)
    positions = picture.affine[:3, 3] + np.arange(slices)[:, None] * picture.affine[:3, 0]
    planes = []
    for volume in range(max(len(picture.b_values), 1)):
        b_value = picture.b_values[volume] if picture.b_values else frame.b_value
        gradient = picture.directions[volume] if picture.directions and b_value else ()
        moment = (str(volume), *frame.moment[1:])
        common = replace(frame, orientation=cosines, b_value=b_value, gradient=gradient, moment=moment)
        planes += [
            Plane(picture.item.file.where, volume * slices + index, header, replace(common, position_mm=tuple(place)))
            for index, place in enumerate(positions.tolist())
        ]
    return stacks_of(planes)


def decode(folder: Path, picture: Picture) -> Iterator[NDArray[np.generic]]:
    """Yield the voxels (slice, row, column) of every volume of `picture`."""
    file = picture.item.file
    return volumes_of(folder / file.where, file.size, picture.order, picture.flips)


def _cosines(affine: NDArray[np.float64]) -> tuple[float, ...]:
    column, row = affine[:3, 2], affine[:3, 1]
    return tuple(float(x) for x in (*(column / np.linalg.norm(column)), *(row / np.linalg.norm(row))))


def _as_dicom(item: Item, values: Mapping[str, Any], affine: NDArray[np.float64], sides: Sequence[int]) -> Dataset:
    """Return the header that a DICOM file of the first plane would have.

    Args:
        item: the file.
        values: of its sidecars.
        affine: (4, 4), (slice, row, column, 1) to LPS millimetres.
        sides: (slices, rows, columns).
    """
    dataset = in_dicom(values)
    computed = item.data_type == "ct" or item.suffix.lower() == "ct"
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = CTImageStorage if computed else MRImageStorage
    dataset.Modality = "CT" if computed else "MR"
    dataset.PatientID = f"sub-{item.subject}"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["BIDS study", item.subject, "/", item.session])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["BIDS frame", item.subject, "/", item.session])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["BIDS series", item.file.where])
    run = item.entities.get("run", "1")
    dataset.SeriesNumber = int(run) if run.isdecimal() and len(run) < 6 else 1
    dataset.Rows, dataset.Columns = sides[1:]
    slice_mm, row_mm, column_mm = (f"{x:.9g}" for x in np.linalg.norm(affine[:3, :3], axis=0))
    dataset.PixelSpacing, dataset.SpacingBetweenSlices = [row_mm, column_mm], slice_mm
    dataset.ImagePositionPatient = [f"{x:.9g}" for x in affine[:3, 3]]
    dataset.ImageOrientationPatient = [f"{x:.9g}" for x in _cosines(affine)]
    # the name was given by a person who knew the series, so it goes before what the console called it
    dataset.SeriesDescription = f"{_said(item)} {dataset.get('SeriesDescription') or ''}".strip()[:64]
    if "ce" in item.entities and not dataset.get("ContrastBolusAgent"):
        dataset.ContrastBolusAgent = item.entities["ce"]
    kind = [*_listed(dataset.get("ImageType")), *IMAGE_TYPES.get(item.suffix.lower(), ())]
    kind += [PARTS[part] for part in [item.entities.get("part", "")] if part in PARTS]
    dataset.ImageType = kind or ["ORIGINAL", "PRIMARY"]
    return dataset


def _listed(value: Any) -> list[str]:
    return [] if not value else [value] if isinstance(value, str) else [str(one) for one in value]


def _said(item: Item) -> str:
    """Return the words of a name in the order of a series description: `acq-sag_T2w` becomes `sag T2w`."""
    pairs = [value for key, value in item.entities.items() if key not in ("sub", "ses", "run", "echo", "part")]
    return " ".join([*pairs, *item.words])

"""The child processes of `make bench` that read hospital data, and what other tools do with the same files."""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.bench.memory import highest_mb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTRASTS: dict[str, tuple[float, float, float | None]] = {
    "T1": (10.0, 550.0, None),
    "T1c": (10.0, 550.0, None),
    "T2": (100.0, 4000.0, None),
    "STIR": (50.0, 4000.0, 160.0),
    "FLAIR": (120.0, 9000.0, 2500.0),
}
"""Echo, repetition and inversion time in milliseconds."""

SLICES, SERIES = (100, 512, 512), 10
PATIENTS, SMALL = 200, (12, 64, 64)


def _write(place: Path, patient: str, shape: tuple[int, ...], planes: int) -> None:
    """Write one patient's five contrasts in one or two planes as uncompressed MR, a file a slice."""
    import numpy as np

    from fedspine.cohort.patient import Scanner, Volume
    from fedspine.phantom.dicom import Study, write_series

    sagittal = np.array([[3.0, 0, 0, -100], [0, 0, 0.5, -100], [0, -0.5, 0, 100], [0, 0, 0, 1]])
    axial = np.array([[0, 0, 0.5, -100], [0, 0.5, 0, -100], [3.0, 0, 0, 100], [0, 0, 0, 1]])
    random = np.random.default_rng(0)
    for plane, affine in enumerate((sagittal, axial)[:planes]):
        study = Study(patient, f"{patient} {plane}", "bench", {name: name for name in CONTRASTS})
        for number, (name, times_ms) in enumerate(CONTRASTS.items()):
            voxels: NDArray[np.uint16] = random.integers(0, 4000, shape, np.uint16)
            scanner = Scanner("Maker", "Model", 3.0, "Spine", *times_ms)
            write_series(
                place / f"{plane}-{number}",
                study,
                Volume(voxels, affine, name, scanner),
                plane * len(CONTRASTS) + number + 1,
            )


def _number(folder: Path) -> None:
    """Number the files of a series in the order of their slices: dicom2nifti relies on it, and phantoms mix it."""
    import pydicom

    datasets = {path: pydicom.dcmread(path) for path in folder.iterdir()}
    in_order = sorted(datasets, key=lambda path: tuple(map(float, datasets[path].ImagePositionPatient)))
    for number, path in enumerate(in_order):
        datasets[path].InstanceNumber = number + 1
        datasets[path].save_as(path)


def draw_series(sites: Path) -> dict[str, float]:
    """Write 1,000 slices of 512² in 10 series; write and cache 200 patients of 5 contrasts of 12 small slices."""
    from fedspine.cohort.site import load_cohort

    _write(sites.parent / "thousand" / "dicom" / "P", "P", SLICES, SERIES // len(CONTRASTS))
    for series in (sites.parent / "thousand" / "dicom" / "P").iterdir():
        _number(series)
    for number in range(PATIENTS):
        _write(sites.parent / "hundreds" / "dicom" / f"{number:03}", f"{number:03}", SMALL, 1)
    load_cohort(sites.parent / "hundreds")
    return {}


def decode(sites: Path) -> dict[str, float]:
    """Read the 1,000 slices into an empty cache."""
    from fedspine.cohort.site import load_cohort

    folder = sites.parent / "thousand"
    shutil.rmtree(folder / ".fedspine", ignore_errors=True)
    _warm(folder)
    begun = time.perf_counter()
    cohort = load_cohort(folder)
    seconds = time.perf_counter() - begun
    volumes = cohort.patients[0].volumes.values()
    assert sum(len(volume.voxels) for volume in volumes) == SLICES[0] * SERIES
    return {"seconds": seconds, "peak_mb": highest_mb()}


def _warm(folder: Path) -> None:
    """Read every file once, so that neither side waits for the disk."""
    for path in sorted((folder / "dicom").rglob("*")):
        if path.is_file():
            path.read_bytes()


def _pixels(files: list[Path]) -> int:
    import pydicom

    return sum(pydicom.dcmread(file).pixel_array.nbytes for file in files)


def pydicom_loop(sites: Path) -> dict[str, float]:
    """Read the same slices by `pydicom.dcmread(file).pixel_array` in two processes, and keep nothing."""
    import pydicom.pixels  # noqa: F401 - loaded before the processes part, as above

    folder = sites.parent / "thousand"
    _warm(folder)
    files = sorted(path for path in (folder / "dicom").rglob("*") if path.is_file())
    begun = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        total = sum(pool.map(_pixels, [files[::2], files[1::2]], chunksize=1))
    assert total == 2 * SLICES[0] * SLICES[1] * SLICES[2] * SERIES
    return {"seconds": time.perf_counter() - begun}


def dicom2nifti(sites: Path) -> dict[str, float]:
    """Convert the same slices with dicom2nifti, to NIfTI without compression."""
    import dicom2nifti as tool

    folder = sites.parent / "thousand"
    _warm(folder)
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        tool.convert_directory(str(folder / "dicom"), out, compression=False, reorient=False)
        seconds = time.perf_counter() - begun
        assert len(list(Path(out).glob("*.nii"))) == SERIES
    return {"seconds": seconds}


def cached_hundreds(sites: Path) -> dict[str, float]:
    """Read the cohort of 200 patients whose volumes are cached."""
    from fedspine.cohort.site import load_cohort

    begun = time.perf_counter()
    cohort = load_cohort(sites.parent / "hundreds")
    seconds = time.perf_counter() - begun
    assert len(cohort.patients) == PATIENTS
    assert "torch" not in sys.modules
    return {"seconds": seconds, "peak_mb": highest_mb()}

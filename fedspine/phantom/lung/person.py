"""A person with lungs and perhaps nodules, who can be scanned by CT; the lung counterpart of `phantom.patient`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Patient, Scanner, Volume
from fedspine.errors import InputError
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.lung.chest import FINER, Chest, Map, Region, draw_chest, paint_chest
from fedspine.phantom.lung.nodule import Nodule, draw_nodule, paint_nodule, paint_vessels
from fedspine.phantom.lung.scanner import CT_SCANNERS, CTScanner, acquire_ct

LUNG_CONTRASTS = ("CT",)
LUNG_OMICS = ("EGFR", "KRAS", "TP53", "pack_years", "CEA")
"""Mutation counts, smoking, and a serum marker (ng/ml, as a logarithm)."""
_SMALLEST = (2, 16, 16)
_FOLLOW_UP_MONTHS = 60.0


@dataclass(frozen=True, eq=False)
class LungPhantom:
    """A person; nothing here but the grid's tilt depends on a scanner.

    Args:
        label: one of `genome.CLASSES`.
        chest: measures and field of view.
        nodules: none in a normal person.
        image: Hounsfield units (slice, row, column) on the fine grid.
        lungs: where they are, uint8 (slice, row, column) in the image's grid, vessels and nodules included.
        mask: of the nodules, the same grid.
        omics: (column,) in the order of `LUNG_OMICS`.
        time: months of follow-up.
        event: 1 if the disease progressed at `time`, 0 if censored.
    """

    label: str
    chest: Chest
    nodules: tuple[Nodule, ...]
    image: Map = field(repr=False)
    lungs: NDArray[np.uint8] = field(repr=False)
    mask: NDArray[np.uint8] = field(repr=False)
    omics: NDArray[np.float64] = field(repr=False)
    time: float
    event: float

    @property
    def category(self) -> float:
        """The highest category of Lung-RADS of its nodules, 1 without any."""
        return float(max((nodule.category for nodule in self.nodules), default=1))

    def scan(self, scanner: CTScanner, generator: np.random.Generator) -> Volume:
        """Scan this person; voxels are Hounsfield units, int16 (slice, row, column)."""
        voxels = acquire_ct(self.image, scanner, float(np.linalg.norm(self.chest.affine[:3, 2])), generator)
        return Volume(voxels, self.chest.affine, "CT", Scanner(vendor=scanner.vendor, model=scanner.model))


def draw_lung(
    generator: np.random.Generator,
    *,
    label: str | None = None,
    shape: tuple[int, int, int] = (12, 128, 128),
    tilt: float = 0.0,
) -> LungPhantom:
    """Draw a person of this label (any label if `None`), imaged as `shape` (slice, row, column) voxels."""
    if label is not None and label not in CLASSES:
        raise InputError(f"a phantom's label must be one of {', '.join(CLASSES)}", "another word", "choose one of them")
    if any(length < least for length, least in zip(shape, _SMALLEST, strict=True)):
        raise InputError("a phantom needs at least 2 slices of 16 x 16", " x ".join(map(str, shape)), "ask for more")
    label = label or str(generator.choice(CLASSES))
    chest = draw_chest(generator, shape, tilt)
    image, lungs = paint_chest(chest, generator)
    paint_vessels(image, lungs, chest.fine_affine, generator)
    nodules = _draw_nodules(label, chest, lungs, generator)
    found = np.zeros(image.shape, np.bool_)
    for nodule in nodules:
        found |= paint_nodule(image, lungs, chest.fine_affine, nodule, generator)
    omics = _draw_omics(label, nodules, generator)
    time, event = _draw_outcome(label, nodules, generator)
    return LungPhantom(label, chest, nodules, image, _most(lungs), _most(found), omics, time, event)


def to_lung_patient(
    phantom: LungPhantom, identifier: str, scanner: CTScanner, generator: np.random.Generator
) -> Patient:
    """Scan a phantom and return it as a hospital would know it; its grade is the category of Lung-RADS."""
    return Patient(
        identifier=identifier,
        volumes={"CT": phantom.scan(scanner, generator)},
        mask=Volume(phantom.mask, phantom.chest.affine, "other", Scanner()),
        label=phantom.label,
        grade=phantom.category,
        time=phantom.time,
        event=phantom.event,
        omics=phantom.omics,
    )


def public_lungs(
    count: int, seed: int, shape: tuple[int, int, int], structures: tuple[str, ...] = ()
) -> tuple[Patient, ...]:
    """Return `count` lung phantoms without omics, classes in turn, each on a scanner drawn at random.

    The mask is the nodules'; where `structures` are named and are not just the lesion, there is none.
    """
    lungs = (_public_lung(index, seed, shape) for index in range(count))
    return tuple(lungs) if structures in ((), ("lesion",)) else tuple(replace(one, mask=None) for one in lungs)


def _public_lung(index: int, seed: int, shape: tuple[int, int, int]) -> Patient:
    generator = np.random.default_rng([seed, index, 2])
    scanner = CT_SCANNERS[int(generator.integers(len(CT_SCANNERS)))]
    phantom = draw_lung(generator, label=CLASSES[index % len(CLASSES)], shape=shape, tilt=scanner.tilt)
    patient = to_lung_patient(phantom, f"lung-{index:04d}", scanner, generator)
    return Patient(patient.identifier, patient.volumes, patient.mask, patient.label)


def _most(region: Region) -> NDArray[np.uint8]:
    """Return a fine region on the image's grid: voxels of which at least half lies in it."""
    slices, rows, columns = (side // FINER for side in region.shape)
    share = region.reshape(slices, FINER, rows, FINER, columns, FINER).mean((1, 3, 5), dtype=np.float32)
    return np.asarray(share >= 0.5, np.uint8)


def _draw_nodules(label: str, chest: Chest, lungs: Region, generator: np.random.Generator) -> tuple[Nodule, ...]:
    """Draw where nodules lie: anywhere in the lungs, the outermost slices left out."""
    if label == "normal":
        return ()
    margin = max(FINER, lungs.shape[0] // 6)
    places = np.argwhere(lungs[margin:-margin])
    if not len(places):
        return ()
    count = 1 + int(generator.random() < 0.25)
    chosen = places[generator.integers(len(places), size=count)] + (margin, 0, 0)
    to = chest.fine_affine
    centres = [to[:3, :3] @ place + to[:3, 3] for place in chosen]
    first = draw_nodule(label, centres[0], generator)
    # who has a malignant nodule often has a harmless one too
    return (first, *(draw_nodule("benign", centre, generator) for centre in centres[1:]))


def _draw_omics(label: str, nodules: tuple[Nodule, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw genes and markers: EGFR goes with ground glass and never having smoked, KRAS and TP53 with smoking."""
    malignant = float(label == "malignant")
    hazy = float(any(nodule.kind != "solid" for nodule in nodules))
    pack_years = float(generator.gamma(1.6, 12.0) * (generator.random() < 0.5 + 0.3 * malignant - 0.2 * hazy))
    smoking = min(pack_years / 30.0, 1.5)
    rates = (0.1 + malignant * (0.3 + 0.7 * hazy) * (1.2 - 0.6 * smoking), 0.1 + malignant * 0.7 * smoking)
    counts = [float(generator.poisson(max(rate, 0.02))) for rate in (*rates, 0.1 + malignant * (0.4 + 0.5 * smoking))]
    marker = float(0.6 + 0.9 * malignant + 0.2 * smoking + 0.7 * generator.standard_normal())
    return np.array([*counts, round(pack_years, 1), round(marker, 3)])


def _draw_outcome(label: str, nodules: tuple[Nodule, ...], generator: np.random.Generator) -> tuple[float, float]:
    """Draw (time in months, event): the hazard of a malignant nodule grows with its solid part."""
    core_mm = max((nodule.core_mm for nodule in nodules), default=0.0)
    hazard = 0.001 if label != "malignant" else 0.004 * float(np.exp(core_mm / 12.0))
    until_event = generator.exponential(1.0 / hazard)
    until_end = generator.uniform(6.0, _FOLLOW_UP_MONTHS)
    return round(min(until_event, until_end), 1), float(until_event <= until_end)

"""One phantom: a person with a genome, a spine and perhaps a tumour, who can be scanned again on another scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Patient, Scanner, Volume
from fedspine.errors import InputError
from fedspine.phantom.acquisition import Subject, acquire
from fedspine.phantom.anatomy import LEVELS, Anatomy, draw_anatomy, frame_of, paint_spine
from fedspine.phantom.genome import CLASSES, Genome, draw_genome, tumour_tissues
from fedspine.phantom.grid import image_affine
from fedspine.phantom.lesion import draw_lesions, lesion_mask, paint_lesion
from fedspine.phantom.scanner import CONTRASTS, ScannerModel
from fedspine.phantom.tissue import healthy_tissues
from fedspine.phantom.tumour import TumourType, tumours_of

_SMALLEST = (2, 16, 16)
_FOLLOW_UP_MONTHS = 60.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A person; nothing here depends on a scanner.

    Args:
        label: one of `genome.CLASSES`.
        tumour: the tumour's type, `None` in a normal person.
        genome: what caused tissue and omics.
        anatomy: measures of the spine and the field of view.
        tissues: uint8 (slice, row, column), values of `Tissue`, on a grid twice as fine as the image's.
        table: (tissue, column) relaxation times and more, see `tissue`.
        texture: float32 (slice, row, column), unevenness of the proton density.
        mask: lesion mask, uint8 (slice, row, column) in the image's grid; empty in a normal person.
        level: vertebral level of the lesion; in a normal person that at the middle of the image.
        grade: biopsy grade 1 to 4; `None` without a tumour.
        time: months of follow-up.
        event: 1 if the disease progressed at `time`, 0 if censored.
    """

    label: str
    tumour: TumourType | None
    genome: Genome
    anatomy: Anatomy
    tissues: NDArray[np.uint8] = field(repr=False)
    table: NDArray[np.float64] = field(repr=False)
    texture: NDArray[np.float32] = field(repr=False)
    mask: NDArray[np.uint8] = field(repr=False)
    level: str
    grade: float | None
    time: float
    event: float

    @property
    def omics(self) -> NDArray[np.float64]:
        """The omics vector, (column,) in the order of `genome.OMICS_COLUMNS`."""
        return self.genome.omics()

    def scan(
        self, scanner: ScannerModel, generator: np.random.Generator, contrasts: Sequence[str] = CONTRASTS
    ) -> dict[str, Volume]:
        """Scan this person; voxels are uint16 (slice, row, column), an unknown contrast is absent."""
        subject = Subject(self.anatomy, self.tissues, self.table, self.texture)
        return acquire(subject, scanner, contrasts, generator)


def draw(
    generator: np.random.Generator, *, label: str | None = None, shape: tuple[int, int, int] = (12, 128, 128)
) -> Phantom:
    """Draw a person of this label (any label if `None`), imaged as `shape` (slice, row, column) voxels."""
    if label is not None and label not in CLASSES:
        raise InputError(f"a phantom's label must be one of {', '.join(CLASSES)}", "another word", "choose one of them")
    if any(length < least for length, least in zip(shape, _SMALLEST, strict=True)):
        raise InputError("a phantom needs at least 2 slices of 16 x 16", " x ".join(map(str, shape)), "ask for more")
    label = label or str(generator.choice(CLASSES))
    tumour = _draw_tumour(label, generator)
    genome = draw_genome(tumour, generator)
    first, last = tumour.levels if tumour else (1, 22)
    level = int(generator.integers(first, last + 1))
    table = tumour_tissues(genome, healthy_tissues(generator))
    # a normal spine is more often one that was scanned for what turned out to be wear
    anatomy = draw_anatomy(generator, shape, level, mimics=0.10 if tumour else 0.25)
    tissues = _paint(anatomy, tumour, generator)
    texture = 1.0 + np.float32(0.05) * generator.standard_normal(shape, dtype=np.float32)
    grade = _draw_grade(label, generator)
    time, event = _draw_outcome(genome, grade, generator)
    return Phantom(
        label=label,
        tumour=tumour,
        genome=genome,
        anatomy=anatomy,
        tissues=tissues,
        table=table,
        texture=texture.astype(np.float32),
        mask=lesion_mask(tissues),
        level=LEVELS[level],
        grade=grade,
        time=time,
        event=event,
    )


def to_patient(
    phantom: Phantom,
    identifier: str,
    scanner: ScannerModel,
    generator: np.random.Generator,
    contrasts: Sequence[str] = CONTRASTS,
) -> Patient:
    """Scan a phantom and return it as a hospital would know it: complete, with a mask (empty in a normal person)."""
    mask = Volume(phantom.mask, image_affine(phantom.anatomy), "other", Scanner())
    return Patient(
        identifier=identifier,
        volumes=phantom.scan(scanner, generator, contrasts),
        mask=mask,
        label=phantom.label,
        grade=phantom.grade,
        time=phantom.time,
        event=phantom.event,
        level=phantom.level,
        omics=phantom.omics,
    )


def _draw_tumour(label: str, generator: np.random.Generator) -> TumourType | None:
    types = tumours_of(label)
    if not types:
        return None
    shares = np.array([tumour.share for tumour in types])
    return types[int(generator.choice(len(types), p=shares / shares.sum()))]


def _paint(anatomy: Anatomy, tumour: TumourType | None, generator: np.random.Generator) -> NDArray[np.uint8]:
    frame = frame_of(anatomy)
    tissues = paint_spine(anatomy, frame)
    if tumour is not None:
        for lesion in draw_lesions(tumour, anatomy, generator):
            paint_lesion(tissues, frame, lesion, tumour.compartment, generator)
    return tissues


def _draw_grade(label: str, generator: np.random.Generator) -> float | None:
    shares = {"benign": (0.65, 0.30, 0.05, 0.0), "malignant": (0.0, 0.20, 0.40, 0.40)}.get(label)
    return None if shares is None else float(generator.choice((1.0, 2.0, 3.0, 4.0), p=shares))


def _draw_outcome(genome: Genome, grade: float | None, generator: np.random.Generator) -> tuple[float, float]:
    """Draw (time in months, event): the hazard rises with grade and proliferation; follow-up ends within five years."""
    risk = 0.9 * ((grade or 0.0) - 2.0) + 0.5 * genome.pathways().proliferation
    until_event = generator.exponential(1.0 / (0.012 * float(np.exp(risk))))
    until_end = generator.uniform(6.0, _FOLLOW_UP_MONTHS)
    return round(min(until_event, until_end), 1), float(until_event <= until_end)

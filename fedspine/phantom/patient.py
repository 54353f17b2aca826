"""One phantom: a person with a genome, a spine and perhaps a tumour, who can be scanned again on another scanner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Patient, Scanner, Volume
from fedspine.errors import InputError
from fedspine.phantom.acquisition import Subject, acquire
from fedspine.phantom.anatomy import Anatomy
from fedspine.phantom.genome import CLASSES, Pathways
from fedspine.phantom.graph import Entropy, entropy_from, run, stream
from fedspine.phantom.grid import image_affine
from fedspine.phantom.hospital import Hospital
from fedspine.phantom.implant import Implant
from fedspine.phantom.lesion import Lesion
from fedspine.phantom.levels import EVERY_LEVEL, LEVELS, parse_levels
from fedspine.phantom.person import GRAPH, Request
from fedspine.phantom.places import level_places
from fedspine.phantom.scanner import CONTRASTS, ScannerModel
from fedspine.phantom.structures import STRUCTURES, structure_mask
from fedspine.phantom.tumour import TumourType
from fedspine.phantom.view import View
from fedspine.phantom.wear import Wear

_SMALLEST = (2, 16, 16)
_KEPT = (
    *("label", "age", "tumour", "mutations", "pathways", "omics", "grade", "hazard", "outcome", "doubling", "anatomy"),
    *("wear", "implant", "size", "view", "tissues", "table", "unevenness", "mask", "scanner", "months"),
)


@dataclass(frozen=True, eq=False)
class Phantom:
    """A person in one examination; nothing but `scanner` depends on a scanner.

    Args:
        entropy: 128 bits from which every stream of this person is derived.
        do: the interventions that made this one.
        label: one of `genome.CLASSES`.
        age: in years.
        tumour: the tumour's type, `None` in a normal person.
        mutations: (6,) counts in the order of `genome.MUTATIONS`.
        pathways: what they amount to.
        omics: (column,) in the order of `genome.OMICS_COLUMNS`.
        grade: biopsy grade 1 to 4; `None` without a tumour.
        hazard: of progression, a month.
        outcome: (months of follow-up, 1 if the disease progressed then, 0 if censored).
        doubling: days in which the tumour's volume doubles.
        anatomy: measures of the spine.
        wear: degeneration and mimics.
        implant: screws and rods, or none.
        size: the lesions as they are in this examination.
        view: the field of view.
        tissues: uint8 (slice, row, column), values of `Tissue`, on a grid twice as fine as the image's.
        table: (tissue, column) relaxation times and more, see `tissue`.
        unevenness: float32 (slice, row, column), of the proton density.
        mask: lesion mask, uint8 (slice, row, column) in the image's grid; empty in a normal person.
        scanner: the hospital's scanner that the examination falls to.
        months: since the first examination.
        own: entropy of the nodes that do not follow `entropy`; see `phantom.variation`.
    """

    entropy: Entropy = field(repr=False)
    do: Mapping[str, Any] = field(repr=False)
    label: str
    age: float
    tumour: TumourType | None
    mutations: NDArray[np.float64] = field(repr=False)
    pathways: Pathways
    omics: NDArray[np.float64] = field(repr=False)
    grade: float | None
    hazard: float
    outcome: tuple[float, float]
    doubling: float
    anatomy: Anatomy = field(repr=False)
    wear: Wear = field(repr=False)
    implant: Implant | None
    size: tuple[Lesion, ...] = field(repr=False)
    view: View = field(repr=False)
    tissues: NDArray[np.uint8] = field(repr=False)
    table: NDArray[np.float64] = field(repr=False)
    unevenness: NDArray[np.float32] = field(repr=False)
    mask: NDArray[np.uint8] = field(repr=False)
    scanner: ScannerModel = field(repr=False)
    months: float
    own: Mapping[str, Entropy] = field(repr=False, default_factory=dict)

    @property
    def level(self) -> str:
        """Vertebral level of the lesion; in a normal person that near the middle of the image."""
        return LEVELS[self.view.level]

    @property
    def levels_mm(self) -> NDArray[np.float64]:
        """(level, 3), where the vertebrae that the image shows lie, see `cohort.levels.VERTEBRAE`; LPS millimetres."""
        affine = image_affine(self.view)
        return np.asarray(level_places(self.anatomy, self.wear, self.view) @ affine[:3, :3].T + affine[:3, 3])

    def scan(
        self,
        scanner: ScannerModel,
        generator: np.random.Generator | None = None,
        contrasts: Sequence[str] = CONTRASTS,
    ) -> dict[str, Volume]:
        """Scan this person; voxels are uint16 (slice, row, column), an unknown contrast is absent.

        Without a generator the noise is the person's own: the counterfactual image on another scanner, with the same
        noise. With one, another scan of the same person.
        """
        subject = Subject(self.anatomy, self.view, self.tissues, self.table, self.unevenness)
        return acquire(subject, scanner, contrasts, generator or stream(self.own.get("images", self.entropy), "images"))

    def structure_mask(self, names: Sequence[str]) -> NDArray[np.uint8] | None:
        """Return where these structures are, see `structures.structure_mask`; `None` if phantoms do not know one."""
        if not set(names) <= set(STRUCTURES):
            return None
        return structure_mask(self.tissues, names, "" if self.tumour is None else self.tumour.compartment)

    def given(self, **do: Any) -> Phantom:
        """Return the same person had these nodes of the graph been other than they were; all other chance is kept."""
        return compose(self.entropy, {**self.do, **do}, self.own)

    def follow_up(self, months: float) -> Phantom:
        """Return the same person `months` later: the tumour has grown, the patient lies a little differently."""
        return self.given(months=months)


def draw(
    generator: np.random.Generator,
    *,
    label: str | None = None,
    shape: tuple[int, int, int] = (12, 128, 128),
    levels: str = EVERY_LEVEL,
    hospital: Hospital | None = None,
    field_mm: float | None = None,
) -> Phantom:
    """Draw a person, imaged as `shape` (slice, row, column) voxels.

    Args:
        generator: 128 bits are taken from it.
        label: of this class; by the case mix if `None`.
        shape: of the image.
        levels: range of vertebral levels, one of which lies near the middle of the image, such as "T1-T12".
        hospital: where; everywhere if `None`.
        field_mm: side of the field of view; what is usual in the region if `None`.
    """
    if label is not None and label not in CLASSES:
        raise InputError(f"a phantom's label must be one of {', '.join(CLASSES)}", "another word", "choose one of them")
    if any(length < least for length, least in zip(shape, _SMALLEST, strict=True)):
        raise InputError("a phantom needs at least 2 slices of 16 x 16", " x ".join(map(str, shape)), "ask for more")
    do: dict[str, Any] = {"request": Request(shape=shape, levels=parse_levels(levels), field_mm=field_mm)}
    if label is not None:
        do["label"] = label
    if hospital is not None:
        do["hospital"] = hospital
    return compose(entropy_from(generator), do)


def compose(entropy: Entropy, do: Mapping[str, Any], own: Mapping[str, Entropy] | None = None) -> Phantom:
    """Return the person whose chance is `entropy`, but for nodes that `do` sets or that have entropy of their `own`."""
    values = run(GRAPH, entropy, do, wanted=_KEPT, own=own)
    return Phantom(entropy=entropy, do=do, own=own or {}, **{name: values[name] for name in _KEPT})


def to_patient(
    phantom: Phantom,
    identifier: str,
    scanner: ScannerModel,
    generator: np.random.Generator | None = None,
    contrasts: Sequence[str] = CONTRASTS,
    structures: Sequence[str] = (),
) -> Patient:
    """Scan a phantom and return it as a hospital would know it: complete, with a mask (empty in a normal person).

    The mask is the lesion's or, where `structures` are named, theirs by number; without one if a name is foreign.
    """
    time, event = phantom.outcome
    mask = phantom.structure_mask(structures) if structures else phantom.mask
    return Patient(
        identifier=identifier,
        volumes=phantom.scan(scanner, generator, contrasts),
        mask=None if mask is None else Volume(mask, image_affine(phantom.view), "other", Scanner()),
        label=phantom.label,
        grade=phantom.grade,
        time=time,
        event=event,
        level=phantom.level,
        age=round(phantom.age),
        omics=phantom.omics,
        levels=phantom.levels_mm,
    )

"""Tumours as shapes: where one lies in the spine's frame, how uneven and how blurred its surface is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import levels
from fedspine.phantom.anatomy import Anatomy, Frame
from fedspine.phantom.bones import SPONGY
from fedspine.phantom.grid import block_sum
from fedspine.phantom.outcome import growth
from fedspine.phantom.shapes import box_of, distance_in
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.tumour import INTRADURAL, INTRAMEDULLARY, VERTEBRAL, TumourType
from fedspine.phantom.view import FINER

_BONE = (*SPONGY, Tissue.CORTEX)
_SAC = (Tissue.CSF, Tissue.CORD, Tissue.ROOTS, Tissue.OEDEMA)
_REACH = 1.45
"""No lobe, blur or oedema reaches further than this many radii from the centre."""


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in mm along (from front to back, from head to feet, along the slices).

    Args:
        tissues: what it grows into.
        compartment: of the tumour.
        centre_mm, radius_mm: in the spine's frame.
        lobulation, infiltration, oedema: relative to the radius.
        core: radius of the cyst or necrosis relative to the lesion's; 0 for none.
        phases: of the lobes, in radians.
    """

    tissues: tuple[Tissue, ...]
    compartment: str
    centre_mm: tuple[float, float, float]
    radius_mm: tuple[float, float, float]
    lobulation: float
    infiltration: float
    oedema: float
    core: float
    phases: tuple[float, float, float]


def draw_lesions(
    stream: np.random.Generator, *, tumour: TumourType | None, anatomy: Anatomy, level: int
) -> tuple[Lesion, ...]:
    """Draw the lesions of one patient; the first lies at `level`."""
    if tumour is None:
        return ()
    others = stream.permutation(np.array([-3, -2, -1, 1, 2, 3]))[: min(3, stream.poisson(tumour.extra))]
    places = [level, *(level + int(step) for step in others)]
    lowest = levels.C2 if tumour.compartment == VERTEBRAL else levels.C1  # the ring of C1 has no body
    return tuple(
        _draw(tumour, anatomy, place, place != level, stream) for place in places if lowest <= place < levels.COUNT
    )


def grown(_: np.random.Generator, *, lesions: tuple[Lesion, ...], doubling: float, months: float) -> tuple[Lesion, ...]:
    """Return the lesions `months` after the first study; within the cord they can only lengthen."""
    factor = growth(doubling, months)
    return tuple(replace(lesion, radius_mm=_larger(lesion, factor)) for lesion in lesions)


def _larger(lesion: Lesion, factor: float) -> tuple[float, float, float]:
    front, along, across = lesion.radius_mm
    if lesion.compartment == INTRAMEDULLARY:  # all the volume goes into length
        return front, min(90.0, along * factor**3), across
    return front * factor, along * factor, across * factor


def _draw(tumour: TumourType, anatomy: Anatomy, level: int, further: bool, generator: np.random.Generator) -> Lesion:
    radius_mm = generator.uniform(*tumour.diameter_mm) / 2 * (0.7 if further else 1.0)
    tissues, centre_mm, radii_mm = _place(tumour, anatomy, level, radius_mm, generator)
    # the margin of one tumour differs from the next about as much as the types differ among themselves
    uneven, blurred, swollen = np.exp(0.35 * generator.standard_normal(3))
    return Lesion(
        tissues=tissues,
        compartment=tumour.compartment,
        centre_mm=(centre_mm[0], float(levels.MIDDLE_MM[level]) + centre_mm[1], centre_mm[2]),
        radius_mm=radii_mm,
        lobulation=float(min(0.30, tumour.lobulation * uneven)),
        infiltration=float(min(0.30, tumour.infiltration * blurred)),
        oedema=float(min(0.42, tumour.oedema * swollen)),
        core=float(generator.uniform(0.3, 0.65)) if generator.uniform() < tumour.core else 0.0,
        phases=(
            float(generator.uniform(0.0, 2.0 * np.pi)),
            float(generator.uniform(0.0, 2.0 * np.pi)),
            float(generator.uniform(0.0, 2.0 * np.pi)),
        ),
    )


_Place = tuple[tuple[Tissue, ...], tuple[float, float, float], tuple[float, float, float]]


def _place(
    tumour: TumourType, anatomy: Anatomy, level: int, radius_mm: float, generator: np.random.Generator
) -> _Place:
    """Return what the lesion grows into, its centre (relative to the level's middle) and its radii."""
    canal_mm, cord_mm = anatomy.canal_mm, anatomy.cord_mm
    along_mm = float(generator.uniform(-6.0, 6.0))
    if tumour.compartment == INTRAMEDULLARY:
        wide_mm = float(cord_mm * generator.uniform(1.1, 1.6))
        centre = (float(generator.normal(0.4, 0.8)), along_mm, float(generator.normal(0.0, 1.2)))
        return _SAC, centre, (wide_mm, float(radius_mm), wide_mm * 1.25)
    if tumour.compartment == INTRADURAL:
        wide_mm = float(min(radius_mm, canal_mm * generator.uniform(0.55, 0.9)))
        side = generator.choice((-1.0, 1.0))
        aside_mm = float(side * generator.uniform(0.15, 0.6) * canal_mm)
        centre = (float(generator.uniform(-0.45, 0.45) * canal_mm), along_mm, aside_mm)
        # a nerve sheath tumour may follow its root through the foramen
        out = "nerve sheath" in tumour.name or tumour.name == "schwannoma"
        if out and generator.uniform() < 0.4:
            return (*_SAC, Tissue.FAT, Tissue.MUSCLE), centre, (wide_mm, radius_mm * 0.8, wide_mm * 2.2)
        return _SAC, centre, (wide_mm, float(radius_mm), wide_mm * 1.1)
    depth_mm, height_mm = float(levels.DEPTH_MM[level]), levels.body_height_mm(level)
    shape = generator.uniform(0.8, 1.2, size=2)
    ahead_mm = -(canal_mm + 1.5 + depth_mm / 2) + float(generator.uniform(-0.2, 0.35)) * depth_mm
    centre = (ahead_mm, float(generator.uniform(-0.2, 0.2)) * height_mm, float(generator.normal(0.0, 5.0)))
    through = generator.uniform() < 2.5 * tumour.lobulation
    tissues = (*_BONE, Tissue.FAT, Tissue.CSF, Tissue.ORGAN, Tissue.LIGAMENT) if through else _BONE
    return tissues, centre, (float(radius_mm * shape[0]), float(radius_mm), float(radius_mm * shape[1]))


def paint_lesion(tissues: NDArray[np.uint8], frame: Frame, lesion: Lesion, generator: np.random.Generator) -> None:
    """Draw one lesion, its core and its oedema into a fine tissue map, (slice, row, column), in place."""
    reach = (_REACH * lesion.radius_mm[0], _REACH * lesion.radius_mm[1], _REACH * lesion.radius_mm[2])
    box = box_of(frame, lesion.centre_mm, reach)
    if box is None:
        return
    view = tissues[box]
    front, along, across = distance_in(frame, box, lesion.centre_mm, lesion.radius_mm)
    distance = np.sqrt(across * across + front * front + along * along)
    lobes = np.sin(3.1 * along + lesion.phases[0]) * np.sin(2.3 * across + lesion.phases[1])
    lobes = lobes + np.sin(4.3 * front - 2.2 * along + lesion.phases[2])
    edge = distance + lesion.lobulation * lobes
    blurred = edge + lesion.infiltration * generator.uniform(-1.0, 1.0, size=edge.shape)
    swelling = {VERTEBRAL: (Tissue.MARROW_OEDEMA, (Tissue.MARROW,))}.get(
        lesion.compartment, (Tissue.OEDEMA, (Tissue.CORD, Tissue.ROOTS))
    )
    if lesion.oedema > 0.0:
        view[(edge < 1.0 + lesion.oedema) & np.isin(view, swelling[1])] = swelling[0]
    growing = np.isin(view, (*lesion.tissues, swelling[0])) & (blurred < 1.0)
    view[growing] = Tissue.TUMOUR
    view[growing & (distance + 0.5 * lesion.lobulation * lobes < lesion.core)] = Tissue.CORE


def lesion_mask(tissues: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the lesion mask, uint8 (slice, row, column) in the image's grid: voxels at least half filled by it.

    A lesion too thin to fill half of any voxel marks the voxels that it fills most; without one the mask is empty.
    """
    inside = (tissues == Tissue.TUMOUR) | (tissues == Tissue.CORE)
    filled = block_sum(inside.astype(np.uint8))
    most = int(filled.max())
    enough = min(FINER**3 // 2, most)
    return (filled >= enough).astype(np.uint8) if most else np.zeros_like(filled)

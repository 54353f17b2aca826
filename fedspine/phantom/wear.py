"""Degeneration and the mimics of tumours: what age and bad luck do to a spine, with a tumour or without.

Frequencies rise with age and lie in the typical range of people who are sent for imaging; they are not from one source.
Modic change is of type 1 (oedema), 2 (fat) or 3 (sclerosis) (Modic et al. 1988, Radiology 166:193).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedspine.phantom import levels
from fedspine.phantom.anatomy import OLDEST, YOUNGEST

MIMICS = ("none", "modic", "schmorl", "fracture", "myelitis")
"""What may be taken for a tumour and is none: endplate change, a disc's node in the endplate, an osteoporotic fracture
with oedema, an inflamed cord."""

_MIMIC_SHARES = {"normal": (0.44, 0.22, 0.12, 0.12, 0.10), "tumour": (0.80, 0.12, 0.05, 0.03, 0.0)}
_MOBILE = np.isin(np.arange(levels.COUNT), [3, 4, 5, levels.L5 - 1, levels.L5])
"""C4 to C6, L4 and L5 wear first."""


@dataclass(frozen=True)
class Disc:
    """The disc below one level; lengths in mm.

    Args:
        dryness: 0 to 1; above 0.5 it is dark.
        collapse: share of its height that is lost.
        bulge_mm: beyond the edge of the bodies, all around.
        herniation_mm: how far it protrudes into the canal; 0 for none.
        aside_mm: where it does.
        osteophyte_mm: length of the spurs at its edges.
        modic: type of change in the adjoining bodies; 0 for none.
        schmorl_mm: depth of a node in the endplate above it; 0 for none.
        ahead: where that node lies, as a share of the half depth.
    """

    dryness: float = 0.0
    collapse: float = 0.0
    bulge_mm: float = 0.0
    herniation_mm: float = 0.0
    aside_mm: float = 0.0
    osteophyte_mm: float = 0.0
    modic: int = 0
    schmorl_mm: float = 0.0
    ahead: float = 0.0


@dataclass(frozen=True)
class Wear:
    """The wear of one spine.

    Args:
        discs: (level,) the disc below each level.
        facet: 0 to 1, thickening of the small joints and the ligament behind the canal.
        fracture: level of a body that has sunk in, -1 for none.
        crushed: share of that body's height lost in front.
        fresh: whether the fracture still holds oedema.
        myelitis_mm: length of an inflamed stretch of cord, 0 for none.
        mimic: one of `MIMICS`, at the level that is imaged.
    """

    discs: tuple[Disc, ...] = field(repr=False)
    facet: float
    fracture: int
    crushed: float
    fresh: bool
    myelitis_mm: float
    mimic: str


def draw_wear(stream: np.random.Generator, *, age: float, label: str, level: int) -> Wear:
    """Draw the wear of a spine that is imaged at `level`.

    A normal spine is more often one that was scanned for what turned out to be a mimic.
    """
    old = (age - YOUNGEST) / (OLDEST - YOUNGEST)
    shares = _MIMIC_SHARES["normal" if label == "normal" else "tumour"]
    mimic = MIMICS[int(stream.choice(len(MIMICS), p=shares))]
    drawn = stream.uniform(size=(levels.COUNT, 9))
    discs = [_disc(old, bool(_MOBILE[index]), row) for index, row in enumerate(drawn)]
    depth_mm, kind, crushed, length_mm = stream.uniform(size=4)
    if mimic == "modic":
        discs[level] = _with(discs[level], modic=1 + int(kind * 2.999), dryness=max(0.6, discs[level].dryness))
    if mimic == "schmorl":
        discs[level] = _with(discs[level], schmorl_mm=4.0 + 4.0 * float(depth_mm))
    fractured = mimic == "fracture" and level > levels.C2
    return Wear(
        discs=tuple(discs),
        facet=float(np.clip(stream.normal(old, 0.2), 0.0, 1.0)),
        fracture=level if fractured else -1,
        crushed=0.15 + 0.35 * float(crushed) if fractured else 0.0,
        fresh=bool(kind < 0.75),
        myelitis_mm=18.0 + 30.0 * float(length_mm) if mimic == "myelitis" and level <= levels.CONUS else 0.0,
        mimic=mimic,
    )


def _with(disc: Disc, **changes: float) -> Disc:
    return Disc(**{**disc.__dict__, **changes})


def _disc(old: float, mobile: bool, drawn: np.ndarray) -> Disc:
    """Return a disc; `drawn` holds nine uniform numbers."""
    dryness = float(np.clip(0.28 + 0.70 * old + (0.15 if mobile else 0.0) + 0.7 * (drawn[0] - 0.5), 0.0, 1.0))
    worn = dryness > 0.62
    herniated = worn and mobile and drawn[4] < 0.30
    return Disc(
        dryness=dryness,
        collapse=float(0.55 * max(0.0, dryness - 0.45) * (0.5 + drawn[2])),
        bulge_mm=float(3.0 * max(0.0, dryness - 0.3) * drawn[3]),
        herniation_mm=float(2.5 + 4.0 * drawn[5]) if herniated else 0.0,
        aside_mm=float(10.0 * (drawn[6] - 0.5)),
        osteophyte_mm=float(5.0 * max(0.0, old - 0.35) * drawn[7]) if worn else 0.0,
        modic=1 + int(3.0 * drawn[1] / 0.12) if worn and drawn[1] < 0.12 else 0,
        schmorl_mm=float(2.0 + 4.0 * drawn[8] / 0.05) if drawn[8] < 0.05 else 0.0,
        ahead=float(drawn[5] - 0.4),
    )

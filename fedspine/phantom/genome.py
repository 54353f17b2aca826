"""The genome of a phantom: the cause of its tissue and of its omics, never touched by a hospital or a scanner.

The causal order (`person.GRAPH` holds it, and draws by it):

    tumour type ── mutations ──> pathways (proliferation, angiogenesis, water)
    pathways ──> tissue of the tumour (T1, T2, ADC, contrast agent)      -> image, through a scanner
    pathways, lineage ──> expression markers, pathology embedding        -> omics table
    pathways, grade ──> hazard                                           -> time, event
    pathways ──> how fast the tumour grows                               -> the next study
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import tissue
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.tumour import TumourType, tumours_of

CLASSES = ("normal", "benign", "malignant")
"""The labels of a phantom."""
MUTATIONS = ("NF2", "VHL", "TP53", "H3F3A", "TERT", "PTEN")
"""Genes; a column holds the number of mutations found."""
LINEAGE = ("GFAP", "S100B", "MUC1")
"""Markers of origin: glia, nerve sheath or notochord, epithelium or meninges (MUC1 is the antigen called EMA)."""
MARKERS = ("MKI67", "VEGFA", *LINEAGE)
"""Expression columns, as a logarithm relative to healthy tissue."""
OMICS_COLUMNS = (*MUTATIONS, *MARKERS, "pathology_1", "pathology_2")
"""Columns of a phantom's omics vector."""

_HEALTHY_RATES = (0.2, 0.1, 0.2, 0.1, 0.2, 0.2)
_TO_PROLIFERATION = np.array([-0.10, 0.0, 0.35, 0.30, 0.25, 0.20])
_TO_ANGIOGENESIS = np.array([0.0, 0.50, 0.10, 0.05, 0.05, 0.15])
_TO_WATER = np.array([0.15, 0.10, -0.10, -0.10, -0.05, -0.05])

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Pathways:
    """What the mutations amount to, in standard deviations between tumours."""

    proliferation: float
    angiogenesis: float
    water: float


def draw_tumour(stream: np.random.Generator, *, label: str) -> TumourType | None:
    """Draw the kind of tumour; a normal person has none."""
    types = tumours_of(label)
    if not types:
        return None
    shares = np.array([tumour.share for tumour in types])
    return types[int(stream.choice(len(types), p=shares / shares.sum()))]


def draw_mutations(stream: np.random.Generator, *, tumour: TumourType | None) -> Counts:
    """Draw (6,) counts in the order of `MUTATIONS`."""
    rates = np.array(tumour.mutations if tumour else _HEALTHY_RATES)
    return stream.poisson(rates * np.exp(0.3 * stream.standard_normal(rates.shape))).astype(np.float64)


def draw_pathways(stream: np.random.Generator, *, tumour: TumourType | None, mutations: Counts) -> Pathways:
    """Draw the state of the pathways; mutations act relative to what is expected of the type."""
    surplus = mutations - np.array(tumour.mutations if tumour else _HEALTHY_RATES)
    mean = (tumour.proliferation, tumour.angiogenesis) if tumour else (-0.5, -0.3)
    chance = stream.standard_normal(3)
    return Pathways(
        proliferation=mean[0] + float((_TO_PROLIFERATION * surplus).sum()) + 0.7 * float(chance[0]),
        angiogenesis=mean[1] + float((_TO_ANGIOGENESIS * surplus).sum()) + 0.7 * float(chance[1]),
        water=float((_TO_WATER * surplus).sum()) + 0.8 * float(chance[2]),
    )


def draw_expression(
    stream: np.random.Generator, *, tumour: TumourType | None, pathways: Pathways
) -> NDArray[np.float64]:
    """Draw the markers and the embedding of the pathology image, (7,) in the order of `OMICS_COLUMNS`."""
    chance = stream.standard_normal(len(_MEASURED_WITH))
    return np.round(expected_expression(tumour, pathways) + _MEASURED_WITH * chance, 4)


_MEASURED_WITH = np.array([0.4, 0.8, 0.3, 0.3, 0.3, 0.5, 0.5])
"""Standard deviation with which an assay measures each of the seven."""


def expected_expression(tumour: TumourType | None, pathways: Pathways) -> NDArray[np.float64]:
    """Return what an assay without error would measure, (7,) in the order of `OMICS_COLUMNS` after the mutations."""
    lineage = np.array(tumour.lineage if tumour else (0.2, 0.2, 0.2))
    return np.array(
        [
            pathways.proliferation,
            pathways.angiogenesis,
            *lineage,
            0.7 * pathways.proliferation - 0.4 * pathways.water,
            0.6 * pathways.angiogenesis + 0.5 * lineage[2] - 0.5 * lineage[0],
        ]
    )


def omics_of(_: np.random.Generator, *, mutations: Counts, expression: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the omics vector, (column,) in the order of `OMICS_COLUMNS`."""
    return np.concatenate([mutations, expression])


def tumour_tissues(
    _: np.random.Generator, *, person: NDArray[np.float64], tumour: TumourType | None, pathways: Pathways
) -> NDArray[np.float64]:
    """Return the tissue table with the tumour's rows as this genome makes them, (tissue, column).

    Dividing cells leave less room for water to move: T2 and ADC fall; new vessels take up contrast agent.
    """
    table = person.copy()
    if tumour is None:
        return table
    cells = pathways.proliferation - tumour.proliferation
    water = pathways.water
    usual = tissue.usual(Tissue.TUMOUR)
    usual[tissue.FAT_FRACTION] = 1.0
    row = person[Tissue.TUMOUR] / usual
    row[[tissue.GRAIN, tissue.STREAK]] = person[Tissue.TUMOUR, [tissue.GRAIN, tissue.STREAK]]
    row[[tissue.T1_MS_1_5, tissue.T1_MS_3]] *= tumour.t1_ms * np.exp(0.05 * water - 0.03 * cells)
    row[tissue.T1_MS_3] *= 1.18
    row[[tissue.T2_MS_1_5, tissue.T2_MS_3]] *= tumour.t2_ms * np.exp(0.08 * water - 0.05 * cells)
    row[tissue.T2_MS_3] *= 0.94
    row[tissue.PROTON_DENSITY] *= tumour.density
    row[tissue.ADC] *= tumour.adc * np.exp(0.08 * water - 0.10 * cells)
    row[tissue.AGENT_MM] *= tumour.agent_mm * np.exp(0.25 * (pathways.angiogenesis - tumour.angiogenesis))
    row[tissue.FAT_FRACTION] = tumour.fat
    table[Tissue.TUMOUR] = row
    return table

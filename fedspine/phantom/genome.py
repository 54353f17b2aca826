"""The genome of a phantom: the cause of its tissue and of its omics, never touched by a hospital or a scanner.

The causal order, each step a pure function of the ones before it and of noise drawn once per person:

    tumour type ── mutations ──> pathways (proliferation, angiogenesis, water)
    pathways ──> tissue of the tumour (T1, T2, ADC, contrast agent)      -> image, through a scanner
    pathways, lineage ──> expression markers, pathology embedding        -> omics table
    pathways, grade ──> hazard                                           -> time, event
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom import tissue
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.tumour import TumourType

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


@dataclass(frozen=True)
class Pathways:
    """What the mutations amount to, in standard deviations between tumours."""

    proliferation: float
    angiogenesis: float
    water: float


@dataclass(frozen=True, eq=False)
class Genome:
    """One person's genome.

    Args:
        tumour: the tumour it brought about; `None` in a healthy person.
        mutations: (6,) counts in the order of `MUTATIONS`.
        chance: (10,) standard normal; all else that made this person, so that a changed gene can be followed through.
    """

    tumour: TumourType | None
    mutations: NDArray[np.float64] = field(repr=False)
    chance: NDArray[np.float64] = field(repr=False)

    def pathways(self) -> Pathways:
        """Return the state of the pathways; mutations act relative to what is expected of the type."""
        expected = np.array(self.tumour.mutations if self.tumour else _HEALTHY_RATES)
        surplus = self.mutations - expected
        mean = (self.tumour.proliferation, self.tumour.angiogenesis) if self.tumour else (-0.5, -0.3)
        return Pathways(
            proliferation=mean[0] + float((_TO_PROLIFERATION * surplus).sum()) + 0.7 * float(self.chance[0]),
            angiogenesis=mean[1] + float((_TO_ANGIOGENESIS * surplus).sum()) + 0.7 * float(self.chance[1]),
            water=float((_TO_WATER * surplus).sum()) + 0.8 * float(self.chance[2]),
        )

    def omics(self) -> NDArray[np.float64]:
        """Return the omics vector, (column,) in the order of `OMICS_COLUMNS`."""
        paths = self.pathways()
        lineage = np.array(self.tumour.lineage if self.tumour else (0.2, 0.2, 0.2))
        expression = [
            paths.proliferation + 0.6 * self.chance[3],
            paths.angiogenesis + 0.8 * self.chance[4],
            *(lineage + 0.4 * self.chance[5:8]),
        ]
        embedding = [
            0.7 * paths.proliferation - 0.4 * paths.water + 0.5 * self.chance[8],
            0.6 * paths.angiogenesis + 0.5 * lineage[2] - 0.5 * lineage[0] + 0.5 * self.chance[9],
        ]
        return np.concatenate([self.mutations, np.round(expression, 4), np.round(embedding, 4)]).astype(np.float64)


def draw_genome(tumour: TumourType | None, generator: np.random.Generator) -> Genome:
    """Draw the genome of a person with this tumour (`None`: healthy)."""
    rates = np.array(tumour.mutations if tumour else _HEALTHY_RATES)
    mutations = generator.poisson(rates * np.exp(0.3 * generator.standard_normal(rates.shape))).astype(np.float64)
    return Genome(tumour, mutations, generator.standard_normal(10))


def tumour_tissues(genome: Genome, tissues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the tissue table with the tumour's rows as this genome makes them, (tissue, column).

    Dividing cells leave less room for water to move: T2 and ADC fall; new vessels take up contrast agent.
    """
    table = tissues.copy()
    tumour = genome.tumour
    if tumour is None:
        return table
    paths = genome.pathways()
    cells = paths.proliferation - tumour.proliferation
    person = tissues[Tissue.TUMOUR]
    usual = np.array([1000, 1200, 85, 78, 0.80, 1100, 0.30, 1.0])
    row = person / usual
    row[[tissue.T1_MS_1_5, tissue.T1_MS_3]] *= tumour.t1_ms * np.exp(0.05 * paths.water - 0.03 * cells)
    row[tissue.T1_MS_3] *= 1.18
    row[[tissue.T2_MS_1_5, tissue.T2_MS_3]] *= tumour.t2_ms * np.exp(0.08 * paths.water - 0.05 * cells)
    row[tissue.T2_MS_3] *= 0.94
    row[tissue.PROTON_DENSITY] *= 0.80
    row[tissue.ADC] *= tumour.adc * np.exp(0.08 * paths.water - 0.10 * cells)
    row[tissue.AGENT_MM] *= tumour.agent_mm * np.exp(0.25 * (paths.angiogenesis - tumour.angiogenesis))
    row[tissue.FAT_FRACTION] = tumour.fat
    table[Tissue.TUMOUR] = row
    return table

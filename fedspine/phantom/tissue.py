"""Tissues of the spine and what a magnet sees of them.

Sources, T1 and T2 at 1.5 and 3 T in ms:

- cord 745 and 993, 74 and 78; muscle 1008 and 1412, 44 and 50: Stanisz et al. 2005, Magn Reson Med 54:507;
- marrow T1 549 and 586, T2 49 (longer here: 101 in the synthetic MRI below); subcutaneous fat 343 and 382, 58 and 68:
  de Bazelaire et al. 2004, Radiology 230:652; fat's T1 is shorter here, so that the inversion times in use null it;
- CSF 4273, 1578; normal disc 1165, 102; dry disc 554, 56: means of synthetic MRI of 32 spines, AJNR 2020
  (PMC7410772), with proton densities; its dry disc is a shorter T1 than the one taken here;
- nucleus of lumbar discs: T2 of Pfirrmann grade II falls from 132 (in the twenties) to 86 (in the sixties), of grade IV
  53: Marinelli et al. 2010, AJNR 31:1278. Annulus 37 to 62 by grade in T2 maps of 100 patients (ESR poster).

ADC in 1e-3 mm²/s: Modic change of type 1, 2 and 3: 1.20, 0.58, 0.80 (BMC Musculoskelet Disord 2022, 05610-4).
All others, and every proton density, lie in the typical range and are not from one source; none was measured by us.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """What a label in a phantom's tissue map stands for."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    ORGAN = 3
    MARROW = 4
    CORTEX = 5
    DISC = 6
    DRY_DISC = 7
    CSF = 8
    CORD = 9
    ROOTS = 10
    VESSEL = 11
    MARROW_OEDEMA = 12
    MARROW_FAT = 13
    OEDEMA = 14
    TUMOUR = 15
    CORE = 16
    ANNULUS = 17
    LIGAMENT = 18
    SCLEROSIS = 19
    VEIN = 20
    BOWEL = 21
    SKIN = 22
    METAL = 23


(T1_MS_1_5, T1_MS_3, T2_MS_1_5, T2_MS_3, PROTON_DENSITY, ADC, AGENT_MM, FAT_FRACTION, GRAIN, STREAK) = range(10)
"""Columns of a tissue table.

T1 and T2 in ms at 1.5 and 3 T; proton density relative to water; ADC in 1e-6 mm²/s (voxels hold such units, tables for
people 1e-3); contrast agent in mmol/l; share of fat; relative unevenness from voxel to voxel and over some millimetres.
"""

_ROWS: dict[Tissue, tuple[float, ...]] = {
    Tissue.AIR: (1000, 1000, 50, 50, 0.0, 0, 0.0, 0.0, 0.0, 0.0),
    Tissue.FAT: (270, 320, 68, 68, 0.90, 60, 0.0, 0.90, 0.03, 0.05),
    Tissue.MUSCLE: (1008, 1412, 47, 43, 0.80, 1400, 0.06, 0.0, 0.08, 0.16),
    Tissue.ORGAN: (850, 1100, 62, 56, 0.78, 1300, 0.20, 0.10, 0.08, 0.18),
    Tissue.MARROW: (549, 586, 66, 62, 0.74, 380, 0.05, 0.45, 0.08, 0.08),
    Tissue.CORTEX: (900, 1100, 9, 8, 0.20, 400, 0.0, 0.0, 0.05, 0.05),
    Tissue.DISC: (1165, 1300, 102, 92, 0.79, 1750, 0.0, 0.0, 0.06, 0.08),
    Tissue.DRY_DISC: (780, 900, 56, 50, 0.58, 1250, 0.0, 0.0, 0.08, 0.12),
    Tissue.CSF: (4000, 4200, 1500, 1250, 1.0, 3000, 0.0, 0.0, 0.02, 0.05),
    Tissue.CORD: (745, 993, 74, 78, 0.70, 950, 0.01, 0.0, 0.04, 0.04),
    Tissue.ROOTS: (1500, 1800, 160, 150, 0.82, 1800, 0.02, 0.0, 0.06, 0.10),
    Tissue.VESSEL: (1500, 1700, 12, 10, 0.15, 1500, 0.30, 0.0, 0.10, 0.20),
    Tissue.MARROW_OEDEMA: (950, 1080, 82, 76, 0.72, 1200, 0.22, 0.15, 0.10, 0.12),
    Tissue.MARROW_FAT: (380, 420, 72, 70, 0.82, 576, 0.02, 0.80, 0.08, 0.10),
    Tissue.OEDEMA: (1100, 1300, 105, 98, 0.80, 1350, 0.05, 0.0, 0.05, 0.06),
    Tissue.TUMOUR: (1000, 1200, 85, 78, 0.80, 1100, 0.30, 0.0, 0.06, 0.09),
    Tissue.CORE: (2000, 2200, 250, 220, 0.90, 2100, 0.02, 0.0, 0.05, 0.08),
    Tissue.ANNULUS: (800, 950, 46, 42, 0.55, 1100, 0.0, 0.0, 0.06, 0.10),
    Tissue.LIGAMENT: (900, 1050, 18, 16, 0.40, 800, 0.02, 0.0, 0.08, 0.12),
    Tissue.SCLEROSIS: (800, 900, 28, 25, 0.35, 796, 0.05, 0.10, 0.10, 0.12),
    Tissue.VEIN: (1300, 1500, 130, 100, 0.80, 1500, 0.50, 0.0, 0.08, 0.10),
    Tissue.BOWEL: (900, 1150, 70, 62, 0.60, 1500, 0.25, 0.05, 0.15, 0.45),
    Tissue.SKIN: (900, 1050, 30, 27, 0.60, 1000, 0.10, 0.05, 0.06, 0.08),
    Tissue.METAL: (1000, 1000, 50, 50, 0.0, 0, 0.0, 0.0, 0.0, 0.0),
}

SPREAD = np.array([0.06, 0.06, 0.07, 0.07, 0.03, 0.08, 0.20, 0.05, 0.20, 0.25])
"""Standard deviation of the logarithm of each column between people."""


def usual(tissue: Tissue) -> NDArray[np.float64]:
    """Return the row of a tissue before people differ, (column,)."""
    return np.array(_ROWS[tissue], dtype=np.float64)


def draw_tissues(stream: np.random.Generator, *, age: float) -> NDArray[np.float64]:
    """Return one person's tissue table, (tissue, column); the field strengths of a property vary together.

    With age marrow turns to fat, and the nucleus of a disc loses water (Marinelli et al. 2010).
    """
    table = np.array([_ROWS[tissue] for tissue in Tissue], dtype=np.float64)
    deviation = stream.standard_normal(table.shape)
    deviation[:, T1_MS_3] = deviation[:, T1_MS_1_5]
    deviation[:, T2_MS_3] = deviation[:, T2_MS_1_5]
    table *= np.exp(SPREAD * deviation)
    decades = (age - 45.0) / 10.0
    table[Tissue.DISC, [T2_MS_1_5, T2_MS_3]] *= np.exp(-0.107 * decades)
    table[Tissue.MARROW, FAT_FRACTION] *= np.exp(0.06 * decades)
    table[Tissue.MARROW, [T1_MS_1_5, T1_MS_3]] *= np.exp(-0.03 * decades)
    table[:, FAT_FRACTION] = np.minimum(table[:, FAT_FRACTION], 0.95)
    return table

"""Tissues of the spine and what a magnet sees of them.

Sources. Cord and muscle: Stanisz et al. 2005, Magn Reson Med 54:507 (cord T1 745 and 993 ms, T2 74 and 78 ms; muscle T1
1008 and 1412 ms, T2 44 and 50 ms, at 1.5 and 3 T). Marrow and fat: de Bazelaire et al. 2004, Radiology 230:652 (lumbar
marrow T1 549 and 586 ms, T2 49 ms; subcutaneous fat T1 343 and 382 ms, T2 58 and 68 ms). All others, and every proton
density and apparent diffusion coefficient, lie in the typical literature range; none is a measurement of ours.
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


T1_MS_1_5, T1_MS_3, T2_MS_1_5, T2_MS_3, PROTON_DENSITY, ADC, AGENT_MM, FAT_FRACTION = range(8)
"""Columns of a tissue table.

T1 and T2 in ms at 1.5 and 3 T, proton density relative to water, ADC in 1e-6 mm²/s, contrast agent in mmol/l a few
minutes after injection, and the share of the signal that fat suppression removes.
"""

_ROWS: dict[Tissue, tuple[float, ...]] = {
    Tissue.AIR: (1000, 1000, 50, 50, 0.0, 0, 0.0, 0.0),
    Tissue.FAT: (343, 382, 68, 68, 0.90, 60, 0.0, 0.90),
    Tissue.MUSCLE: (1008, 1412, 44, 40, 0.78, 1400, 0.06, 0.0),
    Tissue.ORGAN: (850, 1100, 52, 48, 0.76, 1300, 0.20, 0.10),
    Tissue.MARROW: (549, 586, 55, 52, 0.62, 380, 0.05, 0.45),
    Tissue.CORTEX: (900, 1100, 9, 8, 0.20, 400, 0.0, 0.0),
    Tissue.DISC: (1050, 1250, 95, 85, 0.85, 1750, 0.0, 0.0),
    Tissue.DRY_DISC: (900, 1050, 52, 46, 0.72, 1250, 0.0, 0.0),
    Tissue.CSF: (4000, 4200, 1300, 1100, 1.0, 3000, 0.0, 0.0),
    Tissue.CORD: (745, 993, 74, 78, 0.72, 950, 0.01, 0.0),
    Tissue.ROOTS: (2200, 2500, 300, 260, 0.90, 2300, 0.02, 0.0),
    Tissue.VESSEL: (1500, 1700, 12, 10, 0.15, 1500, 0.30, 0.0),
    Tissue.MARROW_OEDEMA: (950, 1080, 82, 76, 0.72, 1350, 0.22, 0.15),
    Tissue.MARROW_FAT: (380, 420, 72, 70, 0.82, 180, 0.02, 0.80),
    Tissue.OEDEMA: (1100, 1300, 105, 98, 0.80, 1350, 0.05, 0.0),
    Tissue.TUMOUR: (1000, 1200, 85, 78, 0.80, 1100, 0.30, 0.0),
    Tissue.CORE: (2000, 2200, 250, 220, 0.90, 2100, 0.02, 0.0),
}

SPREAD = np.array([0.06, 0.06, 0.07, 0.07, 0.03, 0.08, 0.20, 0.05])
"""Standard deviation of the logarithm of each column between people."""


def healthy_tissues(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return one person's tissue table, (tissue, column); the field strengths of a property vary together."""
    table = np.array([_ROWS[tissue] for tissue in Tissue], dtype=np.float64)
    deviation = generator.standard_normal(table.shape)
    deviation[:, T1_MS_3] = deviation[:, T1_MS_1_5]
    deviation[:, T2_MS_3] = deviation[:, T2_MS_1_5]
    table *= np.exp(SPREAD * deviation)
    table[:, FAT_FRACTION] = np.minimum(table[:, FAT_FRACTION], 0.95)
    return table

"""The tumours a phantom may carry: where they grow, how they look, how fast they grow, which genes drive them.

The figures overlap on purpose. What is bright and free to diffuse is benign within the canal (schwannoma) and malignant
in bone (chordoma); what is dark and restricted is benign there (meningioma) and malignant here (metastasis). So no
contrast tells the classes apart by itself; contrasts, place, margin and omics together do.

ADC, in 1e-3 mm²/s, by source: typical vertebral haemangioma 1.09, malignant deposits of myeloma, prostate and breast
0.68 (medians; Winfield et al. 2018, Eur Radiol 28:1687); atypical haemangioma 1.14 and metastasis 0.70 (means; Cao et
al. 2020, Eur Spine J 29:3187); meningioma 0.73 to 0.86 and schwannoma 1.09 to 1.32 (means of two intracranial series:
anatolianjmed.org 33(3), posterior fossa; Int Clin Neurosci J 2023;10:e4); other series report untreated metastases
near 0.9 and myxoid schwannomas more, and the table leans to those, for the sake of overlap. All others: typical range,
not from one source.

Doubling of volume, by source: spinal schwannoma 5.45 % a year (median of 56; Eur Spine J 2015,
10.1007/s00586-015-4075-y) and meningioma 7.0 % (Ozawa et al. 2012, Acta Neurol Belg 112:265), that is 4770 and 3740
days. All others: typical range, not from one source. T1 and T2 are typical of 1.5 T and not from one source.
"""

from __future__ import annotations

from dataclasses import dataclass

INTRAMEDULLARY, INTRADURAL, VERTEBRAL = "intramedullary", "intradural-extramedullary", "extradural"


@dataclass(frozen=True)
class TumourType:
    """One kind of tumour.

    Args:
        name: what a pathologist calls it.
        label: "benign" or "malignant".
        compartment: where it grows.
        share: share among the tumours of its label.
        t1_ms, t2_ms: at 1.5 T.
        adc: 1e-6 mm²/s.
        agent_mm: contrast agent it takes up, mmol/l.
        core: share of tumours with a cyst or necrosis inside.
        lobulation: relative unevenness of the surface.
        infiltration: relative width of the margin.
        oedema: relative width of the oedema around it.
        diameter_mm: smallest and largest diameter along the spine.
        levels: first and last vertebral level.
        favours: how often it is found at the neck, the chest and below, in the order of `levels.REGIONS`.
        doubling_days: time in which its volume doubles.
        mutations: expected mutation counts in the order of `genome.MUTATIONS`.
        proliferation, angiogenesis: mean of the pathway.
        lineage: mean of the lineage markers in the order of `genome.LINEAGE`.
        extra: expected number of further lesions.
        fat: share of its signal that fat suppression removes.
        density: proton density; less where it is sclerotic.
    """

    name: str
    label: str
    compartment: str
    share: float
    t1_ms: float
    t2_ms: float
    adc: float
    agent_mm: float
    core: float
    lobulation: float
    infiltration: float
    oedema: float
    diameter_mm: tuple[float, float]
    levels: tuple[str, str]
    favours: tuple[float, float, float]
    doubling_days: float
    mutations: tuple[float, ...]
    proliferation: float
    angiogenesis: float
    lineage: tuple[float, float, float]
    extra: float = 0.0
    fat: float = 0.0
    density: float = 0.80


# fmt: off
# name, label, compartment, share, T1, T2, ADC, agent
#     core, lobulation, infiltration, oedema, diameter, levels, favours, doubling
#     NF2, VHL, TP53, H3F3A, TERT, PTEN; proliferation, angiogenesis; GFAP, S100B, MUC1
TUMOURS: tuple[TumourType, ...] = (
    TumourType("ependymoma", "benign", INTRAMEDULLARY, 0.14, 1000, 82, 1160, 0.40,
               0.40, 0.06, 0.05, 0.25, (18, 42), ("C2", "L2"), (0.45, 0.40, 0.15), 1500,
               (0.9, 0.1, 0.2, 0.1, 0.3, 0.2), -0.1, 0.0, (1.2, 0.5, 0.8)),
    TumourType("low-grade astrocytoma", "benign", INTRAMEDULLARY, 0.08, 1060, 100, 1300, 0.24,
               0.40, 0.10, 0.14, 0.20, (20, 44), ("C2", "L1"), (0.45, 0.50, 0.05), 1800,
               (0.2, 0.1, 0.3, 0.2, 0.2, 0.2), -0.2, 0.1, (1.5, 0.7, 0.1)),
    TumourType("haemangioblastoma", "benign", INTRAMEDULLARY, 0.12, 1080, 106, 1450, 0.62,
               0.45, 0.05, 0.04, 0.45, (14, 32), ("C2", "L1"), (0.45, 0.50, 0.05), 900,
               (0.2, 1.2, 0.2, 0.1, 0.2, 0.2), -0.2, 1.1, (0.0, 0.3, 0.0), extra=0.5),
    TumourType("schwannoma", "benign", INTRADURAL, 0.20, 1080, 112, 1480, 0.40,
               0.35, 0.09, 0.05, 0.00, (16, 38), ("C2", "L5"), (0.30, 0.35, 0.35), 4770,
               (1.2, 0.1, 0.2, 0.1, 0.2, 0.2), -0.4, -0.1, (0.2, 1.6, 0.0), extra=0.5),
    TumourType("meningioma", "benign", INTRADURAL, 0.20, 900, 66, 760, 0.44,
               0.05, 0.07, 0.05, 0.05, (14, 36), ("C1", "L2"), (0.25, 0.65, 0.10), 3740,
               (1.3, 0.1, 0.2, 0.1, 0.5, 0.3), -0.1, 0.2, (0.0, 0.3, 1.3), extra=0.3),
    TumourType("haemangioma", "benign", VERTEBRAL, 0.14, 700, 92, 1085, 0.34,
               0.00, 0.08, 0.08, 0.00, (16, 36), ("C6", "S1"), (0.10, 0.50, 0.40), 9000,
               (0.2, 0.3, 0.2, 0.1, 0.2, 0.2), -0.5, 0.6, (0.0, 0.1, 0.0), extra=0.7, fat=0.35),
    TumourType("atypical haemangioma", "benign", VERTEBRAL, 0.12, 960, 96, 1140, 0.44,
               0.00, 0.12, 0.10, 0.15, (16, 38), ("C6", "S1"), (0.10, 0.50, 0.40), 5000,
               (0.2, 0.4, 0.2, 0.1, 0.3, 0.2), -0.2, 0.7, (0.0, 0.1, 0.0), extra=0.7),
    TumourType("high-grade astrocytoma", "malignant", INTRAMEDULLARY, 0.28, 1100, 98, 870, 0.18,
               0.45, 0.20, 0.24, 0.45, (18, 42), ("C2", "L1"), (0.40, 0.52, 0.08), 70,
               (0.2, 0.1, 0.9, 0.9, 0.5, 0.5), 0.6, 0.5, (1.5, 0.8, 0.1)),
    TumourType("leptomeningeal metastasis", "malignant", INTRADURAL, 0.15, 1000, 84, 1020, 0.34,
               0.15, 0.18, 0.16, 0.10, (13, 32), ("C3", "L5"), (0.25, 0.40, 0.35), 60,
               (0.2, 0.1, 0.9, 0.3, 0.5, 0.5), 0.6, 0.2, (0.3, 0.4, 0.6), extra=0.6),
    TumourType("malignant nerve sheath tumour", "malignant", INTRADURAL, 0.15, 1060, 94, 1120, 0.36,
               0.45, 0.20, 0.16, 0.10, (17, 38), ("C3", "L5"), (0.30, 0.35, 0.35), 90,
               (0.9, 0.1, 0.8, 0.2, 0.3, 0.4), 0.5, 0.3, (0.1, 0.9, 0.0)),
    TumourType("breast metastasis", "malignant", VERTEBRAL, 0.06, 920, 74, 780, 0.34,
               0.15, 0.18, 0.18, 0.18, (15, 36), ("C4", "S1"), (0.12, 0.53, 0.35), 130,
               (0.2, 0.1, 0.9, 0.1, 0.4, 0.6), 0.5, 0.3, (0.0, 0.1, 1.1), extra=0.9),
    TumourType("lung metastasis", "malignant", VERTEBRAL, 0.06, 900, 70, 740, 0.34,
               0.30, 0.22, 0.18, 0.22, (15, 36), ("C4", "S1"), (0.12, 0.53, 0.35), 90,
               (0.2, 0.1, 1.1, 0.1, 0.5, 0.6), 0.7, 0.3, (0.0, 0.1, 1.0), extra=0.8),
    TumourType("prostate metastasis", "malignant", VERTEBRAL, 0.04, 860, 54, 760, 0.24,
               0.00, 0.16, 0.16, 0.10, (14, 34), ("T1", "S2"), (0.05, 0.40, 0.55), 180,
               (0.2, 0.1, 0.9, 0.1, 0.4, 0.9), 0.3, 0.2, (0.0, 0.1, 0.8), extra=1.0, density=0.55),
    TumourType("renal metastasis", "malignant", VERTEBRAL, 0.07, 960, 80, 860, 0.60,
               0.25, 0.18, 0.15, 0.20, (15, 36), ("C6", "S1"), (0.10, 0.50, 0.40), 160,
               (0.2, 1.0, 0.5, 0.1, 0.3, 0.5), 0.4, 1.0, (0.0, 0.1, 0.8), extra=0.7),
    TumourType("myeloma", "malignant", VERTEBRAL, 0.05, 930, 82, 790, 0.42,
               0.00, 0.12, 0.14, 0.05, (14, 34), ("C4", "S1"), (0.10, 0.50, 0.40), 120,
               (0.2, 0.1, 0.6, 0.2, 0.3, 0.3), 0.5, 0.5, (0.0, 0.1, 0.2), extra=1.2),
    TumourType("chordoma", "malignant", VERTEBRAL, 0.14, 1140, 128, 1600, 0.22,
               0.35, 0.22, 0.08, 0.05, (18, 38), ("C2", "S2"), (0.30, 0.15, 0.55), 400,
               (0.2, 0.1, 0.5, 0.1, 0.4, 0.6), 0.2, -0.1, (0.0, 1.3, 1.2)),
)
# fmt: on


def tumours_of(label: str) -> tuple[TumourType, ...]:
    """Return the types of one label; none for "normal"."""
    return tuple(tumour for tumour in TUMOURS if tumour.label == label)

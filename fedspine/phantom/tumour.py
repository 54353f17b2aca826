"""The tumours a phantom may carry: where they grow, how they look, which genes drive them.

The figures lie in typical literature ranges and overlap on purpose. What is bright and free to diffuse is benign within
the canal (schwannoma) and malignant in bone (chordoma); what is dark and restricted is benign there (meningioma) and
malignant here (metastasis). So no contrast tells the classes apart by itself; contrasts, place, margin and omics
together do. A reported pair: median ADC of vertebral haemangiomas 1085, of malignant deposits 682 (1e-6 mm²/s; Winfield
et al. 2018, Eur Radiol 28:1687); other series report untreated metastases near 900 and more.
"""

from __future__ import annotations

from dataclasses import dataclass

INTRAMEDULLARY, INTRADURAL, VERTEBRAL = "intramedullary", "intradural-extramedullary", "vertebral"


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
        levels: first and last vertebral level, as indices into `anatomy.LEVELS`.
        mutations: expected mutation counts in the order of `genome.MUTATIONS`.
        proliferation, angiogenesis: mean of the pathway.
        lineage: mean of the lineage markers in the order of `genome.LINEAGE`.
        extra: expected number of further lesions.
        fat: share of its signal that fat suppression removes.
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
    levels: tuple[int, int]
    mutations: tuple[float, ...]
    proliferation: float
    angiogenesis: float
    lineage: tuple[float, float, float]
    extra: float = 0.0
    fat: float = 0.0


# fmt: off
# name, label, compartment, share, T1, T2, ADC, agent
#     core, lobulation, infiltration, oedema, diameter, levels
#     NF2, VHL, TP53, H3F3A, TERT, PTEN; proliferation, angiogenesis; GFAP, S100B, MUC1
TUMOURS: tuple[TumourType, ...] = (
    TumourType("ependymoma", "benign", INTRAMEDULLARY, 0.16, 1000, 82, 1160, 0.40,
               0.40, 0.06, 0.05, 0.25, (18, 42), (1, 17),
               (0.9, 0.1, 0.2, 0.1, 0.3, 0.2), -0.1, 0.0, (1.2, 0.5, 0.8)),
    TumourType("haemangioblastoma", "benign", INTRAMEDULLARY, 0.12, 1080, 106, 1450, 0.62,
               0.45, 0.05, 0.04, 0.45, (14, 32), (1, 17),
               (0.2, 1.2, 0.2, 0.1, 0.2, 0.2), -0.2, 1.1, (0.0, 0.3, 0.0), extra=0.5),
    TumourType("schwannoma", "benign", INTRADURAL, 0.22, 1080, 116, 1560, 0.40,
               0.35, 0.09, 0.05, 0.00, (16, 38), (2, 22),
               (1.2, 0.1, 0.2, 0.1, 0.2, 0.2), -0.4, -0.1, (0.2, 1.6, 0.0), extra=0.5),
    TumourType("meningioma", "benign", INTRADURAL, 0.22, 900, 68, 760, 0.44,
               0.05, 0.07, 0.05, 0.05, (14, 36), (1, 17),
               (1.3, 0.1, 0.2, 0.1, 0.5, 0.3), -0.1, 0.2, (0.0, 0.3, 1.3), extra=0.3),
    TumourType("haemangioma", "benign", VERTEBRAL, 0.15, 720, 88, 1085, 0.34,
               0.00, 0.08, 0.08, 0.00, (16, 36), (5, 23),
               (0.2, 0.3, 0.2, 0.1, 0.2, 0.2), -0.5, 0.6, (0.0, 0.1, 0.0), extra=0.7, fat=0.35),
    TumourType("atypical haemangioma", "benign", VERTEBRAL, 0.13, 960, 94, 1160, 0.44,
               0.00, 0.12, 0.10, 0.15, (16, 38), (5, 23),
               (0.2, 0.4, 0.2, 0.1, 0.3, 0.2), -0.2, 0.7, (0.0, 0.1, 0.0), extra=0.7),
    TumourType("high-grade astrocytoma", "malignant", INTRAMEDULLARY, 0.26, 1080, 98, 860, 0.18,
               0.45, 0.20, 0.24, 0.45, (18, 42), (1, 17),
               (0.2, 0.1, 0.9, 0.9, 0.5, 0.5), 0.6, 0.5, (1.5, 0.8, 0.1)),
    TumourType("leptomeningeal metastasis", "malignant", INTRADURAL, 0.15, 1000, 84, 1020, 0.34,
               0.15, 0.18, 0.16, 0.10, (13, 32), (1, 22),
               (0.2, 0.1, 0.9, 0.3, 0.5, 0.5), 0.6, 0.2, (0.3, 0.4, 0.6), extra=0.6),
    TumourType("malignant nerve sheath tumour", "malignant", INTRADURAL, 0.15, 1060, 94, 1120, 0.36,
               0.45, 0.20, 0.16, 0.10, (17, 38), (2, 22),
               (0.9, 0.1, 0.8, 0.2, 0.3, 0.4), 0.5, 0.3, (0.1, 0.9, 0.0)),
    TumourType("metastasis", "malignant", VERTEBRAL, 0.18, 900, 70, 720, 0.32,
               0.20, 0.20, 0.18, 0.20, (15, 36), (4, 23),
               (0.2, 0.1, 1.0, 0.1, 0.5, 0.6), 0.6, 0.3, (0.0, 0.1, 1.0), extra=0.8),
    TumourType("renal metastasis", "malignant", VERTEBRAL, 0.08, 960, 80, 820, 0.60,
               0.25, 0.18, 0.15, 0.20, (15, 36), (5, 23),
               (0.2, 1.0, 0.5, 0.1, 0.3, 0.5), 0.4, 1.0, (0.0, 0.1, 0.8), extra=0.7),
    TumourType("chordoma", "malignant", VERTEBRAL, 0.18, 1140, 128, 1600, 0.22,
               0.35, 0.22, 0.08, 0.05, (18, 38), (0, 24),
               (0.2, 0.1, 0.5, 0.1, 0.4, 0.6), 0.2, -0.1, (0.0, 1.3, 1.2)),
)
# fmt: on


def tumours_of(label: str) -> tuple[TumourType, ...]:
    """Return the types of one label; none for "normal"."""
    return tuple(tumour for tumour in TUMOURS if tumour.label == label)

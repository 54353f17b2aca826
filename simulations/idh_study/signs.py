"""Three signs by which a radiologist guesses the IDH status of a lower-grade glioma, read where a network looks.

All three are the literature's, with the direction it gives: wild type takes up more contrast agent, mutants lie further
to the front, and are larger when found (Lai 2011, J Clin Oncol; Qi 2014, Neuro-Oncology; Suh 2019, AJNR, a review).
They are few on purpose: with 15 patients of the rarer class every further sign costs more than it tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors

SIGNS = ("enhancement", "distance from the front", "size")
CONTRASTS = ("T1", "FLAIR", "T1c")

BODY = 0.02
"""Above this share of the patient's own range a pixel is head."""


def signs(patient: PatientTensors, inside: Tensor) -> NDArray[np.float64]:
    """Return (sign,): NaN where unknown (no contrast agent given, nothing found).

    Enhancement is the lesion's mean of T1c - T1 in standard deviations of the rest of the head; distance from the front
    is that of the centroid, as a share of the head's length; size is the log of the largest cross-section, in shares of
    the head's.

    Args:
        patient: contrasts in the order of `CONTRASTS`, axial, front at the top.
        inside: (slice, 1, row, column), the lesion in {0, 1}.
    """
    lesion, head = inside[:, 0] > 0.5, patient.images[:, 1] > BODY
    if not bool(lesion.any()) or not bool(head.any()):
        return np.full(len(SIGNS), np.nan)
    rows = head.any(2).any(0).nonzero().flatten()
    front, back = float(rows[0]), float(rows[-1])
    row = lesion.nonzero()[:, 1].double().mean()
    largest = lesion.sum((1, 2)).max().double() / head.sum((1, 2)).max()
    place = (float(row) - front) / max(back - front, 1.0)
    return np.array([_enhancement(patient, lesion, head), place, float(largest.log())])


def _enhancement(patient: PatientTensors, lesion: Tensor, head: Tensor) -> float:
    before, _, after = range(len(CONTRASTS))
    rest = head & ~lesion
    if not (patient.present[before] and patient.present[after]) or int(rest.sum()) < 2:
        return float("nan")
    difference = (patient.images[:, after] - patient.images[:, before]).double()
    return float((difference[lesion].mean() - difference[rest].mean()) / difference[rest].std().clamp(min=1e-6))


def likely(probability: Tensor) -> Tensor:
    """Return where a lesion is more likely than not, or the likeliest places if nowhere: every patient here has one.

    Args:
        probability: (slice, 1, row, column).
    """
    found = (probability > 0.5).float()
    if not bool(found.any()):
        found.view(-1)[probability.flatten().topk(max(probability.numel() // 1000, 1)).indices] = 1.0
    return found

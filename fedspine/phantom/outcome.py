"""What becomes of a patient: the grade, the hazard, the time to the event, and how fast a tumour grows.

Proportional hazards (Cox 1972): a constant baseline times exp(score). The score counts the grade, proliferation, and
whether the tumour lies within the cord; VHL, a gene of vessels, has no part in it. The weights are the phantom's own:
they make a ground truth to test a risk model on, not a claim about patients.
"""

from __future__ import annotations

import numpy as np

from fedspine.cohort.select import DAYS_A_MONTH
from fedspine.phantom.genome import Pathways
from fedspine.phantom.tumour import INTRAMEDULLARY, TumourType

BASELINE_A_MONTH = 0.012
"""Hazard of a tumour of grade 2 with average proliferation, outside the cord."""
GRADE_WEIGHT, PROLIFERATION_WEIGHT, CORD_WEIGHT = 0.9, 0.5, 0.4
LONGEST_MONTHS = 60.0

_GRADES = {"benign": (0.65, 0.30, 0.05, 0.0), "malignant": (0.0, 0.20, 0.40, 0.40)}


def draw_grade(stream: np.random.Generator, *, tumour: TumourType | None) -> float | None:
    """Draw the biopsy grade, 1 to 4; none without a tumour."""
    return None if tumour is None else float(stream.choice((1.0, 2.0, 3.0, 4.0), p=_GRADES[tumour.label]))


def hazard_of(_: np.random.Generator, *, tumour: TumourType | None, grade: float | None, pathways: Pathways) -> float:
    """Return the hazard of progression a month."""
    score = GRADE_WEIGHT * ((grade or 0.0) - 2.0) + PROLIFERATION_WEIGHT * pathways.proliferation
    if tumour is not None and tumour.compartment == INTRAMEDULLARY:
        score += CORD_WEIGHT
    return BASELINE_A_MONTH * float(np.exp(score))


def draw_outcome(stream: np.random.Generator, *, hazard: float) -> tuple[float, float]:
    """Draw (time in months, event): 1 if the disease progressed then, 0 if the patient was followed no further."""
    until_event = stream.standard_exponential() / hazard
    until_end = stream.uniform(6.0, LONGEST_MONTHS)
    return round(float(min(until_event, until_end)), 1), float(until_event <= until_end)


def draw_doubling(stream: np.random.Generator, *, tumour: TumourType | None, pathways: Pathways) -> float:
    """Draw the days in which the tumour's volume doubles; infinite without one. Proliferation shortens them."""
    chance = float(np.exp(0.35 * stream.standard_normal()))
    if tumour is None:
        return float("inf")
    return tumour.doubling_days * chance * float(np.exp(-0.5 * (pathways.proliferation - tumour.proliferation)))


def growth(doubling_days: float, months: float) -> float:
    """Return the factor by which a diameter grows; the volume grows by its cube.

    >>> growth(30.4375, 3.0)
    2.0
    """
    return float(2.0 ** (months * DAYS_A_MONTH / doubling_days / 3.0))

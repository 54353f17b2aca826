"""What is kept of a person while scanners are compared, as numbers on a public scale.

The diagnosis is not among them, nor may it be: a harmonised feature that kept the label which a network later predicts
would hold the answer (Nieto et al. 2024). What is unknown of a person stands at the public centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.tensors import Person

Array = NDArray[np.float64]

CENTRES = {"age": 55.0, "sex": 0.0, "level": 0.5}
"""Years; F and M are 1 and -1; 0 at C1 to 1 at S1."""

SPREADS = {"age": 15.0, "sex": 1.0, "level": 0.3}

COVARIATES = tuple(CENTRES)
"""What a plan may name."""


def covariate_row(person: Person, names: Sequence[str]) -> Array:
    """Return (len(`names`),) covariates of one person, in the units of `CENTRES`.

    >>> covariate_row(Person(age=70.0, sex="F"), ("age", "sex", "level")).tolist()
    [70.0, 1.0, 0.5]
    """
    sex = None if person.sex is None else {"F": 1.0, "M": -1.0}[person.sex]
    known = {"age": person.age, "sex": sex, "level": person.level}
    return np.array([CENTRES[name] if (value := known[name]) is None else value for name in names])


def scale_of(names: Sequence[str]) -> tuple[Array, Array]:
    """Return the public centre and spread of the covariates called `names`, both (p,)."""
    return np.array([CENTRES[name] for name in names]), np.array([SPREADS[name] for name in names])

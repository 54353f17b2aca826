"""Which patients train and which are held out, decided one patient at a time.

A patient's fold depends on the plan's seed and that patient's identifier alone. So adding or removing a patient moves
nobody else (the privacy proof needs that), and the same patient is on the same side in every stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fedspine.cohort.patient import Patient


def fold(identifier: str, seed: int, held_out: float) -> str:
    """Return `held-out` for a share of `held_out` of all identifiers, `train` for the others.

    >>> {fold(f"patient {i}", 0, 0.0) for i in range(9)}
    {'train'}
    """
    digest = hashlib.sha256(f"{seed}\x1f{identifier}".encode()).digest()
    return "held-out" if int.from_bytes(digest[:8], "big") < held_out * 2**64 else "train"


def split(patients: Sequence[Patient], seed: int, held_out: float) -> dict[str, tuple[Patient, ...]]:
    """Return the patients of each fold, in their order."""
    sides: dict[str, list[Patient]] = {"train": [], "held-out": []}
    for patient in patients:
        sides[fold(patient.identifier, seed, held_out)].append(patient)
    return {name: tuple(members) for name, members in sides.items()}

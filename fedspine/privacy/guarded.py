"""Work on one patient that may fail: then the patient has nothing to say, and the others never notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")

Note = Callable[[Exception], None]
"""Is told what went wrong; it stays at the site."""


def guarded(work: Callable[[P], R | None], note: Note | None) -> Callable[[P], R | None]:
    """Return `work` such that a patient on whom it fails has nothing to say (a zero term), and `note` is told.

    A failure that stopped the site would be a release without noise: that this patient is there. It would also stop
    the others. Opening the patient's data is part of the work, for it can fail too. Without `note`, as in public
    pre-training, failures are errors.
    """
    if note is None:
        return work

    def careful(patient: P) -> R | None:
        try:
            return work(patient)
        except Exception as error:
            note(error)
            return None

    return careful

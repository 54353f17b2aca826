"""Terms that count for a patient's scanner: one row of each array, zero in the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def of_scanner(
    zeros: dict[str, Tensor], batch: int, parts: Mapping[str, Tensor | NDArray[np.float64]]
) -> dict[str, Tensor]:
    """Return `zeros` with `parts` in the row of scanner `batch`; the norm is that of the parts.

    Args:
        zeros: name to (scanner, …).
        batch: number of the patient's scanner.
        parts: name to (…).
    """
    for part, value in parts.items():
        zeros[part][batch] = torch.as_tensor(value)
    return zeros

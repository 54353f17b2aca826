"""A scanner's settings in short, and what they let expect of a scanner that nobody has seen.

Field strength, and echo and repetition time of every contrast: 1 + 2·contrasts numbers on the public scale of
`acquisition`, few enough for their mean per scanner to be released beside ComBat's sums at little cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fedspine.cohort.patient import Scanner
from fedspine.harmony.acquisition import ACQUISITION, BOUND, acquisition_rows
from fedspine.harmony.combat import BatchEffect
from fedspine.harmony.moments import Array
from fedspine.harmony.onboarding import AcquisitionModel, predict_effect

PER_CONTRAST = ("log TE", "log TR")
_FIELD = ACQUISITION.index("field")
_COLUMNS = [ACQUISITION.index(name) for name in PER_CONTRAST]

PREFIX = "settings."
_ARRAYS = ("centre", "spread", "acquisitions", "location", "variance")


def size(contrasts: int) -> int:
    """Return how many settings a scanner has for so many contrasts."""
    return 1 + len(PER_CONTRAST) * contrasts


def settings_row(scanners: Sequence[Scanner | None]) -> Array:
    """Return one patient's (`size`,) settings within ±`acquisition.BOUND`, NaN where unknown; that patient's alone."""
    values, known = acquisition_rows(scanners)
    shown = np.where(known > 0, values, np.nan)
    fields = shown[:, _FIELD]
    field = fields[np.isfinite(fields)]
    return np.concatenate([[float(field[0]) if len(field) else np.nan], shown[:, _COLUMNS].reshape(-1)])


def settings_term(scanners: Sequence[Scanner | None]) -> Array:
    """Return what one patient adds to its scanner's sum: the row over its largest norm, so of norm at most 1."""
    row = np.nan_to_num(settings_row(scanners))
    return np.asarray(row / (BOUND * math.sqrt(len(row))))


def mean_settings(released: Array, patients: int) -> Array:
    """Return a scanner's mean settings (`size`,) from the sum of its patients' terms."""
    return np.asarray((released * BOUND * math.sqrt(len(released)) / max(patients, 1)).clip(-BOUND, BOUND))


def packed(model: AcquisitionModel) -> dict[str, Tensor]:
    """Return the model as arrays that travel."""
    arrays = {f"{PREFIX}{name}": torch.from_numpy(np.asarray(getattr(model, name))) for name in _ARRAYS}
    return {**arrays, f"{PREFIX}variances": torch.tensor([model.pull, model.rest], dtype=torch.float64)}


def expected_effect(shared: Mapping[str, Tensor], row: Array, begins: str = "") -> BatchEffect | None:
    """Return what a scanner of these settings is expected to do; `None` where no model was released.

    Args:
        shared: released values.
        row: of `settings_row`.
        begins: of the model's names in `shared`.
    """
    if f"{begins}{PREFIX}{_ARRAYS[0]}" not in shared:
        return None
    centre, spread, known, location, variance = (shared[f"{begins}{PREFIX}{name}"].double().numpy() for name in _ARRAYS)
    pull, rest = shared[f"{begins}{PREFIX}variances"].tolist()
    prior = predict_effect(AcquisitionModel(centre, spread, known, location, variance, pull, rest), row)
    return BatchEffect(prior.mean, np.ones_like(prior.mean), prior.variance)

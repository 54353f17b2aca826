"""How well one mask fits another, over a patient's whole volume; by MONAI."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from monai.metrics.confusion_matrix import get_confusion_matrix
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from torch import Tensor

from fedspine.errors import InputError
from fedspine.evaluation.classification import binary_metrics


def dice(predicted: Tensor, truth: Tensor) -> float:
    """Return the Dice of two masks of any one shape; 1 where neither has a voxel, 0 where one of them alone has."""
    one, other = _batched(predicted), _batched(truth)
    return float(compute_dice(one, other, ignore_empty=False))


def mask_metrics(predicted: Tensor, truth: Tensor, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Return Dice, IoU, the 95th percentile of the Hausdorff distance in mm, and voxel precision, recall, specificity.

    Where neither has a voxel, Dice and IoU are 1 and the distance is 0: nothing was to be found, and nothing was.
    Where one of them alone is empty, Dice and IoU are 0 and the distance is the diagonal of the volume, the farthest
    that two voxels can be apart; to leave such patients out would reward a network that finds nothing.

    Args:
        predicted: (slice, row, column), 0 or 1.
        truth: the same.
        spacing_mm: of the voxels, in that order. In a stack of slices that are not contiguous, measure each alone, as
            (1, row, column).

    Raises:
        InputError: if the two are not on one grid.
    """
    if predicted.shape != truth.shape or truth.ndim != 3 or len(spacing_mm) != 3:
        raise InputError("two masks must be (slice, row, column) on one grid", "others", "resample one of them")
    one, other = _batched(predicted), _batched(truth)
    tp, fp, tn, fn = (float(x) for x in get_confusion_matrix(one, other)[0, 0])
    rates = {key: value for key, value in binary_metrics(tp, fp, tn, fn).items() if key not in ("accuracy", "f1")}
    return {
        "dice": dice(predicted, truth),
        "iou": float(compute_iou(one, other, ignore_empty=False)),
        "hausdorff95_mm": _hausdorff_mm(one, other, spacing_mm),
        **rates,
    }


def slice_distance(predicted: Tensor, truth: Tensor, farthest: float) -> float:
    """Return the 95th percentile of the Hausdorff distance in pixels, mean over slices that show either mask.

    In-plane, since slices need not be neighbours.

    Args:
        predicted: (slice, row, column), 0 or 1.
        truth: the same; one of the two shows something.
        farthest: distances count up to this: a lesion that was not found is so far off.
    """
    shown = [i for i in range(len(truth)) if bool(truth[i].any()) or bool(predicted[i].any())]
    pairs = ((_batched(predicted[i : i + 1]), _batched(truth[i : i + 1])) for i in shown)
    pixels = [min(_hausdorff_mm(*pair, (1.0, 1.0, 1.0)), farthest) for pair in pairs]
    return sum(pixels) / len(pixels)


def _batched(mask: Tensor) -> Tensor:
    """Return the mask as MONAI's metrics take it: (1, 1, ...), 0.0 or 1.0."""
    return mask.bool().float()[None, None]


def _hausdorff_mm(one: Tensor, other: Tensor, spacing_mm: Sequence[float]) -> float:
    found = [bool(mask.any()) for mask in (one, other)]
    if not any(found):
        return 0.0
    if not all(found):
        return math.dist([0.0] * 3, [side * step for side, step in zip(one.shape[2:], spacing_mm, strict=True)])
    flat = one.shape[2] == 1  # MONAI finds edges by erosion, which would take a lone slice for edge altogether
    masks = [mask[:, :, 0] if flat else mask for mask in (one, other)]
    spacing = list(spacing_mm[1:] if flat else spacing_mm)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 calls an argument of its own that it has deprecated
        return float(compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing))

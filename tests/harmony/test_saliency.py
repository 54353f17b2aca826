"""A lesion stands out from its patient's own tissue, on any scale, by the contrasts that are certain."""

from __future__ import annotations

import torch
from torch import Tensor

from fedspine.config import DataPlan
from fedspine.harmony.saliency import saliency
from fedspine.harmony.twin import public_people, scans
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.scanner import CONTRASTS, SCANNERS

EVERY = torch.ones(2)
SURE = torch.ones(2)


def lesioned(height: float) -> tuple[Tensor, Tensor]:
    """Return images whose first contrast shows a lesion of this height above noise, and the mask."""
    random = torch.Generator().manual_seed(0)
    images = 0.4 + 0.05 * torch.randn(3, 2, 32, 32, generator=random)
    mask = torch.zeros(3, 1, 32, 32)
    mask[1, 0, 12:18, 12:18] = 1.0
    images[:, 0] += height * mask[:, 0]
    return images, mask


def test_what_stands_out_more_scores_more_and_never_more_than_one() -> None:
    scores = [float(saliency(images, EVERY, mask, SURE)) for images, mask in map(lesioned, (0.0, 0.1, 0.3, 30.0))]
    assert scores == sorted(scores)
    assert scores[0] < 0.25 < scores[2] < scores[3] <= 1.0


def test_a_linear_change_of_intensities_changes_nothing() -> None:
    images, mask = lesioned(0.2)
    changed = images * torch.tensor([3.0, 0.2])[:, None, None] + torch.tensor([0.5, 0.1])[:, None, None]
    assert torch.allclose(saliency(images, EVERY, mask, SURE), saliency(changed, EVERY, mask, SURE), atol=1e-4)


def test_the_score_drops_when_the_contrast_that_shows_the_lesion_is_uncertain() -> None:
    images, mask = lesioned(0.3)
    scores = [float(saliency(images, EVERY, mask, torch.tensor([sure, 1.0]))) for sure in (1.0, 0.5, 0.1)]
    assert scores[0] > scores[1] > scores[2]


def test_without_lesion_contrast_or_certainty_there_is_no_score() -> None:
    images, mask = lesioned(0.3)
    assert float(saliency(images, EVERY, torch.zeros_like(mask), SURE)) == 0.0
    assert float(saliency(images, torch.zeros(2), mask, SURE)) == 0.0
    assert float(saliency(images, EVERY, mask, torch.zeros(2))) == 0.0
    flat = torch.full_like(images, 0.4)
    assert torch.isfinite(saliency(flat, EVERY, mask, SURE))


def test_tumours_stand_out_more_than_the_same_places_of_normal_people() -> None:
    data = DataPlan(contrasts=CONTRASTS, classes=CLASSES, size=48, slices=4)
    patients = scans(public_people(data, 24, 5), SCANNERS[0], data)
    sure = torch.ones(len(CONTRASTS))
    tumours = [p for i, p in enumerate(patients) if CLASSES[i % 3] != "normal"]
    others = [p for i, p in enumerate(patients) if CLASSES[i % 3] == "normal"]
    masks = [p.lesion for p in tumours if p.lesion is not None and bool(p.lesion.any())]
    with_tumour = [
        saliency(p.images, p.present, p.lesion, sure) for p in tumours if p.lesion is not None and bool(p.lesion.any())
    ]
    without = [saliency(p.images, p.present, mask, sure) for p in others for mask in masks]
    assert float(torch.stack(with_tumour).mean()) > float(torch.stack(without).mean()) + 0.05

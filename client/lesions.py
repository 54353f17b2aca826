"""How certain each contrast of this hospital is, and how far its patients' lesions stand out; kept at the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.harmony.features import PER_CONTRAST
from fedspine.harmony.saliency import saliency
from fedspine.tasks.segment import Segment

BODY, LESION = PER_CONTRAST.index("mean"), PER_CONTRAST.index("lesion mean")


def uncertainty(plan: Plan, shared: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return, per scanner that somebody lay on, how well each contrast's brightness is known after harmonising.

    The standard deviation of the scanner's effect on the body's and the lesion's mean, in units of how far people
    differ; empty where the plan has not harmonised.
    """
    if "harmonise.patients" not in shared:
        return {}
    deviation = shared["harmonise.variance"].sqrt()
    there = (shared["harmonise.patients"] > 0).nonzero().flatten().tolist()
    width = len(PER_CONTRAST)
    return {
        "contrasts": list(plan.data.contrasts),
        "patients": [int(shared["harmonise.patients"][number]) for number in there],
        "body": [deviation[number, BODY::width].tolist() for number in there],
        "lesion": [deviation[number, LESION::width].tolist() for number in there],
    }


def certainty(patient: PatientTensors, shared: Mapping[str, Tensor]) -> Tensor:
    """Return how certain each contrast of a patient is, (contrast,) in (0, 1]: 1 over 1 and the effect's variance."""
    if "harmonise.patients" not in shared or patient.batch < 0:
        return torch.ones(len(patient.present))
    return (1 / (1 + shared["harmonise.variance"][patient.batch, LESION :: len(PER_CONTRAST)])).float()


def saliencies(
    patients: Sequence[PatientTensors],
    names: Sequence[str],
    shared: Mapping[str, Tensor],
    segmenter: tuple[Segment, nn.Module] | None,
) -> list[dict[str, Any]]:
    """Return the saliency of each patient's lesion, with its class and whose mask it was; none without a lesion.

    Args:
        patients: harmonised.
        names: of the classes, the last for those without a label.
        shared: released values.
        segmenter: for patients without a mask of their own.
    """
    found = []
    for patient in patients:
        if not patient.has_image:
            continue
        mask, whose = patient.lesion, "the hospital's"
        if mask is None and segmenter is not None:
            with torch.no_grad():
                mask, whose = segmenter[0].segmented(segmenter[1], patient).amax(1, keepdim=True), "the network's"
        if mask is None or not bool((mask > 0.5).any()):
            continue
        score = saliency(patient.images, patient.present, mask, certainty(patient, shared))
        found.append({"class": names[patient.label], "score": float(score), "mask": whose})
    return found

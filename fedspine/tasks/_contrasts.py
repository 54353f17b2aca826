"""Missing contrasts, met in training: what a network never saw missing, it cannot do without."""

from __future__ import annotations

from dataclasses import replace

import torch

from fedspine.cohort.tensors import PatientTensors


def with_fewer_contrasts(patient: PatientTensors, probability: float, draws: torch.Generator) -> PatientTensors:
    """Return `patient` with each contrast left out with `probability`, as if not acquired, but never the last one.

    Modality dropout (Neverova 2016, ModDrop; Havaei 2016, HeMIS): images become zero and `present` says so. Where all
    would go, one of those that are there stays, each as likely.

    Args:
        patient: not changed.
        probability: of each contrast, independently; 0 draws nothing.
        draws: randomness.
    """
    there = patient.present > 0
    if probability <= 0 or int(there.sum()) < 2:
        return patient
    kept = there & (torch.rand(len(there), generator=draws) >= probability)
    if not bool(kept.any()):
        places = there.nonzero().flatten()
        kept[places[torch.randint(len(places), (), generator=draws)]] = True
    flags = kept.to(patient.present)
    return replace(patient, images=patient.images * flags[:, None, None], present=patient.present * flags)

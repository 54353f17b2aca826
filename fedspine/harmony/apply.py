"""Re-express a patient's images on the consortium's common scale, given what `harmonise` released.

A site's scanner is taken to change, per contrast, the mean and the standard deviation of the body's intensities. Those
two numbers of a patient are harmonised by ComBat (`harmony.combat`); the image follows them linearly, lesion and all.
The map depends on that patient and on released values alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.harmony.combat import Pooled, SiteEffect, adjust
from fedspine.harmony.features import BODY

KEYS = ("harmonise.alpha", "harmonise.sigma", "harmonise.gamma", "harmonise.delta")


def intensity_names(contrasts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns of `intensities`."""
    return tuple(f"{contrast} {what}" for contrast in contrasts for what in ("mean", "sd"))


def intensities(patient: PatientTensors) -> tuple[Tensor, Tensor]:
    """Return the body's mean and standard deviation per contrast, and which are known: both (2·contrast,) float32."""
    values, known = [], []
    for index, present in enumerate(patient.present.tolist()):
        image = patient.images[:, index]
        body = image[image > BODY]
        usable = present > 0 and body.numel() > 1
        values += [body.mean(), body.std()] if usable else [torch.zeros(()), torch.zeros(())]
        known += [float(usable)] * 2
    return torch.stack(values), torch.tensor(known)


def harmonised(patient: PatientTensors, shared: Mapping[str, Tensor]) -> PatientTensors:
    """Return the patient with aligned images; unchanged where the plan has not harmonised (yet).

    Args:
        patient: on the plan's grid.
        shared: released values; `harmonise.*` hold the pooled and this site's own effects.
    """
    if not all(key in shared for key in KEYS):
        return patient
    alpha, sigma, gamma, delta = (shared[key].double().numpy() for key in KEYS)
    values, known = intensities(patient)
    row = values.double().numpy()[None]
    none = row[:, :0]
    pooled = Pooled(alpha[:0, None].reshape(0, len(alpha)), alpha, sigma)
    target = adjust(row, none, pooled, SiteEffect(gamma, delta))[0]
    images = patient.images.clone()
    for index in range(images.shape[1]):
        mean, deviation = row[0, 2 * index], row[0, 2 * index + 1]
        if not known[2 * index] or deviation < 1e-3:
            continue
        image = images[:, index]
        new_mean, new_deviation = float(target[2 * index]), max(float(target[2 * index + 1]), 0.0)
        moved = (image - float(mean)) * (new_deviation / float(deviation)) + new_mean
        images[:, index] = torch.where(image > BODY, moved.clamp(0, 2), image)
    return replace(patient, images=images)

"""How diverse made patients are: a generator that has collapsed makes the same patient again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import COUNT, phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.harmony.features import features, of_lesions
from fedspine.tasks._sample import Frame, patients_of, real
from fedspine.tasks._task import Shared

MADE = 64
"""Patients made to look at."""

CONSTANT = 1e-3
"""Features that differ less than this among real patients tell nothing."""


@runtime_checkable
class Diverse(Protocol):
    """A trained task that can tell whether what it makes is as diverse as patients are."""

    @property
    def least_diversity(self) -> float:
        """Share of real images' diversity below which what makes them counts as collapsed."""

    @property
    def made_by(self) -> tuple[str, ...]:
        """Beginnings of the names of the weights that make images; of the last good ones where they collapse."""

    def build(self) -> nn.Module:
        """Return the network; see `Trained`."""

    def diversity(self, model: nn.Module, draws: torch.Generator) -> float | None:
        """Return how diverse made images are, as a share of real ones: 1 as diverse, 0 all alike; server side.

        `None` where phantoms show nothing of the kind, so that nobody knows how diverse real ones are.
        """


def diversity(make: Callable[[int], list[PatientTensors]], spread: Tensor | None) -> float | None:
    """Return the mean over features of made patients' deviation over real ones', each at most 1.

    It is the lesser of two means, over features of images and over features of lesions: where masks are given to the
    generator, lesions of one image seen through them differ as much as ever, though the image is always the same. One
    image in ever other brightness is not noticed here; the likeness of pairs on the sheet (`fedspine sheet`) sees it.

    Args:
        make: makes so many patients.
        spread: (feature,) deviation among real patients, `None` where unknown; see `real_spread`.

    Returns:
        The share; `None` where `spread` is, or tells nothing.
    """
    if spread is None:
        return None
    ratio = (feature_spread(make(MADE)) / spread.clamp(min=CONSTANT)).clamp(max=1)
    of_lesion, telling = of_lesions(len(spread)), spread > CONSTANT
    groups = (ratio[telling & of_lesion], ratio[telling & ~of_lesion])
    return min((float(group.mean()) for group in groups if len(group)), default=None)


def unlikeness(images: Tensor) -> float:
    """Return 1 less the mean correlation of pairs of images: 0 where all are one image, however bright.

    An image without contrast is like every other.

    Args:
        images: (image, ...), two or more.
    """
    centred = images.flatten(1) - images.flatten(1).mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    unit = centred / length.clamp(min=CONSTANT)
    alike, flat = unit @ unit.T, length[:, 0] < CONSTANT
    alike[flat], alike[:, flat] = 1.0, 1.0
    count = len(images)
    return float(1 - (alike.sum() - alike.trace()) / (count * (count - 1)))


def feature_spread(patients: Sequence[PatientTensors]) -> Tensor:
    """Return the deviation of every image feature over patients: (feature,)."""
    return torch.stack([features(patient)[0] for patient in patients]).std(0)


def real_spread(plan: Plan, frame: Frame, shared: Shared, *, healthy: bool) -> Tensor | None:
    """Return how far real patients' image features lie apart: (feature,); at the server, since phantoms are drawn.

    Phantoms say it for images of the GAN's kind (single slices with a lesion, or volumes). Where the plan has
    standardised, its released deviations, over phantoms' own, say how much further apart patients are than phantoms.
    `None` where fewer than two phantoms are of that kind: without the plan's contrasts or structures.
    """
    samples = [real(phantom, frame, healthy=healthy) for phantom in phantoms(plan, COUNT, purpose=0)]
    some = [one for sample in samples if sample is not None for one in patients_of(sample, frame)[:1]]
    if len(some) < 2:
        return None
    spread = feature_spread(some)
    if {"standardise.deviation", "prior.deviation"} <= shared.keys():
        spread = spread * (shared["standardise.deviation"] / shared["prior.deviation"])[: len(spread)]
    return spread

"""Align a scanner's images to the reference scanner: from a released sum to arrays, and from arrays to images.

    released sum ─▸ twin (`twin`) ─▸ pairs of public phantoms ─▸ map (`rendering`) and its error (`certainty`)
    released sum ─▸ landmarks (`landmarks`), which carry the hospital's intensities onto the twin's before the map

All after the sum is arithmetic on released values and public phantoms; it costs no privacy and can run at the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedspine.config import DataPlan
from fedspine.harmony import certainty, landmarks, rendering
from fedspine.harmony.fields import roles
from fedspine.harmony.scanner_sum import pooled, restored, summary_term
from fedspine.harmony.twin import SPREAD, Twin, near, public_people, scans, twin_of
from fedspine.phantom.patient import Phantom
from fedspine.phantom.scanner import Protocol, ScannerModel

FITTED, MATCHED, CHECKED = 90, 24, 60
"""Phantoms that maps are fitted to, the first of them that twins are sought with, others that errors are learned of."""

WIDER = 2.0
"""Scanners are drawn from a posterior so much wider than a twin's: it takes the simulator for the truth."""


@dataclass(frozen=True, eq=False)
class Public:
    """Public phantoms and their scans on the reference scanner.

    Args:
        data: contrasts and grid.
        fitted, checked: people.
        seen_fitted, seen_checked: their images on the reference scanner.
        masks: (slice, 1, row, column) lesion masks of `checked`.
        seed: of maps.
    """

    data: DataPlan
    fitted: tuple[Phantom, ...] = field(repr=False)
    checked: tuple[Phantom, ...] = field(repr=False)
    seen_fitted: tuple[Tensor, ...] = field(repr=False)
    seen_checked: tuple[Tensor, ...] = field(repr=False)
    masks: tuple[Tensor, ...] = field(repr=False)
    seed: int


def public_material(
    data: DataPlan, reference: ScannerModel, seed: int, *, fitted: int = FITTED, checked: int = CHECKED
) -> Public:
    """Draw the phantoms, and scan them on the reference scanner."""
    people = public_people(data, fitted + checked, seed)
    seen = scans(people, reference, data)
    images = tuple(one.images for one in seen)
    masks = tuple(one.lesion for one in seen[fitted:] if one.lesion is not None)
    return Public(data, tuple(people[:fitted]), tuple(people[fitted:]), images[:fitted], images[fitted:], masks, seed)


def public_centre(public: Public) -> dict[str, Tensor]:
    """Return the phantoms' mean summary on the reference scanner, the centre of every hospital's terms."""
    part = roles(public.data.contrasts)
    every = torch.ones(len(public.data.contrasts))
    total = pooled([summary_term(images, every, part) for images in public.seen_fitted])
    return {name: value / len(public.seen_fitted) for name, value in total.items()}


def alignment_of(
    released: Mapping[str, Tensor],
    count: int,
    protocols: Mapping[str, Protocol],
    field_tesla: float,
    public: Public,
    noise_sd: float = 0.0,
) -> dict[str, Tensor]:
    """Return the arrays that align a scanner's images and tell how certain they are.

    Args:
        released: a sum of `scanner_sum.centred_term` over the scanner's patients, with `public_centre`; noised or
            exact, ignored without patients.
        count: patients in the sum; 0 for a scanner of which only the settings are known.
        protocols, field_tesla: see `twin.twin_of`.
        public: phantoms.
        noise_sd: standard deviation of the noise on each entry of `released`.
    """
    total, noise_sd = restored(released if count else {}, count, public_centre(public), noise_sd)
    twin = twin_of(total, count, protocols, field_tesla, public.fitted[:MATCHED], public.data, noise_sd)
    part = roles(public.data.contrasts)
    seen = scans(public.fitted, twin.scanner, public.data)
    generator = torch.Generator().manual_seed(public.seed)
    weights = rendering.fitted([one.images for one in seen], public.seen_fitted, part, generator)
    histogram = torch.stack([landmarks.histogram_term(p.images, p.present) for p in seen]).sum(0)
    on_twin = landmarks.landmarks(histogram)
    source = landmarks.landmarks(total["histogram"], noise_sd, histogram) if count else on_twin
    arrays = {f"render.{name}": value for name, value in weights.items()}
    arrays |= {"landmarks.source": source, "landmarks.target": on_twin, "landmarks.fixed": 1.0 - part[0]}
    return arrays | {f"certainty.{name}": value for name, value in _errors(twin, arrays, public).items()}


def align(images: Tensor, present: Tensor, arrays: Mapping[str, Tensor]) -> Tensor:
    """Return one patient's images as the reference scanner would have made them; what is exactly 0 stays 0.

    Args:
        images: (slice, contrast, row, column), about [0, 1].
        present: (contrast,), 1 where the contrast was acquired.
        arrays: what `alignment_of` gave for this patient's scanner.
    """
    carried = landmarks.aligned(images, present, named(arrays, "landmarks"))
    return rendering.rendered(carried, present, named(arrays, "render"))


def named(arrays: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the arrays of one part, "landmarks", "render" or "certainty", by their own names."""
    return {name.removeprefix(f"{part}."): value for name, value in arrays.items() if name.startswith(f"{part}.")}


def _errors(twin: Twin, arrays: Mapping[str, Tensor], public: Public) -> dict[str, Tensor]:
    """Return the model of errors: each phantom is scanned on a scanner of its own, drawn from the twin's posterior."""
    random = np.random.default_rng([public.seed, 1])
    weights = named(arrays, "render")
    told, errors, values = [], [], []
    for person, truth, mask in zip(public.checked, public.seen_checked, public.masks, strict=True):
        scanner = near(twin, WIDER * random.standard_normal(len(SPREAD)))
        (seen,) = scans([person], scanner, public.data)
        moved = rendering.rendered(seen.images, seen.present, weights)
        told.append(certainty.evidence(seen.images, moved, mask))
        values.append(certainty.region_means(truth, mask))
        errors.append(values[-1] - certainty.region_means(moved, mask))
    return certainty.calibrated(torch.stack(told), torch.stack(errors), torch.stack(values))

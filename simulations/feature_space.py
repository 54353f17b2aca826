"""`python -m simulations.feature_space`: learn the fixed feature space from phantoms, and write its weights.

Minutes on one core; the same code, seed and version of torch give the same weights. The digest that it prints belongs
into `fedspine/evaluation/feature_space.py`, under a new name if the weights are others.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.patient import Patient
from fedspine.cohort.tensors import to_tensors
from fedspine.config import DataPlan
from fedspine.evaluation.feature_space import BRIGHTEST, FEATURES, SIDE, WEIGHTS, FeatureNetwork
from fedspine.phantom.genome import CLASSES, OMICS_COLUMNS
from fedspine.phantom.levels import LEVELS, REGIONS, region_of
from fedspine.phantom.lung.person import public_lungs
from fedspine.phantom.patient import Phantom, draw, to_patient
from fedspine.phantom.scanner import SCANNERS
from fedspine.phantom.tumour import INTRADURAL, INTRAMEDULLARY, VERTEBRAL
from fedspine.shipped_weights import write_weights

SPINES, CHESTS, SLICES = 900, 120, 8
"""Phantoms, and slices of each."""

STEPS, BATCH, RATE, SEED = 3200, 48, 2e-3, 7100
"""Training steps, slices a step (each as two scanners see it), peak learning rate, seed."""

MR = ("T1", "T1c", "T2", "STIR", "FLAIR", "ADC", "DWI")
COMPARTMENTS = ("none", INTRAMEDULLARY, INTRADURAL, VERTEBRAL)
THUMBNAIL = 16
UNKNOWN = -100
"""What cross-entropy passes over: a chest has no vertebral level here."""

_WIDTHS = {"contrast": len(MR) + 1, "region": len(REGIONS), "compartment": len(COMPARTMENTS), "measures": 8}
_SHADES = 255.0


@dataclass(frozen=True)
class Scans:
    """Slices as two scanners see them.

    Args:
        images: uint8 (slice, scanner, row, column), `BRIGHTEST` as 255.
        masks: bool (slice, row, column).
        classes: (slice, 3): contrast, region and compartment, or `UNKNOWN`.
        places: (slice, 2): vertebral level and distance of the slice from the middle, each in [0, 1].
    """

    images: Tensor
    masks: Tensor
    classes: Tensor
    places: Tensor


def main() -> None:
    """Draw, learn, write, and print the digest."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    spines = [_spine(index) for index in range(SPINES)]
    chests = [_chest(patient) for patient in public_lungs(CHESTS, SEED, (SLICES, SIDE, SIDE))]
    scans = Scans(*(torch.cat(parts) for parts in zip(*(spines + chests), strict=True)))
    print(f"{len(scans.images)} slices on two scanners each", flush=True)
    network = learned(scans, STEPS)
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    digest = write_weights(file, network.state_dict())
    print(f"{file.stat().st_size} bytes, SHA-256 of the weights {digest}")


Rows = tuple[Tensor, Tensor, Tensor, Tensor]


def _spine(index: int) -> Rows:
    """Return phantom `index` on two scanners, a row for each of its slices and contrasts."""
    generator = np.random.default_rng([SEED, index])
    phantom = draw(generator, label=CLASSES[index % len(CLASSES)], shape=(SLICES, SIDE, SIDE))
    one, other = generator.permutation(len(SCANNERS))[:2]
    plan = DataPlan(contrasts=MR, size=SIDE, slices=SLICES)
    seen = [
        to_tensors(to_patient(phantom, "phantom", SCANNERS[i], contrasts=MR), OMICS_COLUMNS, plan) for i in (one, other)
    ]
    images = torch.stack([patient.images for patient in seen], dim=2).flatten(0, 1)  # (slice x contrast, scanner, ...)
    assert seen[0].mask is not None
    masks = (seen[0].mask[:, 0] > 0).repeat_interleave(len(MR), dim=0)
    region = REGIONS.index(region_of(LEVELS.index(phantom.level)))
    classes = torch.tensor([[c, region, _compartment(phantom)] for _ in range(SLICES) for c in range(len(MR))])
    classes[~masks.flatten(1).any(1), 2] = 0
    level = LEVELS.index(phantom.level) / (len(LEVELS) - 1)
    aside = [abs(s - (SLICES - 1) / 2) / (SLICES / 2) for s in range(SLICES) for _ in MR]
    places = torch.tensor([[level, distance] for distance in aside])
    return _shades(images), masks, classes, places


def _compartment(phantom: Phantom) -> int:
    return COMPARTMENTS.index(phantom.tumour.compartment) if phantom.tumour is not None else 0


def _chest(patient: Patient) -> Rows:
    """Return a chest, whose second scanner is the first: a scanner of CT has a unit."""
    plan = DataPlan(contrasts=("CT",), steps=("isolate-lung", "window-lung", "scale"), size=SIDE, slices=SLICES)
    seen = to_tensors(patient, (), plan)
    assert seen.mask is not None
    classes = torch.tensor([[len(MR), UNKNOWN, UNKNOWN]] * SLICES)
    return _shades(seen.images.repeat(1, 2, 1, 1)), seen.mask[:, 0] > 0, classes, torch.zeros(SLICES, 2)


def _shades(images: Tensor) -> Tensor:
    return (images.clamp(0, BRIGHTEST) / BRIGHTEST * _SHADES).round().to(torch.uint8)


def learned(scans: Scans, steps: int) -> FeatureNetwork:
    """Return the network after `steps`, its features standardised over the scans."""
    network = FeatureNetwork()
    heads = nn.ModuleDict({name: nn.Linear(FEATURES, width) for name, width in _WIDTHS.items()})
    heads["thumbnail"] = nn.Linear(FEATURES, THUMBNAIL**2)
    weights = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, cycle_momentum=False)
    draws = torch.Generator().manual_seed(SEED)
    for step in range(steps):
        parts = _losses(network, heads, scans, draws)
        loss = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(step, {name: round(value.item(), 3) for name, value in parts.items()}, flush=True)
    with torch.no_grad():
        chosen = torch.randperm(len(scans.images), generator=draws)[:8192]
        shown = scans.images[chosen, 0].float().unsqueeze(1) / _SHADES * BRIGHTEST
        raw = torch.cat([network(part) for part in torch.split(shown, 512)])
        network.mean.copy_(raw.mean(0))
        network.deviation.copy_(raw.std(0).clamp(min=1e-3))
    return network.eval()


def _losses(network: FeatureNetwork, heads: nn.ModuleDict, scans: Scans, draws: torch.Generator) -> dict[str, Tensor]:
    """Return the losses of one batch, each weighted."""
    chosen = torch.randint(len(scans.images), (BATCH,), generator=draws)
    images, masks = _moved(scans.images[chosen].float() / _SHADES * BRIGHTEST, scans.masks[chosen].float(), draws)
    images, blur, noise = _degraded(images, draws)
    features = network(images.flatten(0, 1).unsqueeze(1))  # both scanners of a slice stand side by side
    pairs = features.unflatten(0, (BATCH, 2))
    twice = [scans.classes[chosen].repeat_interleave(2, dim=0)[:, column] for column in range(3)]
    places = scans.places[chosen].repeat_interleave(2, dim=0)
    measures = heads["measures"](features)
    size, row, column, blur, noise = (x.repeat_interleave(2) for x in (*_lesion(masks), blur, noise))
    lesion, spine = (size > 0).float(), (twice[1] != UNKNOWN).float()
    small = F.adaptive_avg_pool2d(images, THUMBNAIL).flatten(0, 1).flatten(1)
    classes = {
        name: F.cross_entropy(heads[name](features), target, ignore_index=UNKNOWN)
        for name, target in zip(("contrast", "region", "compartment"), twice, strict=True)
    }
    squares = [
        4 * (measures[:, 0] - size) ** 2,
        4 * lesion * (measures[:, 1] - row) ** 2,
        4 * lesion * (measures[:, 2] - column) ** 2,
        4 * spine * (measures[:, 3] - places[:, 0]) ** 2,
        spine * (measures[:, 4] - places[:, 1]) ** 2,
        (measures[:, 5] - blur) ** 2,
        (measures[:, 6] - noise) ** 2,
    ]
    spread = features.var(0).mean() + 1e-6
    return {
        **classes,
        "tumour": F.binary_cross_entropy_with_logits(measures[:, 7], lesion),
        "measures": torch.stack(squares).mean(1).sum(),
        "thumbnail": 10 * F.mse_loss(heads["thumbnail"](features), small),
        "scanner": 0.5 * (pairs[:, 0] - pairs[:, 1]).square().mean() / spread,
    }


def _moved(images: Tensor, masks: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return both scanners' images and the mask turned by up to 10 degrees, scaled and shifted by up to a tenth."""
    angle, scale, *shift = (2 * torch.rand(4, len(images), generator=draws) - 1) * 0.1
    angle, scale = angle * 1.75, 1 + scale
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([cosine, -sine, 2 * shift[0], sine, cosine, 2 * shift[1]], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(theta, [len(images), 1, SIDE, SIDE], align_corners=False)
    moved = F.grid_sample(torch.cat([images, masks.unsqueeze(1)], dim=1), grid, align_corners=False)
    return moved[:, :2], (moved[:, 2] > 0.5).float()


def _degraded(images: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return half of the slices blurred and half noisy, on both scanners, and how much: (slice,) each.

    A space that shall tell a blurred image from a sharp one must have been asked for the difference.
    """
    shape = (len(images), 1, 1, 1)
    blur, noise = (
        torch.rand(shape, generator=draws) * (torch.rand(shape, generator=draws) < 0.5).float() for _ in range(2)
    )
    soft = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    grain = torch.randn(images.shape, generator=draws)
    degraded = (images.lerp(soft, blur) + 0.15 * noise * grain).clamp(0, BRIGHTEST)
    return degraded, blur.flatten(), noise.flatten()


def _lesion(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lesion's diameter and centre (row, column) as shares of the side: (slice,) each, 0 without one."""
    area = masks.sum((1, 2))
    along = (torch.arange(SIDE) + 0.5) / SIDE
    row, column = ((masks.sum(axis) * along).sum(1) / area.clamp(min=1) for axis in (2, 1))
    return (4 / torch.pi * area).sqrt() / SIDE, row, column


if __name__ == "__main__":
    main()

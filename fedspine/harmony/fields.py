"""Where in the image a scanner is bright: profiles from sums, and the places that a pixel's brightness follows.

A surface coil sees the back best and fades towards the ends of its field; a saturation band darkens what lies in front
of the spine. Both show in the mean intensity by row and by column, summed over patients whose anatomies differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fedspine.harmony.landmarks import HIGHEST

ROWS, COLUMNS = 6, 12
"""Bands of the image's height and of its width."""

WAVES = 8
"""Numbers of waves along an image's height that are told apart."""

PLACES = 5
"""Places of a pixel that `places` gives."""

_UNEVEN = 0.3
_CANAL = 0.2
_SKIN = 0.1
"""Mean intensity of a column's pixel over contrasts above which it counts as tissue: air is noise around 0."""


def profile_term(images: Tensor, present: Tensor) -> Tensor:
    """Return one patient's mean intensity per contrast in bands of rows and of columns: (contrast, `ROWS`+`COLUMNS`).

    The privacy argument: it is computed from this patient alone. Intensities are clipped to [0, `HIGHEST`] and divided
    by that, so every entry lies in [0, 1]; divided by √entries, the norm is 1 at most, whatever the images.

    Args:
        images: (slice, contrast, row, column), about [0, 1].
        present: (contrast,), 1 where the contrast was acquired.
    """
    plane = torch.nan_to_num(images).clamp(0.0, HIGHEST).mean(0) / HIGHEST  # (contrast, row, column)
    rows = F.adaptive_avg_pool1d(plane.mean(2), ROWS)
    columns = F.adaptive_avg_pool1d(plane.mean(1), COLUMNS)
    bands = torch.cat([rows, columns], dim=1) * (present > 0)[:, None]
    return bands / math.sqrt(max(bands.numel(), 1))


def ripple_term(images: Tensor, magnitude: Tensor) -> Tensor:
    """Return the power of one patient's row-to-row unevenness, per number of waves in the image: (`WAVES`,).

    Coils' elements make such waves. Patients lie on them each in their own way, so means over patients show none of it,
    while powers add up.

    The privacy argument: it is computed from this patient alone. The unevenness is clipped to ±`_UNEVEN` and divided by
    that, so its mean square, and with it the sum of all powers (Parseval), is 1 at most, and so is the norm.

    Args:
        images: (slice, contrast, row, column), about [0, 1].
        magnitude: (contrast,), 1 where brightness shows the coil, see `roles`.
    """
    shown = torch.nan_to_num(images)[:, magnitude > 0]
    if not shown.shape[1]:
        return torch.zeros(WAVES)
    wave = _wave(shown).clamp(-_UNEVEN, _UNEVEN) / _UNEVEN
    power = torch.fft.rfft(wave).abs().square()[1 : WAVES + 1] / len(wave) ** 2
    return F.pad(power, (0, WAVES - len(power)))


def roles(contrasts: Sequence[str]) -> Tensor:
    """Return what each contrast tells of places, (2, contrast).

    First 1 where brightness shows the coil: not the ADC, a quotient in physical units. Then 1 where water is bright and
    -1 where it is dark while fat is alike, so that the sum shows the canal.
    """
    names = [name.split(" ")[0] for name in contrasts]
    water = {"T2": 1.0, "T1": -1.0}
    return torch.tensor([[float(n != "ADC") for n in names], [water.get(n, 0.0) for n in names]])


def places(images: Tensor, present: Tensor, part: Tensor) -> Tensor:
    """Return what a coil's sensitivity follows at each pixel: (slice, `PLACES`, row, column).

    Row and column from -1 to 1; the distance to the patient's own back, in halves of the image's width; that to the
    canal, in front of which a band may be saturated; and how far the row is brighter than its neighbourhood, the mark
    of the coil's elements.

    Args:
        images: (slice, contrast, row, column).
        present: (contrast,), 1 where the contrast was acquired.
        part: (2, contrast), see `roles`.
    """
    slices, _, height, width = images.shape
    row = torch.linspace(-1.0, 1.0, height)[:, None].expand(height, width)
    column = torch.linspace(-1.0, 1.0, width)[None, :].expand(height, width)
    shown = images[:, (present > 0) & (part[0] > 0)]
    if shown.shape[1]:
        tissue = (shown.mean(1) > _SKIN).float().mean((0, 1))  # (column,)
        edge = torch.nonzero(tissue > 0.5)
        back = float(edge.max()) * 2.0 / max(width - 1, 1) - 1.0 if len(edge) else 1.0
        wave = _wave(shown)
    else:
        back, wave = 1.0, torch.zeros(height)
    canal = _canal(images, part[1] * (present > 0))
    stack = torch.stack([row, column, back - column, column - canal, wave[:, None].expand(height, width)])
    return stack.expand(slices, -1, -1, -1)


def _canal(images: Tensor, water: Tensor) -> float:
    """Return the column of the canal, the median over rows, from -1 to 1; where it usually lies if no water shows."""
    if not bool((water > 0).any()):
        return _CANAL
    wet = (images * water[:, None, None]).sum(1).clamp(min=0.0).mean(0)  # (row, column)
    wet = F.avg_pool2d(wet[None], (9, 3), 1, (4, 1))[0]
    column = torch.linspace(-1.0, 1.0, wet.shape[1])
    # the fourth power: the brightest counts, wherever fluid is too
    weight = (wet * torch.exp(-0.5 * ((column - _CANAL) / 0.25) ** 2)) ** 4
    return float(((weight * column).sum(1) / weight.sum(1).clamp(min=1e-12)).median())


def _wave(shown: Tensor) -> Tensor:
    """Return how far each row is brighter than those around it, relative, mean over contrasts: (row,)."""
    width = shown.shape[3]
    behind = shown[..., int(0.375 * width) :]  # in front, bowel and lungs make profiles uneven by themselves
    body = (behind > 0.05).float()
    profile = (behind * body).sum((0, 3)) / body.sum((0, 3)).clamp(min=1.0)  # (contrast, row)
    smooth = F.avg_pool1d(profile[None], 5, 1, 2, count_include_pad=False)[0]
    return (smooth / profile.mean(1, keepdim=True).clamp(min=1e-3) - 1.0).mean(0).clamp(-1.0, 1.0)

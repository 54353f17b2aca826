"""Networks of the vertebral levels: a U-Net that finds and names bodies, and a transformer that judges each in turn.

The U-Net sees a patient slice by slice and gives one map for all slices: at every pixel the slices are weighed by an
attention of their own, for a body is cut by some of them only. One heat map marks the middle of any body (after the
centre points of Zhou 2019), and beside it every pixel says where along the spine it lies, counted in levels, and how
sure it is. Counting is learned from far fewer patients than 25 names without an order. The chain of levels is put in
order by `chain`, as TotalSpineSeg (Warszawer 2024) does: neighbours look alike, only the row of them tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.nn import functional as F

FAINT = -4.0
"""What the heat map says before training: bodies' middles are rare."""

STRIDE = 8.0
"""Levels by which one unit of the network's output moves a name: the spine is three or so of them long."""

SHARPEST = 2.0
"""Bound on the logarithm of a name's sharpness, either way; a name that may be quite unsure is never learned."""


class Finder(nn.Module):
    """Finds the middles of the vertebral bodies and names them.

    Args:
        channels: input channels; input is (slice, channel, row, column), sides divisible by 16.
        levels: how many names there are.
        features: the U-Net's six widths, each divisible by 4.
        middle: the name to begin with, as an index that may lie between two levels.
    """

    def __init__(self, channels: int, levels: int, features: Sequence[int], middle: float) -> None:
        super().__init__()
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=features[-1],
            features=tuple(features),
            norm=("group", {"num_groups": 4}),
        )
        self.levels, self.middle = levels, middle
        self.head = nn.Conv2d(features[-1], 4, 1)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias[0] = FAINT

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the patient's maps.

        Returns:
            heat (row, column), logits of being the middle of a body; names (level, row, column), logits;
            weights (slice, row, column), how much each slice counted, 1 in all.
        """
        maps = self.head(F.leaky_relu(self.unet(slices), 0.1))
        weights = maps[:, 1].softmax(0)
        heat = (weights * maps[:, 0]).sum(0)
        along, sharp = (weights[:, None] * maps[:, 2:]).sum(0)
        off = self.middle + STRIDE * along - torch.arange(self.levels)[:, None, None]
        return heat, -off.square() * (SHARPEST * torch.tanh(sharp)).exp() / 2, weights


class Reader(nn.Module):
    """Reads what lies around each level in each contrast, and judges every level in the context of the others.

    A small convolutional network, the same for all contrasts, turns an image into features; a token is what it found
    within a window around one level, in one contrast: the mean, and a pooling that attends to what stands out. Added
    are learned embeddings of the level and of the contrast. A transformer (norm first, no dropout) lets tokens and one
    more, for the patient as a whole, look at each other.

    Args:
        contrasts: how many.
        levels: how many names there are.
        classes: of the patient as a whole.
        width: of the convolutional network's first layer, divisible by 4.
        tokens: length of a token, divisible by 4.
        layers: of the transformer.
        context: whether a level looks at the other levels.
    """

    WINDOW = 0.07
    """Standard deviation of the window around a level, as a share of the image's side: the body and the canal."""

    def __init__(
        self, contrasts: int, levels: int, classes: int, width: int, tokens: int, layers: int, context: bool = True
    ) -> None:
        super().__init__()
        self.context = context
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, width, 5, 2, 2), nn.GroupNorm(4, width), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(4, 2 * width), nn.ReLU()),
            *(nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.GroupNorm(4, 2 * width), nn.ReLU()),
        )
        self.notice = nn.Conv2d(2 * width, 1, 1)
        self.token = nn.Linear(4 * width, tokens)
        self.level = nn.Parameter(0.1 * torch.randn(levels, tokens))
        self.contrast = nn.Parameter(0.1 * torch.randn(contrasts, tokens))
        self.whole = nn.Parameter(0.1 * torch.randn(1, tokens))
        block = nn.TransformerEncoderLayer(tokens, 4, 2 * tokens, dropout=0.0, norm_first=True, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, nn.LayerNorm(tokens), enable_nested_tensor=False)
        self.level_head = nn.Linear(tokens, 1)
        self.patient_head = nn.Linear(tokens, classes)

    def forward(self, images: Tensor, present: Tensor, places: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        """Judge a patient.

        Args:
            images: (slice, contrast, row, column).
            present: (contrast,), 1 where acquired; at least one.
            places: (seen, 2), row and column of the levels that are seen, in pixels.
            names: (seen,), which level each is.

        Returns:
            (seen,) logits of a lesion at each level, and (class,) logits of the patient.
        """
        there = present.nonzero().flatten()
        pooled = self._pooled(images[:, there], places)  # (seen, contrast there, feature)
        tokens = self.token(pooled) + self.level[names][:, None] + self.contrast[there][None]
        seen, contrasts, length = tokens.shape
        row = torch.cat([self.whole, tokens.reshape(seen * contrasts, length)])
        read = self.encoder(row[None], mask=None if self.context else _apart(seen, contrasts))[0]
        levels = self.level_head(read[1:].reshape(seen, contrasts, length).mean(1)).flatten()
        return levels, self.patient_head(read[0])

    def _pooled(self, images: Tensor, places: Tensor) -> Tensor:
        """Return (seen, contrast, feature): mean and attended features in a window around each place."""
        slices, contrasts, rows, columns = images.shape
        found = self.layers(images.reshape(slices * contrasts, 1, rows, columns))
        _, features, height, width = found.shape
        window = _window(places, rows, columns, height, width, self.WINDOW * rows)  # (seen, place), logarithms
        across = found.reshape(slices, contrasts, features, -1).permute(1, 2, 0, 3).flatten(2)  # (c, feature, s·place)
        notice = self.notice(found).reshape(slices, contrasts, -1).transpose(0, 1).flatten(1)  # (contrast, s·place)
        near = window.repeat(1, slices)[:, None]  # (seen, 1, s·place)
        means = torch.einsum("lkp,cfp->lcf", near.softmax(-1), across)
        attended = torch.einsum("lcp,cfp->lcf", (near + notice).softmax(-1), across)
        return torch.cat([means, attended], dim=-1)


def _window(places: Tensor, rows: int, columns: int, height: int, width: int, deviation: float) -> Tensor:
    """Return the logarithm of a Gaussian around each place (seen, 2) on a grid of (height, width): (seen, place)."""
    down = (torch.arange(height) + 0.5) * (rows / height) - 0.5
    across = (torch.arange(width) + 0.5) * (columns / width) - 0.5
    squared = (down - places[:, :1]).square()[:, :, None] + (across - places[:, 1:]).square()[:, None, :]
    return (-squared / (2 * deviation**2)).flatten(1)


def _apart(seen: int, contrasts: int) -> Tensor:
    """Return the attention's mask (token, token), minus infinity where a level would look at another level."""
    level = torch.arange(seen).repeat_interleave(contrasts)
    mask = torch.zeros(1 + seen * contrasts, 1 + seen * contrasts)
    mask[1:, 1:] = torch.where(level[:, None] == level[None, :], 0.0, -math.inf)
    mask[1:, 0] = -math.inf  # else it would hear of the others through the token of the whole
    return mask


class Levels(nn.Module):
    """Both networks, trained together."""

    def __init__(self, finder: Finder, reader: Reader) -> None:
        super().__init__()
        self.finder = finder
        self.reader = reader

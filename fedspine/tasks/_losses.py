"""What critic and generator minimise, and what keeps the critic smooth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FLAT = 1e-12
"""Added under the root of a gradient's norm: at zero the root has no slope."""

Scores = Callable[[Tensor], Tensor]
"""A critic with given weights: from its input (image, channel, ...) to scores (image,)."""

OfScores = Callable[[Tensor], Tensor]
"""From scores (image,) to a loss of each image (image,)."""


@dataclass(frozen=True)
class Losses:
    """An adversarial game.

    Args:
        real: the critic's loss on real images, at least 0 or `shift` below it.
        made: the critic's loss on made images.
        generator: the generator's.
        bound: losses of a patient above this count as this in the released curve.
        shift: added to a patient's loss for the curve, so that a loss that can be negative is not cut off at 0.
    """

    real: OfScores
    made: OfScores
    generator: OfScores
    bound: float
    shift: float = 0.0


LOGISTIC = Losses(lambda score: F.softplus(-score), F.softplus, lambda score: F.softplus(-score), bound=2.0)
"""The non-saturating game of Goodfellow 2014."""

WASSERSTEIN = Losses(lambda s: -s, lambda s: s, lambda s: -s, bound=20.0, shift=10.0)
"""The game of Arjovsky 2017, whose critic must have slopes of norm 1 (`gradient_penalty`)."""


def r1(score: Scores, images: Tensor) -> Tensor:
    """Return half the squared slope of the critic at `images`, the mean over images (R1, Mescheder 2018)."""
    return 0.5 * _slopes(score, images).square().mean()


def gradient_penalty(score: Scores, real: Tensor, made: Tensor, draws: torch.Generator) -> Tensor:
    """Return how far slopes are from norm 1 on lines between real and made images (Gulrajani 2017).

    Args:
        score: from images to scores (image,).
        real: (image, channel, ...).
        made: the same shape.
        draws: of the place on each line.
    """
    share = torch.rand(len(real), *(1,) * (real.ndim - 1), generator=draws)
    return (_slopes(score, torch.lerp(made, real, share)) - 1).square().mean()


def _slopes(score: Scores, images: Tensor) -> Tensor:
    """Return the norm of the critic's slope at each image: (image,)."""
    at = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(at).sum(), at, create_graph=True)
    return (slope.flatten(1).square().sum(1) + FLAT).sqrt()


def smooth(score: Scores, inputs: Tensor, made: Tensor, draws: torch.Generator) -> Tensor:
    """Return R1, which looks at real images alone."""
    return r1(score, inputs)

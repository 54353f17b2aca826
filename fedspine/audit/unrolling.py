"""Read a critic's input back from its gradient: exactly as far down as equations suffice, then by search.

A gradient of one image gives more away than weights suggest (R-GAP, Zhu and Blaschko 2021). A linear layer's gradient
is what came back times what went in, so its input follows by division. A convolution's gradient is linear in its input
once what came back is known, and that follows layer by layer: group normalisation hides only its scales, and the
gradient of the convolution's offsets tells them. This goes on while a layer has at least as many weights to an input
channel as that has pixels. From there a decoder that learned from public phantoms what such features look like gives a
first image, and a search makes it fit: the features found, the gradient of the layer below, and little roughness.

Everything is least squares, so a noisy gradient is met as well as it can be. All in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from fedspine.networks.dcgan import Critic

SLOPE = 0.2
"""Of the critic's activations below zero."""

SEARCH_STEPS, SEARCH_RATE, SMOOTH = 300, 0.02, 1e-2
"""Of the search: steps, step size, and how much a difference of neighbouring pixels costs (total variation)."""

WINDOW, RIDGE = 5, 1e-3
"""Features a side that a patch is told from; the ridge, in mean squares of what it is told from."""

SMALL = 1e-12
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Found:
    """Features that a gradient gave away.

    Args:
        depth: how many of the critic's layers they come after.
        features: (channel, row, column).
        back: what came back at the convolution before them, (channel, row, column); `None` where that is not known.
        weight: gradient of that convolution's weights.
    """

    depth: int
    features: Tensor = field(repr=False)
    back: Tensor | None = field(default=None, repr=False)
    weight: Tensor | None = field(default=None, repr=False)


def unrolled(critic: Critic, gradient: Mapping[str, Tensor]) -> Found:
    """Return the features nearest to the image that follow from the `gradient` of one image's loss, by name."""
    back = gradient["whole.bias"]
    flat = back @ gradient["whole.weight"] / back.square().sum().clamp(min=SMALL)
    side = round((flat.numel() / _last_width(critic)) ** 0.5)
    features = flat.reshape(-1, side, side)
    returned = (back @ critic.whole.weight).reshape(features.shape)
    depth = len(critic.layers)
    while depth >= 3 and isinstance(norm := critic.layers[depth - 2], nn.GroupNorm):
        place = depth - 3
        weight = gradient[f"layers.{place}.weight"]
        at_output = _through_norm(norm, features, returned, gradient[f"layers.{place}.bias"])
        if weight.shape[0] * weight[0, 0].numel() < 4 * features[0].numel():
            return Found(depth, features.detach(), at_output.detach(), weight)
        convolution = cast(nn.Conv2d, critic.layers[place])
        features = _input_of(weight, at_output)
        returned = F.conv_transpose2d(at_output[None], convolution.weight, stride=2, padding=1)[0]
        depth = place
    return Found(depth, features.detach())


def _last_width(critic: Critic) -> int:
    return next(m.out_channels for m in reversed(critic.layers) if isinstance(m, nn.Conv2d))


def _through_norm(norm: nn.GroupNorm, features: Tensor, returned: Tensor, offsets: Tensor) -> Tensor:
    """Return what comes back at the convolution, given what comes back after norm and activation.

    Args:
        norm: between them.
        features: after the activation, (channel, row, column).
        returned: the gradient there.
        offsets: gradient of the convolution's offsets, (channel,), whose sums tell the norm's scales.
    """
    below = features < 0
    normed = torch.where(below, features / SLOPE, features)
    back = torch.where(below, returned * SLOPE, returned) * norm.weight[:, None, None]
    scaled = (normed - norm.bias[:, None, None]) / norm.weight[:, None, None]
    shape = (norm.num_groups, -1)
    g, y = back.reshape(shape), scaled.reshape(shape)
    rest = (g - g.mean(1, keepdim=True) - y * (g * y).mean(1, keepdim=True)).reshape(features.shape)
    sums, wanted = rest.sum((1, 2)).reshape(shape), offsets.reshape(shape)
    scale = (sums * wanted).sum(1) / sums.square().sum(1).clamp(min=SMALL)
    return rest * scale.repeat_interleave(len(features) // norm.num_groups)[:, None, None]


def _input_of(weight: Tensor, back: Tensor) -> Tensor:
    """Return the input (channel, row, column) of a convolution from its weights' gradient and what came back at it."""
    side, kernel = 2 * back.shape[-1], weight.shape[-1]
    pixels = torch.eye(side * side, dtype=back.dtype).reshape(-1, 1, side, side)
    seen = F.unfold(pixels, kernel, stride=2, padding=1)  # (pixel, tap, place)
    matrix = torch.einsum("ptn,on->otp", seen, back.flatten(1)).flatten(0, 1)  # (output and tap, pixel)
    wanted = weight.permute(0, 2, 3, 1).flatten(0, 2)  # (output and tap, input channel)
    solution = torch.linalg.lstsq(matrix, wanted, driver="gelsd").solution
    return cast(Tensor, solution.T.reshape(-1, side, side))


@dataclass(frozen=True, eq=False)
class Decoder:
    """Images from features, by a ridge regression on public phantoms: each patch from the features around it.

    Args:
        weights: (input, contrast and pixel of a patch).
        window: features a side that a patch is told from.
    """

    weights: Tensor = field(repr=False)
    window: int

    def images(self, features: Tensor, beside: Tensor) -> Tensor:
        """Return (contrast, row, column) from features (channel, row, column) and the critic's other inputs."""
        patch = beside.shape[-1] // features.shape[-1]
        flat = _around(features[None], beside[None], self.window).transpose(1, 2) @ self.weights
        return F.fold(flat.transpose(1, 2), beside.shape[-2:], patch, stride=patch)[0].clamp(0, 1)


def decoder(critic: Critic, depth: int, inputs: Tensor, contrasts: int) -> Decoder:
    """Return the decoder of features after `depth` layers, learned from public inputs (image, channel, row, column)."""
    gram, cross = torch.zeros(()).double(), torch.zeros(()).double()
    for some in torch.split(inputs, _AT_ONCE):
        with torch.no_grad():
            features = critic.layers[:depth](some)
        patch = some.shape[-1] // features.shape[-1]
        rows = _around(features, some[:, contrasts:], WINDOW).transpose(1, 2).flatten(0, 1)
        wanted = F.unfold(some[:, :contrasts], patch, stride=patch).transpose(1, 2).flatten(0, 1)
        gram, cross = gram + rows.T @ rows, cross + rows.T @ wanted
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return Decoder(torch.linalg.solve(gram + ridge, cross), WINDOW)


def _around(features: Tensor, beside: Tensor, window: int) -> Tensor:
    """Return what a patch is told from: features around it, its mask, which contrasts there are, and 1."""
    near = F.unfold(features, window, padding=window // 2)
    patch = beside.shape[-1] // features.shape[-1]
    mask = F.unfold(beside[:, :1], patch, stride=patch)
    flags = beside[:, 1:, :1, :1].flatten(2).expand(-1, -1, near.shape[-1])
    return torch.cat([near, mask, flags, torch.ones_like(near[:, :1])], dim=1)


def searched(critic: Critic, found: Found, guess: Tensor, beside: Tensor) -> Tensor:
    """Return the images (contrast, row, column) that fit best what the gradient gave away, beginning with a guess.

    Args:
        critic: the network.
        found: features, and what came back at the layer below with its gradient.
        guess: (contrast, row, column), from the decoder.
        beside: (channel, row, column), the critic's other inputs: mask and presence, known to the attacker.
    """
    present = beside[1:, :1, :1]
    images = guess.clone().requires_grad_()
    optimiser = torch.optim.Adam([images], lr=SEARCH_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, SEARCH_STEPS)
    for _ in range(SEARCH_STEPS):
        optimiser.zero_grad()
        rough = images.diff(dim=1).abs().mean() + images.diff(dim=2).abs().mean()
        misfit = _misfit(critic, found, torch.cat([images * present, beside])[None])
        (misfit + SMOOTH * rough).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach() * present


def _misfit(critic: Critic, found: Found, inputs: Tensor) -> Tensor:
    """Return how far the features of `inputs`, and the gradient of the layer below them, are from those found."""
    if found.back is None or found.weight is None:
        return _apart(critic.layers[: found.depth](inputs)[0], found.features)
    before = critic.layers[: found.depth - 3](inputs)
    features = critic.layers[found.depth - 3 : found.depth](before)[0]
    weight = conv2d_weight(  # type: ignore[no-untyped-call]
        before, found.weight.shape, found.back[None], stride=2, padding=1
    )
    return _apart(features, found.features) + _apart(weight, found.weight)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().sum() / other.square().sum().clamp(min=SMALL)

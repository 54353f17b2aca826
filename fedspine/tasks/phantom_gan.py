"""`phantom_gan`: phantoms, rendered as patients are: a generator refines them, a critic sees patients.

After SimGAN (Shrivastava 2017). A site of few patients cannot teach a generator what a spine is under differential
privacy, but phantoms know; what is left to learn is how this consortium's images look otherwise. Masks are the
phantoms' own and so exact. The critic is pre-trained to tell phantoms from phantoms rendered wrongly, and patients then
train the little that they can: its last layer, unless the stage says otherwise.

Some phantoms travel with the shared values for the sites to train on; made patients come of fresh ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import phantoms
from fedspine.config import Plan, Stage
from fedspine.networks.dcgan import Critic, Gan
from fedspine.networks.refiner import Refiner, rendered_otherwise
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._diversity import real_spread
from fedspine.tasks._gan_settings import Options, check_gan, frame_of, need_phantoms, options_of
from fedspine.tasks._losses import LOGISTIC, smooth
from fedspine.tasks._sample import Frame, Sample, random_presence, real
from fedspine.tasks._task import Shared, need

__all__ = ["DEFAULTS", "FromPhantoms", "Options", "check", "public", "task"]

DEFAULTS = {"latent": 8, "width": 8, "critic_width": 8, "batch": 8}

RATES = {"generator.": 0.04}
"""The generator's learning rate over the stage's. It begins where it should nearly stay, and Adam takes steps of one
size however faint the critic's advice is: at the critic's own rate it was led astray (docs/decisions/0014)."""

TRAVELLING, PURPOSE = 48, 6
"""Phantoms that travel, one byte a pixel, one slice of each; and what tells them from other draws."""

FRESH = 2**40
"""Purposes of fresh phantoms lie from here to twice as far: whoever draws anew meets phantoms that nobody has met."""

EACH = 4
"""Slices of a fresh phantom that become made patients: drawing it takes longer than refining them."""

SHADES = 255
"""Grey values of those that travel."""


@dataclass(frozen=True, eq=False)
class FromPhantoms:
    """Makes images of phantoms; see `Maker`.

    Args:
        frame: what is made.
        options: settings.
        stock: the phantoms that travelled, images in uint8.
        drawn: draws so many slices of fresh phantoms, which takes time; without it those that travelled must do.
        wrongly: whether they are rendered wrongly rather than refined.
    """

    frame: Frame
    options: Options
    stock: Sample
    drawn: Callable[[int, torch.Generator], Sample] | None = None
    wrongly: bool = False

    def build(self) -> Gan:
        """Return a generator that changes nothing yet, and a fresh critic."""
        frame, options = self.frame, self.options
        refiner = Refiner(options.latent, frame.contrasts, frame.classes, options.width, options.dimensions)
        channels = 2 * frame.contrasts + 1
        critic = Critic(channels, frame.size, options.critic_width, options.dimensions, frame.classes)
        return Gan(refiner, critic)

    def for_phantoms(self) -> FromPhantoms:
        """Return the maker of phantoms rendered wrongly."""
        return replace(self, wrongly=True)

    def make(self, generator: nn.Module, count: int, draws: torch.Generator, *, missing: float) -> Sample:
        """Return `count` refined phantoms, some contrasts absent; of fresh ones, or of those that travelled.

        Of fresh ones no slice comes twice.
        """
        if self.drawn is None:
            some = _chosen(self.stock, torch.randint(len(self.stock), (count,), generator=draws))
        else:
            some = self.drawn(count, draws)
        present = random_presence(some.present, missing, draws)
        images, masks = some.images.float() / SHADES, some.masks.float()
        if self.wrongly:
            return Sample(rendered_otherwise(images, draws), masks, present, some.labels)
        noise = torch.randn(count, self.options.latent, generator=draws)
        return Sample(generator(noise, images, masks, some.labels, present), masks, present, some.labels)


def fresh_slices(plan: Plan, frame: Frame, count: int, draws: torch.Generator) -> Sample:
    """Return `count` slices, or volumes, of phantoms drawn by `draws`, in random order; see `slices_of`."""
    each, found = 1 if frame.slices else EACH, list[Sample]()
    while (missing := count - sum(map(len, found))) > 0:
        purpose = FRESH + int(torch.randint(FRESH, (), generator=draws))
        found.append(slices_of(plan, frame, math.ceil(missing / each), each, purpose, once=True))
    return _chosen(_joined(found), torch.randperm(sum(map(len, found)), generator=draws)[:count])


def slices_of(
    plan: Plan, frame: Frame, count: int, each: int = 1, purpose: int = PURPOSE, *, once: bool = False
) -> Sample:
    """Return `each` slices, evenly taken, or the volume, of every one of `count` phantoms; images and masks in uint8.

    Of a phantom with a lesion these are slices that show it, and they may be fewer. For `purpose` and `once` see
    `phantoms`.
    """
    every = phantoms(plan, count, purpose, once=once)
    samples = [sample for one in every if (sample := real(one, frame, healthy=True)) is not None]
    some = _joined([_chosen(sample, _evenly(len(sample), each)) for sample in samples])
    return replace(some, images=(SHADES * some.images).round().to(torch.uint8), masks=some.masks.to(torch.uint8))


def _evenly(total: int, wanted: int) -> Tensor:
    """Return at most `wanted` of `total` indices, evenly spread: the middle one if one is wanted."""
    count = min(total, wanted)
    return (torch.arange(count) * total + total // 2) // count


def _chosen(sample: Sample, which: Tensor) -> Sample:
    return Sample(sample.images[which], sample.masks[which], sample.present[which], sample.labels[which])


def _joined(samples: Sequence[Sample]) -> Sample:
    return Sample(*(torch.cat([getattr(one, part.name) for one in samples]) for part in fields(Sample)))


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the stage cannot work; see `check_gan` and `need_phantoms`."""
    check_gan(plan, stage, DEFAULTS)
    need_phantoms(plan, stage)


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the phantoms that travel."""
    stock = slices_of(plan, frame_of(plan, options_of(plan, stage, DEFAULTS)), TRAVELLING)
    values = {"images": stock.images, "masks": stock.masks, "present": stock.present, "labels": stock.labels}
    return {f"{stage.name}.{key}": value for key, value in values.items()}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    options = options_of(plan, stage, DEFAULTS)
    frame = frame_of(plan, options)
    stock = Sample(*(need(shared, f"{stage.name}.{key}") for key in ("images", "masks", "present", "labels")))
    maker = FromPhantoms(frame, options, stock)
    return Adversarial(
        maker=maker,
        losses=LOGISTIC,
        penalty=smooth,
        frame=frame,
        options=options,
        trained=stage.trained or "head",
        healthy=True,
        spread=lambda: real_spread(plan, frame, shared, healthy=True),
        others=RATES,
        stays=("critic.",),
        for_use=replace(maker, drawn=lambda count, draws: fresh_slices(plan, frame, count, draws)),
    )

"""`conditional_gan`: images for a given lesion mask, class and set of contrasts.

The generator is told by SPADE (Park 2019), the critic sees the mask beside the image and is asked about the class by
projection (Miyato 2018). Masks and classes to make images for come from phantoms: the server draws them once and they
travel with the shared values, so no site needs to draw any, and no hospital's table is asked. A patient's own mask and
class enter the critic's real term alone, which is clipped and noised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import COUNT, phantoms
from fedspine.config import Plan, Stage
from fedspine.networks.dcgan import Critic, Gan
from fedspine.networks.spade import MaskedGenerator
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._diversity import real_spread
from fedspine.tasks._gan_settings import Options, check_gan, frame_of, need_phantoms, options_of
from fedspine.tasks._losses import LOGISTIC, smooth
from fedspine.tasks._sample import Frame, Sample, random_presence, real
from fedspine.tasks._task import Shared, need

__all__ = ["FromMasks", "Options", "check", "public", "task"]

MASKS = 128
"""Masks that travel, one byte a pixel."""


@dataclass(frozen=True, eq=False)
class FromMasks:
    """Makes images for masks; see `Maker`.

    Args:
        frame: what is made.
        options: settings.
        masks: (mask, 1, [slice,] row, column) uint8 in {0, 1}, of phantoms.
        labels: (mask,) int64, their classes.
    """

    frame: Frame
    options: Options
    masks: Tensor
    labels: Tensor

    def build(self) -> Gan:
        """Return fresh networks."""
        frame, options = self.frame, self.options
        generator = MaskedGenerator(
            options.latent, frame.contrasts, frame.classes, frame.size, options.width, frame.slices
        )
        channels = 2 * frame.contrasts + 1
        critic = Critic(channels, frame.size, options.critic_width, options.dimensions, frame.classes)
        return Gan(generator, critic)

    def for_phantoms(self) -> FromMasks:
        """Return itself: phantoms are patients like others."""
        return self

    def make(self, generator: nn.Module, count: int, draws: torch.Generator, *, missing: float) -> Sample:
        """Return `count` made images for masks and classes of phantoms, some contrasts absent."""
        which = torch.randint(len(self.masks), (count,), generator=draws)
        present = random_presence(torch.ones(count, self.frame.contrasts), missing, draws)
        return self.made_for(generator, self.masks[which].float(), self.labels[which], present, draws)

    def made_for(
        self, generator: nn.Module, masks: Tensor, labels: Tensor, present: Tensor, draws: torch.Generator
    ) -> Sample:
        """Return one made image for each of the masks; see `Sample` for shapes."""
        noise = torch.randn(len(masks), self.options.latent, generator=draws)
        return Sample(generator(noise, masks, labels, present), masks, present, labels)


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the stage cannot work; see `check_gan` and `need_phantoms`."""
    check_gan(plan, stage, {})
    need_phantoms(plan, stage)


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return lesion masks of phantoms on the GAN's grid and their classes: of slices, or of volumes."""
    frame = frame_of(plan, options_of(plan, stage, {}))
    found = [real(phantom, frame, healthy=True) for phantom in phantoms(plan, COUNT, purpose=0)]
    samples = [sample for sample in found if sample is not None]
    masks = torch.cat([sample.masks for sample in samples]).to(torch.uint8)
    labels = torch.cat([sample.labels for sample in samples])
    chosen = torch.linspace(0, len(masks) - 1, min(MASKS, len(masks))).long()
    return {f"{stage.name}.masks": masks[chosen], f"{stage.name}.labels": labels[chosen]}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    options = options_of(plan, stage, {})
    frame = frame_of(plan, options)
    masks, labels = need(shared, f"{stage.name}.masks"), need(shared, f"{stage.name}.labels")
    return Adversarial(
        maker=FromMasks(frame, options, masks, labels),
        losses=LOGISTIC,
        penalty=smooth,
        frame=frame,
        options=options,
        trained=stage.trained or "all",
        healthy=True,
        spread=lambda: real_spread(plan, frame, shared, healthy=True),
    )

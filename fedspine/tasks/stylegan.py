"""`stylegan`: image and lesion mask from styles, each of which rules one scale of detail (Karras 2019, 2020).

Like every GAN here, only the critic's term on real images touches patients (see `_adversarial`), R1 included.

Adaptive augmentation (Karras 2020, arXiv:2006.06676) watches how often the critic is right about real images, which is
private. Here the chance of augmentation is one more weight of the critic. A patient's loss holds a term that is zero
but whose slope by that weight is how far the mean sign of the critic's scores on this patient's images is from the
target. So the controller's signal is one coordinate of the patient's gradient: clipped with the rest, summed, noised
once. It needs no release of its own and no budget; descent on it is the controller.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from fedspine.config import Plan, Stage, demand
from fedspine.networks.dcgan import Gan
from fedspine.networks.stylegan import StyleCritic, StyleGenerator
from fedspine.strict import build
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._diversity import real_spread
from fedspine.tasks._gan_settings import Options, check_gan, frame_of, options_of
from fedspine.tasks._losses import LOGISTIC, smooth
from fedspine.tasks._sample import Frame, Sample, random_presence
from fedspine.tasks._task import Shared

__all__ = ["FromStyles", "Options", "Styles", "check", "task"]

TRAINS = ("all", "head")
"""This critic has no normalisation whose weights could be trained."""

CROWD = 512
"""Styles whose mean is taken, anew at every use."""


@dataclass(frozen=True)
class Styles:
    """Settings of the stage beside those of every GAN.

    Args:
        mixing: share of images whose coarse and fine styles come from different noise, so that each learns its own
            part.
        truncation: how far from the mean style the patients that the stage gives are made: nearer is safer, farther
            more diverse; 1 uses styles as they are, 0 the mean style alone. Training, and the alarm for collapse, use
            them as they are.
    """

    mixing: float = 0.9
    truncation: float = 0.8


OWN = frozenset(part.name for part in fields(Styles))


@dataclass(frozen=True)
class FromStyles:
    """Makes images and masks from mixed styles; see `Maker`.

    Args:
        frame: what is made.
        options: settings.
        mixing: see `Styles`.
        truncation: see `Styles`; 1 in training.
    """

    frame: Frame
    options: Options
    mixing: float
    truncation: float = 1.0

    def build(self) -> Gan:
        """Return fresh networks."""
        frame, options = self.frame, self.options
        return Gan(
            StyleGenerator(options.latent, frame.contrasts + 1, frame.size, options.width),
            StyleCritic(2 * frame.contrasts + 1, frame.size, options.critic_width),
        )

    def for_phantoms(self) -> FromStyles:
        """Return itself: phantoms are patients like others."""
        return self

    def make(self, generator: nn.Module, count: int, draws: torch.Generator, *, missing: float) -> Sample:
        """Return `count` made images, some contrasts absent, of no known class."""
        assert isinstance(generator, StyleGenerator)
        made = generator(self.styles(generator, count, draws), draws)
        present = random_presence(torch.ones(count, self.frame.contrasts), missing, draws)
        return Sample(made[:, :-1], made[:, -1:], present, torch.full((count,), -1))

    def styles(self, generator: StyleGenerator, count: int, draws: torch.Generator) -> Tensor:
        """Return styles (image, layer, latent): up to a layer drawn per image one noise's, from there another's."""
        both = generator.mapping(torch.randn(2 * count, self.options.latent, generator=draws))
        if self.truncation < 1:
            crowd = generator.mapping(torch.randn(CROWD, self.options.latent, generator=draws)).mean(0)
            both = torch.lerp(crowd.expand_as(both), both, self.truncation)
        cut = torch.randint(1, generator.depth, (count,), generator=draws)
        mixed = torch.rand(count, generator=draws) < self.mixing
        coarse = torch.arange(generator.depth) < torch.where(mixed, cut, generator.depth)[:, None]
        return torch.where(coarse[:, :, None], both[:count, None], both[count:, None])


def settings(plan: Plan, stage: Stage) -> tuple[Options, Styles]:
    """Return the stage's settings, checked."""
    where = f"options of stage '{stage.name}'"
    styles = build(Styles, {key: value for key, value in stage.options.items() if key in OWN}, where)
    options = options_of(plan, replace(stage, options=_common(stage)), {})
    flat = f"dimensions in {where} must be 2 for a stylegan"
    demand(options.dimensions == 2, flat, options.dimensions, "use dcgan, wgan_gp or conditional_gan for volumes")
    for name, value in (("mixing", styles.mixing), ("truncation", styles.truncation)):
        demand(0 <= value <= 1, f"{name} in {where} must lie in [0, 1]", value, "write a number from 0 to 1")
    return options, styles


def _common(stage: Stage) -> dict[str, object]:
    """Return the settings that every GAN has."""
    return {key: value for key, value in stage.options.items() if key not in OWN}


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the stage cannot work; see `check_gan`."""
    settings(plan, stage)
    check_gan(plan, replace(stage, options=_common(stage)), {})


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    options, styles = settings(plan, stage)
    frame = frame_of(plan, options)
    maker = FromStyles(frame, options, styles.mixing)
    return Adversarial(
        maker=maker,
        losses=LOGISTIC,
        penalty=smooth,
        frame=frame,
        options=options,
        trained=stage.trained or "all",
        healthy=False,
        spread=lambda: real_spread(plan, frame, shared, healthy=False),
        for_use=replace(maker, truncation=styles.truncation),
    )

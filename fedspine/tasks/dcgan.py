"""`dcgan`: image and lesion mask made together from noise (Radford 2016), so that every made image has its label.

The critic's slope at patients' images is kept small (R1, Mescheder 2018), inside of the patient's own loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fedspine.config import Plan, Stage
from fedspine.networks.dcgan import Critic, Gan, Generator
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._diversity import real_spread
from fedspine.tasks._gan_settings import Options, check_gan, frame_of, options_of
from fedspine.tasks._losses import LOGISTIC, smooth
from fedspine.tasks._sample import Frame, Sample, random_presence
from fedspine.tasks._task import Shared

__all__ = ["FromNoise", "Options", "check", "task"]


@dataclass(frozen=True)
class FromNoise:
    """Makes images and masks from noise alone; see `Maker`."""

    frame: Frame
    options: Options

    def build(self) -> Gan:
        """Return fresh networks."""
        frame, options = self.frame, self.options
        return Gan(
            Generator(options.latent, frame.contrasts + 1, frame.size, options.width, frame.slices),
            Critic(2 * frame.contrasts + 1, frame.size, options.critic_width, options.dimensions),
        )

    def for_phantoms(self) -> FromNoise:
        """Return itself: phantoms are patients like others."""
        return self

    def make(self, generator: nn.Module, count: int, draws: torch.Generator, *, missing: float) -> Sample:
        """Return `count` made images, some contrasts absent, of no known class."""
        made = generator(torch.randn(count, self.options.latent, generator=draws))
        present = random_presence(torch.ones(count, self.frame.contrasts), missing, draws)
        return Sample(made[:, :-1], made[:, -1:], present, torch.full((count,), -1))


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the stage cannot work; see `check_gan`."""
    check_gan(plan, stage, {})


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    options = options_of(plan, stage, {})
    frame = frame_of(plan, options)
    return Adversarial(
        maker=FromNoise(frame, options),
        losses=LOGISTIC,
        penalty=smooth,
        frame=frame,
        options=options,
        trained=stage.trained or "all",
        healthy=False,
        spread=lambda: real_spread(plan, frame, shared, healthy=False),
    )

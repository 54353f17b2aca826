"""`wgan_gp`: a DCGAN whose critic measures the Wasserstein distance, with gradient penalty (Gulrajani 2017).

The penalty lies on lines between the patient's real images and freshly made ones, all inside of that patient's loss:
its double backward is an ordinary one here, where hooks on single images cannot follow it.
"""

from __future__ import annotations

from torch import nn

from fedspine.config import Plan, Stage
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._diversity import real_spread
from fedspine.tasks._gan_settings import Options, check_gan, frame_of, options_of
from fedspine.tasks._losses import WASSERSTEIN, gradient_penalty
from fedspine.tasks._task import Shared
from fedspine.tasks.dcgan import FromNoise

__all__ = ["Options", "check", "task"]

DEFAULTS = {"penalty": 10.0, "lazy": 1, "critic_steps": 5}
"""Of Gulrajani 2017."""


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the stage cannot work; see `check_gan`."""
    check_gan(plan, stage, DEFAULTS)


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    options = options_of(plan, stage, DEFAULTS)
    frame = frame_of(plan, options)
    return Adversarial(
        maker=FromNoise(frame, options),
        losses=WASSERSTEIN,
        penalty=gradient_penalty,
        frame=frame,
        options=options,
        trained=stage.trained or "all",
        healthy=False,
        spread=lambda: real_spread(plan, frame, shared, healthy=False),
    )

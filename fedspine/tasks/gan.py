"""`gan`: the generator of the family that measures best, with its own settings.

Today that is `phantom_gan` (docs/decisions/0014-begin-with-phantoms.md); where phantoms have none of the plan's
contrasts, `dcgan`, which needs none.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from fedspine.atlas.anchors import depicts
from fedspine.config import Plan, Stage
from fedspine.tasks import dcgan, phantom_gan
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._gan_settings import Options
from fedspine.tasks._task import Shared

__all__ = ["Options", "check", "public", "task"]


def check(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError as the stage's kind of GAN does."""
    _kind(plan).check(plan, stage)


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return what the stage's kind of GAN needs of phantoms."""
    return phantom_gan.public(plan, stage, shared) if depicts(plan.data) else {}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    made: Adversarial = _kind(plan).task(plan, stage, shared)
    return made


def _kind(plan: Plan) -> ModuleType:
    return phantom_gan if depicts(plan.data) else dcgan

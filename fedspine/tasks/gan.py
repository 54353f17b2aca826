"""`gan`: the generator of the family that measures best, with its own settings.

Today that is `phantom_gan` (docs/decisions/0014-begin-with-phantoms.md); where phantoms have none of the plan's
contrasts, `dcgan`, which needs none.
"""

from __future__ import annotations

from torch import Tensor, nn

from fedspine.config import Plan, Stage
from fedspine.phantom.brain.look import BRAIN_CONTRASTS
from fedspine.phantom.scanner import EVERY_CONTRAST
from fedspine.tasks import dcgan, phantom_gan
from fedspine.tasks._adversarial import Adversarial, Options
from fedspine.tasks._task import Shared

__all__ = ["Options", "public", "task"]

KNOWN = {"spine": frozenset((*EVERY_CONTRAST, "CT")), "brain": frozenset((*BRAIN_CONTRASTS, "CT"))}
"""Contrasts of which phantoms have images, by body; those of a plan with CT alone are chests."""


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return what the stage's kind of GAN needs of phantoms."""
    return phantom_gan.public(plan, stage, shared) if _known(plan) else {}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Adversarial:
    """Return the task of `stage`."""
    return phantom_gan.task(plan, stage, shared) if _known(plan) else dcgan.task(plan, stage, shared)


def _known(plan: Plan) -> bool:
    return any(name.split(" ")[0] in KNOWN[plan.data.body] for name in plan.data.contrasts)

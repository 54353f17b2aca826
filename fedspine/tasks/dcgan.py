"""`gan`: a DCGAN makes images and their lesion masks together.

Only the critic's real-image term touches patients, so only its gradient is clipped and noised, a patient at a time. The
critic's term on made images and the generator's whole step are functions of released weights and of noise: free.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.errors import ConfigError
from fedspine.networks.dcgan import Gan
from fedspine.strict import build
from fedspine.tasks._task import Shared

MASK_LEVEL = 0.4
"""A made pixel belongs to the lesion from this value on."""

MASK_WEIGHT = 4.0
"""How much louder the critic hears the mask than a contrast: a lesion is a few pixels, and would go unheard."""


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        size: pixels a side of made images, a power of two; real ones are shrunk to it. Small, since noise grows with
            the critic and a site has few patients.
        latent: length of the noise vector.
        width: channels of the narrowest hidden layer.
        batch: made images a step.
        average_decay: of the generator's running average, a step.
        missing: probability with which a made image lacks a contrast, so that absence does not give it away.
    """

    size: int = 32
    latent: int = 32
    width: int = 16
    batch: int = 16
    average_decay: float = 0.95
    missing: float = 0.1


@dataclass(frozen=True)
class Dcgan:
    """The task; see `Trained` and `Generative` in `_task`; `size` and `omics` (how many) are the plan's."""

    contrasts: int
    size: int
    omics: int
    options: Options
    loss_bound: float = 2.0
    betas: tuple[float, float] = (0.5, 0.99)

    def build(self) -> Gan:
        """Return generator, critic and the generator's running average."""
        return Gan(self.options.latent, self.contrasts, self.options.size, self.options.width)

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return the critic's loss on the patient's real slices that hold a lesion, and their masks."""
        if patient.lesion is None or not patient.has_image or not bool(patient.lesion.any()):
            return None
        shown = patient.lesion.flatten(1).any(1)
        images = F.adaptive_avg_pool2d(patient.images[shown].clamp(0, 1), self.options.size)
        masks = F.adaptive_max_pool2d(patient.lesion[shown], self.options.size)
        present = patient.present.expand(len(images), -1)
        return F.softplus(-_score(model, _critic_parameters(model), images, masks, present)).mean()

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the critic's weights; the generator's own are reached by made images alone."""
        assert isinstance(model, Gan)
        return list(model.critic.parameters())

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return the critic's loss on made images plus the generator's, whose gradient leaves the critic alone."""
        assert isinstance(model, Gan)
        made = self.sample(model.generator, self.options.batch, draws)
        images, masks = made[:, :-1], made[:, -1:]
        present = (torch.rand(len(made), self.contrasts, generator=draws) > self.options.missing).float()
        weights = _critic_parameters(model)
        frozen = {name: value.detach() for name, value in weights.items()}
        critic = F.softplus(_score(model, weights, images.detach(), masks.detach(), present)).mean()
        return critic + F.softplus(-_score(model, frozen, images, masks, present)).mean()

    def after_step(self, model: nn.Module) -> None:
        """Move the running average towards the generator."""
        assert isinstance(model, Gan)
        with torch.no_grad():
            for average, current in zip(model.average.parameters(), model.generator.parameters(), strict=True):
                average.lerp_(current, 1 - self.options.average_decay)

    def synthetic(self, model: nn.Module | None, count: int, draws: torch.Generator) -> list[PatientTensors]:
        """Return made patients of one slice from the running average, enlarged to the plan's grid."""
        assert isinstance(model, Gan)
        with torch.no_grad():
            made = F.interpolate(self.sample(model.average, count, draws), self.size, mode="bilinear")
        everything, no_omics = torch.ones(self.contrasts), torch.zeros(self.omics)
        return [
            PatientTensors(one[None, :-1], everything, (one[None, -1:] > MASK_LEVEL).float(), -1, no_omics, no_omics)
            for one in made
        ]

    def sample(self, network: nn.Module, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` made images, the mask as last channel: (image, contrast + 1, row, column) in [0, 1]."""
        result: Tensor = network(torch.randn(count, self.options.latent, generator=generator))
        return result

    def public_losses(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """Return the parts of the two losses that no patient enters, for the training curves."""
        assert isinstance(model, Gan)
        with torch.no_grad():
            made = self.sample(model.generator, 4 * self.options.batch, generator)
            present = torch.ones(len(made), self.contrasts)
            logits = _score(model, _critic_parameters(model), made[:, :-1], made[:, -1:], present)
            return {
                "generator": float(F.softplus(-logits).mean()),
                "critic on made images": float(F.softplus(logits).mean()),
            }


def _critic_parameters(model: nn.Module) -> dict[str, Tensor]:
    assert isinstance(model, Gan)
    return dict(model.critic.named_parameters())


def _score(model: nn.Module, weights: dict[str, Tensor], images: Tensor, masks: Tensor, present: Tensor) -> Tensor:
    """Return the critic's logits; contrasts that are not `present` (image, contrast) are blanked."""
    assert isinstance(model, Gan)
    flags = present[:, :, None, None].expand_as(images)
    shown = torch.cat([images * flags, MASK_WEIGHT * masks, flags], dim=1)
    result: Tensor = functional_call(model.critic, weights, (shown,))
    return result


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Dcgan:
    """Return the task of `stage`."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    size = options.size
    if size < 16 or size & (size - 1):
        raise ConfigError("the GAN's image size must be a power of two from 16", str(size), "use 16, 32, 64 or 128")
    return Dcgan(len(plan.data.contrasts), plan.data.size, len(plan.data.omics), options)

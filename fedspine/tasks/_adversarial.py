"""What every GAN here shares: who sees patients, who does not, and what keeps the game in balance.

Only the critic's term on real images touches patients, so only its gradient is clipped and noised, a patient at a time.
The critic's term on made images and the generator's whole step are functions of released weights and of public
randomness: free. Only the weights that patients train are moved by made images too: a critic whose body saw made images
alone would learn to call everything made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import PARTS
from fedspine.networks.dcgan import Gan
from fedspine.networks.parts import chosen_parameters
from fedspine.networks.stylegan import Pressure
from fedspine.tasks._diversity import diversity
from fedspine.tasks._gan_settings import Options
from fedspine.tasks._losses import Losses, Scores
from fedspine.tasks._sample import Frame, Sample, alike, patients_of, real, shown


class Maker(Protocol):
    """How one kind of GAN builds its networks and makes samples."""

    def build(self) -> Gan:
        """Return fresh networks."""

    def for_phantoms(self) -> Maker:
        """Return who makes samples while phantoms stand for patients, before the first of these is seen."""

    def make(self, generator: nn.Module, count: int, draws: torch.Generator, *, missing: float) -> Sample:
        """Return `count` made images with all that the critic is shown beside them.

        Args:
            generator: network.
            count: how many.
            draws: public randomness.
            missing: probability with which an image lacks a contrast.
        """


Penalty = Callable[[Scores, Tensor, Tensor, torch.Generator], Tensor]
"""From the critic's score, its input of a patient, that of as many made images, and draws, to the penalty."""


@dataclass(frozen=True)
class Adversarial:
    """A task that trains a GAN; see `Trained`, `Generative` and `Diverse` in `_task`.

    Args:
        maker: networks and samples.
        losses: the game.
        penalty: what keeps the critic smooth.
        frame: what is made.
        options: settings.
        trained: part of the critic that patients train, one of `config.PARTS`.
        healthy: whether a patient without a lesion counts.
        spread: deviation of every image feature among real patients, asked for at the server only.
        for_use: makes the patients that the stage gives, where that is not how the critic's are made.
        others: beginnings of names of other weights to factors on their learning rate.
        stays: beginnings of names of weights that stay at the site after the first round.
    """

    maker: Maker
    losses: Losses
    penalty: Penalty
    frame: Frame
    options: Options
    trained: str
    healthy: bool
    spread: Callable[[], Tensor | None]
    betas: tuple[float, float] = (0.0, 0.99)
    made_by: tuple[str, ...] = ("generator.", "average.")
    for_use: Maker | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    stays: tuple[str, ...] = ()

    @property
    def loss_bound(self) -> float:
        """Losses above this count as this in the released training curve."""
        return self.losses.bound

    @property
    def rates(self) -> Mapping[str, float]:
        """Prefix of weights to factor on their learning rate."""
        return {"critic.": self.options.critic_rate, **self.others}

    @property
    def least_diversity(self) -> float:
        """Share of real images' diversity below which the generator counts as collapsed."""
        return self.options.diversity

    def build(self) -> Gan:
        """Return generator, critic and the generator's running average."""
        return self.maker.build()

    def for_phantoms(self) -> Adversarial:
        """Return the task that trains all of the critic, as public steps on phantoms may."""
        return replace(self, trained=PARTS[0], maker=self.maker.for_phantoms())

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the critic's weights, or the part of them that is trained; made images alone reach the generator."""
        return chosen_parameters(_gan(model).critic, self.trained)

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return the critic's loss on the patient's images and their masks, at times with the penalty."""
        sample = real(patient, self.frame, healthy=self.healthy)
        if sample is None:
            return None
        gan, options = _gan(model), self.options
        score = _scorer(gan.critic, self._trained_weights(gan), sample.labels)
        pressure, chance = _pressure(gan)
        inputs = shown(sample, options.differentiable, draws, chance)
        scores = score(inputs)
        loss = self.losses.real(scores).mean() + self.losses.shift
        if pressure is not None:
            loss = loss + pressure.pull(scores)
        if options.penalty and float(torch.rand((), generator=draws)) * options.lazy < 1:
            with torch.no_grad():
                made = alike(self.maker.make(gan.generator, len(sample), draws, missing=0.0), sample)
                beside = shown(made, options.differentiable, draws, chance)
            loss = loss + options.penalty * options.lazy * self.penalty(score, inputs, beside, draws)
        return loss

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return the critic's loss on made images, and in the generator's turn its own, which leaves the critic alone.

        The turn comes after every `critic_steps` steps.
        """
        gan, options = _gan(model), self.options
        turn = (step + 1) % options.critic_steps == 0
        kinds, (_, chance) = options.differentiable, _pressure(gan)
        with torch.set_grad_enabled(turn):
            made = self.maker.make(gan.generator, options.batch, draws, missing=options.missing)
        critic = _scorer(gan.critic, self._trained_weights(gan), made.labels)
        loss = self.losses.made(critic(shown(made.detached(), kinds, draws, chance))).mean()
        if turn:
            frozen = {name: weight.detach() for name, weight in gan.critic.named_parameters()}
            score = _scorer(gan.critic, frozen, made.labels)
            loss = loss + self.losses.generator(score(shown(made, kinds, draws, chance))).mean()
        return loss

    def after_step(self, model: nn.Module) -> None:
        """Move the running average towards the generator."""
        gan = _gan(model)
        if (pressure := _pressure(gan)[0]) is not None:
            pressure.hold()
        with torch.no_grad():
            for average, current in zip(gan.average.parameters(), gan.generator.parameters(), strict=True):
                average.lerp_(current, 1 - self.options.average_decay)

    def synthetic(self, model: nn.Module | None, count: int, draws: torch.Generator) -> list[PatientTensors]:
        """Return made patients with every contrast, from the running average, enlarged to the plan's grid."""
        assert model is not None
        return self._made(self.for_use or self.maker, model, count, draws)

    def diversity(self, model: nn.Module, draws: torch.Generator) -> float | None:
        """Return how diverse made images are, as a share of real ones: 1 as diverse, 0 all alike; see `Diverse`."""
        return diversity(lambda count: self._made(self.maker, model, count, draws), self._spread)

    @cached_property
    def _spread(self) -> Tensor | None:
        return self.spread()

    def public_losses(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """Return the parts of the two losses that no patient enters, for the training curves."""
        gan = _gan(model)
        with torch.no_grad():
            made = self.maker.make(gan.generator, 4 * self.options.batch, generator, missing=self.options.missing)
            logits = gan.critic(shown(made, (), generator), made.labels)
            return {
                "generator": float(self.losses.generator(logits).mean()),
                "critic on made images": float(self.losses.made(logits).mean()) - self.losses.shift,
            }

    def _made(self, maker: Maker, model: nn.Module, count: int, draws: torch.Generator) -> list[PatientTensors]:
        with torch.no_grad():
            made = maker.make(_gan(model).average, count, draws, missing=0.0)
            return patients_of(made, self.frame)

    def _trained_weights(self, gan: Gan) -> dict[str, Tensor]:
        """Return the critic's weights by name, those that are not trained cut off from gradients."""
        chosen = {id(weight) for weight in chosen_parameters(gan.critic, self.trained)}
        return {name: w if id(w) in chosen else w.detach() for name, w in gan.critic.named_parameters()}


def _gan(model: nn.Module) -> Gan:
    assert isinstance(model, Gan)
    return model


def _pressure(gan: Gan) -> tuple[Pressure | None, float]:
    """Return the critic's controller of augmentation, if it has one, and the chance of each augmentation."""
    pressure = getattr(gan.critic, "pressure", None)
    return (pressure, pressure.chance()) if isinstance(pressure, Pressure) else (None, 1.0)


def _scorer(critic: nn.Module, weights: Mapping[str, Tensor], labels: Tensor) -> Scores:
    """Return the critic with these weights: from (image, channel, ...) to (image,) scores."""

    def score(images: Tensor) -> Tensor:
        result: Tensor = functional_call(critic, dict(weights), (images, labels))
        return result

    return score

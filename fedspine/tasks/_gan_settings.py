"""Settings of a stage that trains a GAN, and what of a plan no GAN could be made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedspine.atlas.anchors import depicts
from fedspine.config import Plan, Stage, demand
from fedspine.networks.differentiable import KINDS
from fedspine.strict import build, suggestion
from fedspine.tasks._sample import Frame
from fedspine.tasks._task import need_images


@dataclass(frozen=True)
class Options:
    """Settings of a stage that trains a GAN.

    Args:
        dimensions: 2 makes single slices, 3 volumes of the plan's number of slices.
        size: pixels a side of made images, a power of two; real ones are shrunk to it.
        latent: length of the noise vector.
        width: channels of the generator's narrowest layer.
        critic_width: channels of the critic's first layer.
        batch: made images a step.
        average_decay: of the generator's running average, a step.
        missing: probability with which a made image lacks a contrast, so that absence does not give it away.
        critic_steps: steps of the critic for one of the generator; more make up for noise (Bie 2023).
        critic_rate: the critic's learning rate over the generator's: two time scales (Heusel 2017).
        differentiable: how what the critic sees is augmented, some of `networks.differentiable.KINDS`.
        penalty: weight of what keeps the critic smooth: R1, or the gradient penalty of `wgan_gp`.
        lazy: the penalty is part of one in so many losses, as much heavier (Karras 2020).
        diversity: images, made as the critic meets them, less diverse than this share of real ones count as collapsed.
    """

    dimensions: int = 2
    size: int = 64
    latent: int = 64
    width: int = 16
    critic_width: int = 16
    batch: int = 16
    average_decay: float = 0.95
    missing: float = 0.1
    critic_steps: int = 1
    critic_rate: float = 1.0
    differentiable: tuple[str, ...] = KINDS
    penalty: float = 1.0
    lazy: int = 4
    diversity: float = 0.5


def options_of(plan: Plan, stage: Stage, defaults: Mapping[str, object]) -> Options:
    """Return the stage's settings, over those that its kind of GAN has by itself.

    Raises:
        ConfigError: if one is out of range, or the plan has no images, or masks of several structures: a GAN makes one.
    """
    need_images(plan, stage)
    several, masks = plan.data.structures, f"stage '{stage.name}' makes images with one mask"
    demand(len(several) <= 1, masks, f"{len(several)} structures", "leave it out, or use phantom_votes")
    where = f"options of stage '{stage.name}'"
    options = build(Options, {**defaults, **stage.options}, where)
    demand(options.dimensions in (2, 3), f"dimensions in {where} must be 2 or 3", options.dimensions, "mend it")
    power = options.size >= 16 and not options.size & (options.size - 1)
    demand(power, "the GAN's image size must be a power of two from 16", options.size, "use 16, 32, 64 or 128")
    whole = min(options.critic_steps, options.lazy, options.batch, options.latent) >= 1
    demand(whole, f"critic_steps, lazy, batch and latent in {where} must be 1 or more", "less", "raise it")
    widths = min(options.width, options.critic_width)
    even = widths >= 4 and options.width % 4 == 0 and options.critic_width % 4 == 0
    demand(even, f"widths in {where} must be multiples of 4", f"{options.width} and {options.critic_width}", "mend it")
    demand(0 <= options.missing < 1, f"missing in {where} must lie in [0, 1)", options.missing, "mend it")
    demand(
        0 <= options.average_decay < 1, f"average_decay in {where} must lie in [0, 1)", options.average_decay, "mend"
    )
    demand(options.critic_rate > 0, f"critic_rate in {where} must be positive", options.critic_rate, "mend it")
    demand(options.penalty >= 0, f"penalty in {where} must be 0 or more", options.penalty, "mend it")
    demand(0 <= options.diversity <= 1, f"diversity in {where} must lie in [0, 1]", options.diversity, "mend it")
    for kind in options.differentiable:
        demand(kind in KINDS, f"differentiable in {where} must be known", f"'{kind}'", suggestion(kind, KINDS))
    return options


def check_gan(plan: Plan, stage: Stage, defaults: Mapping[str, object]) -> None:
    """Raise ConfigError if the stage cannot work; see `options_of`. A generator must get a turn."""
    options = options_of(plan, stage, defaults)
    rule = f"critic_steps of stage '{stage.name}' must not exceed its steps in all rounds, or no generator is trained"
    taken = max(stage.rounds * stage.steps, stage.pretrain_steps)
    demand(options.critic_steps <= taken, rule, f"{options.critic_steps} of {taken}", "raise steps or rounds")


def need_phantoms(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if phantoms have no image, or no mask, of what the plan names, for a GAN that begins there."""
    rule = f"phantoms must have a contrast of the plan and its structure for stage '{stage.name}'"
    demand(depicts(plan.data), rule, "others", "use dcgan for such images")


def frame_of(plan: Plan, options: Options) -> Frame:
    """Return what a GAN of these settings makes for `plan`."""
    data = plan.data
    slices = data.slices if options.dimensions == 3 else 0
    return Frame(len(data.contrasts), len(data.omics), len(data.classes), data.size, options.size, slices)

"""Whether a plan's stages can work, asked before anything is sent."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType
from typing import get_type_hints

from fedspine.cohort.patient import CONTRAST_NAMES, CONTRASTS, PLANES
from fedspine.config import PARTS, Plan, Stage
from fedspine.errors import ConfigError
from fedspine.strict import build
from fedspine.tasks._task import freezes, module_of

KNOWN_CONTRASTS = f"use: {', '.join(CONTRASTS[:-1])}, each also with a plane ({', '.join(PLANES)}) as in 'T2 axial'"


LEARNING = (
    *("learning_rate", "schedule", "trained", "augment", "views", "pretrain_steps", "pretrain_rate"),
    *("public_steps", "synthetic", "server", "server_rate", "average"),
)
"""Settings of a stage that trains."""

_UNSET = {field.name: field.default for field in fields(Stage)}


def check_tasks(plan: Plan) -> None:
    """Raise ConfigError if the contrasts, or a stage's task, options or `of` cannot work; builds no network."""
    strange = [name for name in plan.data.contrasts if name not in CONTRAST_NAMES]
    if strange:
        raise ConfigError("contrasts must be known", f"'{strange[0]}'", KNOWN_CONTRASTS)
    for stage in plan.stage:
        module = module_of(stage)
        measures: tuple[str, ...] = getattr(module, "MEASURES", ())
        reads = measures or getattr(module, "READS", ())
        if stage.of and not reads:
            raise ConfigError(f"stage '{stage.name}' must not have `of`", f"'{stage.of}'", "remove it")
        if (measures and not stage.of) or (stage.of and plan.find(stage.of).task not in reads):
            raise ConfigError(
                f"`of` in stage '{stage.name}' must name an earlier stage of kind {' or '.join(reads)}",
                f"'{stage.of}'",
                "name one",
            )
        _check_rounds(stage, module)
        parts = getattr(module, "TRAINS", tuple(part for part in PARTS if part != "adapters"))
        if stage.trained and not measures and stage.trained not in parts:
            rule = f"trained of stage '{stage.name}' must be a part that its network has"
            raise ConfigError(rule, f"'{stage.trained}'", f"use one of: {', '.join(parts)}")
        if stage.synthetic and not _generates(module_of(plan.find(stage.synthetic))):
            rule = f"synthetic of stage '{stage.name}' must name a stage that makes patients"
            raise ConfigError(rule, f"'{stage.synthetic}'", "name a GAN's")
        if stage.synthetic and not stage.pretrain_steps + stage.public_steps:
            rule = f"synthetic of stage '{stage.name}' is for pretrain_steps or public_steps"
            raise ConfigError(rule, "neither of them", "say how many steps made patients are for")
        if hasattr(module, "check"):
            module.check(plan, stage)
        elif hasattr(module, "Options"):
            build(module.Options, dict(stage.options), f"options of stage '{stage.name}'")
        elif stage.options:
            raise ConfigError(f"stage '{stage.name}' must have no options", "some", "remove them")


def _check_rounds(stage: Stage, module: ModuleType) -> None:
    if not hasattr(module, "MEASURES"):
        return
    if stage.initial and not freezes(stage):
        raise ConfigError(f"stage '{stage.name}' measures and begins with nothing", "an `initial`", "leave it out")
    idle = [what for what in LEARNING if getattr(stage, what) != _UNSET[what]]
    if idle:
        rule = f"stage '{stage.name}' measures and trains nothing, so it must have no {idle[0]}"
        raise ConfigError(rule, "one", "remove it")
    several = getattr(module, "REPEATS", False)
    found = (stage.sample_rate, 1 if several else stage.rounds, stage.steps, stage.clip)
    if found != (1, 1, 1, 1):
        what = "sample_rate, steps and clip" if several else "sample_rate, rounds, steps and clip"
        raise ConfigError(
            f"stage '{stage.name}' measures every patient once a round, so {what} must be 1",
            "other numbers",
            "leave them out",
        )


def _generates(module: ModuleType) -> bool:
    """Return whether the module's tasks make patients, by what its function `task` says that it returns."""
    return hasattr(get_type_hints(module.task)["return"], "synthetic")


def check_networks(plan: Plan) -> None:
    """Raise ConfigError if the options of a trained stage make no network; the coordinator asks before it sends."""
    for stage in plan.stage:
        module = module_of(stage)
        if hasattr(module, "MEASURES") or hasattr(module, "public"):
            continue
        try:
            task = module.task(plan, stage, {})
            task.private_parameters(task.build())
        except ConfigError:
            raise
        except Exception as error:  # whatever the library says of widths that do not fit
            raise ConfigError(
                f"options of stage '{stage.name}' must make a network",
                type(error).__name__,
                "see docs/reference/plan.md",
            ) from None

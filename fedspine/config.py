"""What is agreed: `Plan` travels between server and hospitals. What never leaves a hospital is in `site_file`.

Both are strict TOML: an unknown key, a wrong type or a number out of range is one sentence with a suggestion. Where a
plan and a site disagree, the stricter of the two wins (`client.policy`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from fedspine.errors import ConfigError
from fedspine.guarantee import PrivacyPlan as PrivacyPlan
from fedspine.guarantee import check_privacy
from fedspine.strict import build, parse, suggestion
from fedspine.strict import demand as demand

TASKS = tuple(sorted(file.stem for file in (Path(__file__).parent / "tasks").glob("[!_]*.py")))
"""What a stage can be: the files of `fedspine/tasks`, so that a new model is one new file there."""

_LEVEL = r"(C[1-7]|T[1-9]|T1[0-2]|L[1-5]|S[1-3])"
_LEVELS = re.compile(f"{_LEVEL}(-{_LEVEL})?")
WINDOWS = ("window-bone", "window-soft-tissue", "window-lung")
STEPS = dict.fromkeys(("isolate-body", "isolate-lung"), "isolation") | dict.fromkeys(WINDOWS, "window")
STEPS |= {"scale": "scale", "clahe": "clahe"}
"""What may be done to a CT image, by kind, in the order that steps must stand in; see `cohort.steps`."""

BODIES = ("spine", "brain")  # what public MR phantoms can show
PARTS = ("all", "adapters", "norms and head", "head")
"""Which weights patients may train; see `networks.parts`."""

AUGMENTATIONS = ("none", "traditional")
SCHEDULES = ("constant", "cosine")
SERVER_RULES = ("average", "adam")
"""FedAvg (McMahan 2017), or FedAdam (Reddi 2021) on the step from the old weights to the sites' mean."""

HELD_OUT, TRAIN = "held-out", "train"


@dataclass(frozen=True)
class DataPlan:
    """What a patient is turned into before training; agreed, so that every hospital feeds the same network.

    Args:
        contrasts: input channels in order.
        classes: labels in order; a patient with another label counts as unlabelled.
        omics: columns in order.
        markers: the omics columns that the pseudo-genomic score summarises (after standardising, by their mean).
        size, slices: pixels of the square in-plane grid; slices used per patient.
        held_out: share of patients kept from training, for `evaluate`.
        levels: part of the spine that public phantoms show, such as "C1-S1" or "L5"; hospitals may show any.
        steps: what is done to CT images before, some of `STEPS`.
        structures: what mask values 1, 2, … stand for; without it, whatever is not 0 is the lesion.
        body: what public phantoms show, one of `BODIES`; where all contrasts are CT, they are chests.
    """

    contrasts: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    omics: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    size: int = 64
    slices: int = 6
    held_out: float = 0.25
    levels: str = "C1-S1"
    steps: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    body: str = "spine"


@dataclass(frozen=True)
class Stage:
    """One thing trained or measured.

    Args:
        task: one of `TASKS`.
        name: unique within the plan; the task (or `of` + `-test`) if left out.
        of: with `evaluate`, the stage whose network is measured.
        rounds: messages out and back per site.
        steps: private steps per round (training) - a measuring stage takes one.
        sample_rate: Poisson probability with which a patient takes part in a step.
        clip: the L2 bound on a patient's contribution.
        noise_multiplier: noise standard deviation in units of `clip`; 0 lets `privacy.calibrate` solve for it.
        share: weight of the stage when noise is solved for (twice the share, half the noise).
        learning_rate: of the local optimiser.
        schedule: over the rounds, of `learning_rate` and of `public_steps`: `"constant"`, or `"cosine"`, falling.
        trained: which weights patients train, one of `PARTS`; the task's own choice if left out.
        augment: `"traditional"` turns, bends and shades patients, and phantoms further (`cohort.augment`), or `"none"`.
        views: augmented copies of a patient whose gradients are averaged before the clip: less variance, no more cost.
        pretrain_steps: public steps at the server before round 1, on phantoms and on what `synthetic` makes.
        pretrain_rate: of the optimiser of these steps, and of `public_steps`.
        initial: a file of weights to start from, below the plan's folder; what fits is taken, the rest is fresh.
        public_steps: steps at the server after every round, on phantoms and on what `synthetic` makes, without noise.
        synthetic: an earlier stage that makes patients, for `pretrain_steps` and `public_steps`.
        server: what the server does with the sites' mean, one of `SERVER_RULES`.
        server_rate: of the server's Adam.
        average: decay, a round, of the running average (EMA) of the weights that is kept in the end; 0 keeps the last.
        options: settings of the task's own network, checked by the task.
    """

    task: str
    name: str = ""
    of: str = ""
    rounds: int = 1
    steps: int = 1
    sample_rate: float = 1.0
    clip: float = 1.0
    noise_multiplier: float = 0.0
    share: float = 1.0
    learning_rate: float = 1e-3
    schedule: str = "constant"
    trained: str = ""
    augment: str = "none"
    views: int = 1
    pretrain_steps: int = 0
    pretrain_rate: float = 3e-3
    initial: str = ""
    public_steps: int = 0
    synthetic: str = ""
    server: str = "average"
    server_rate: float = 1e-2
    average: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fold(self) -> str:
        """Which patients the stage reads: only `evaluate` reads those held out."""
        return HELD_OUT if self.task == "evaluate" else TRAIN


@dataclass(frozen=True)
class Plan:
    """What the consortium agreed; travels with every message.

    Args:
        name: of the plan.
        seed: of initial weights, phantoms and the split; never of a hospital's noise outside a simulation.
        data: how patients become tensors.
        privacy: the guarantee.
        stage: the stages in order.
    """

    name: str
    seed: int = 0
    data: DataPlan = field(default_factory=DataPlan)
    privacy: PrivacyPlan = field(default_factory=PrivacyPlan)
    stage: tuple[Stage, ...] = ()

    def find(self, name: str) -> Stage:
        """Return the stage called `name`."""
        for stage in self.stage:
            if stage.name == name:
                return stage
        raise ConfigError("a stage must be one of the plan's", repr(name), "name one of the plan's stages")

    def digest(self) -> str:
        """Return the SHA-256 of the plan's canonical text, hexadecimal."""
        return hashlib.sha256(plan_text(self).encode()).hexdigest()


def load_plan(text: str) -> Plan:
    """Return the plan written in `text` (TOML), names filled in and checked.

    Raises:
        ConfigError: with rule, what was found and remedy.
    """
    return check_plan(_named(build(Plan, parse(text, "the plan"), "the plan")))


def read_text(path: Path, what: str) -> str:
    """Return the UTF-8 text of a configuration file; `what` is how a message may call it."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{what} must be a readable UTF-8 text file", type(error).__name__, "check the file's name and encoding"
        ) from None


def plan_text(plan: Plan) -> str:
    """Return `plan` as TOML; `load_plan` of it gives the same plan."""
    return tomli_w.dumps(_plain(plan))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _named(plan: Plan) -> Plan:
    stages = tuple(
        stage
        if stage.name
        else dataclasses.replace(stage, name=f"{stage.of}-test" if stage.task == "evaluate" else stage.task)
        for stage in plan.stage
    )
    return dataclasses.replace(plan, stage=stages)


def check_plan(plan: Plan) -> Plan:
    """Return `plan` if every value is in range and its stages fit together; raise ConfigError otherwise."""
    data = plan.data
    check_privacy(plan.privacy)
    demand(plan.seed >= 0, "seed must be 0 or more", plan.seed, "mend it")
    demand(bool(plan.stage), "a plan must have a stage", "none", "add a [[stage]]")
    fits = 8 <= data.size <= 1024 and data.size % 16 == 0
    demand(fits, "size must be a multiple of 16 from 16 to 1024", data.size, "mend it")
    demand(1 <= data.slices <= 512, "slices must lie between 1 and 512", data.slices, "mend the value")
    demand(0 <= data.held_out < 1, "held_out must lie in [0, 1)", data.held_out, "mend the value")
    demand(len(data.classes) != 1, "classes must name at least two labels", "one", "name another, or leave it out")
    rule = "levels must be a range of vertebral levels from head to feet"
    demand(bool(_LEVELS.fullmatch(data.levels)), rule, "another text", "write C1-S1, T1-T12 or L5")
    demand(data.body in BODIES, "body must be known", f"'{data.body}'", suggestion(data.body, BODIES))
    for what in ("contrasts", "classes", "omics", "structures"):
        names = getattr(data, what)
        demand(len(set(names)) == len(names), f"{what} must differ from each other", "a repeated one", "remove it")
    _check_steps(data.steps)
    demand(set(data.markers) <= set(data.omics), "markers must be omics columns", "another name", "mend the list")
    seen: dict[str, Stage] = {}
    for stage in plan.stage:
        _check_stage(stage, seen)
        seen[stage.name] = stage
    return plan


def _check_steps(steps: tuple[str, ...]) -> None:
    for name in steps:
        demand(name in STEPS, "a step must be known", f"'{name}'", suggestion(name, STEPS))
    kinds, order = [STEPS[name] for name in steps], list(dict.fromkeys(STEPS.values()))
    demand(len(set(kinds)) == len(kinds), "a plan may have one step of each kind", "two of one kind", "keep one")
    rule = f"steps must stand in the order {', '.join(order)}"
    demand(kinds == sorted(kinds, key=order.index), rule, ", ".join(kinds), "exchange them")


def _check_stage(stage: Stage, earlier: Mapping[str, Stage]) -> None:
    where = f"stage '{stage.name}'"
    known = stage.task in TASKS
    demand(known, f"the task of {where} must be known", f"'{stage.task}'", suggestion(stage.task, TASKS))
    demand(stage.name not in earlier, "stage names must differ", f"'{stage.name}' twice", "give one another name")
    lettered = all(c.isalnum() or c in "-_" for c in stage.name)
    demand(lettered, "a stage's name must be letters, digits, - and _", "others", "rename it")
    demand(stage.rounds >= 1 and stage.steps >= 1, f"rounds and steps of {where} must be 1 or more", "less", "raise it")
    demand(0 < stage.sample_rate <= 1, f"sample_rate of {where} must lie in (0, 1]", stage.sample_rate, "mend it")
    for what in ("clip", "share", "learning_rate", "pretrain_rate", "server_rate"):
        demand(getattr(stage, what) > 0, f"{what} of {where} must be positive", getattr(stage, what), "mend it")
    for what in ("noise_multiplier", "pretrain_steps", "public_steps"):
        demand(getattr(stage, what) >= 0, f"{what} of {where} must be 0 or more", getattr(stage, what), "mend it")
    _check_learning(stage, earlier, where)
    if stage.task == "evaluate" or stage.of:
        demand(stage.of in earlier, f"`of` in {where} must name an earlier stage", f"'{stage.of}'", "name one")


def _check_learning(stage: Stage, earlier: Mapping[str, Stage], where: str) -> None:
    for what, value, known in (
        ("trained", stage.trained or PARTS[0], PARTS),
        ("augment", stage.augment, AUGMENTATIONS),
        ("server", stage.server, SERVER_RULES),
        ("schedule", stage.schedule, SCHEDULES),
    ):
        demand(value in known, f"{what} of {where} must be known", f"'{value}'", suggestion(value, known))
    demand(1 <= stage.views <= 64, f"views of {where} must lie between 1 and 64", stage.views, "mend it")
    demand(0 <= stage.average < 1, f"average of {where} must lie in [0, 1)", stage.average, "mend it")
    makes = not stage.synthetic or stage.synthetic in earlier
    demand(makes, f"synthetic of {where} must name an earlier stage", f"'{stage.synthetic}'", "name one")
    inside = not Path(stage.initial).is_absolute() and ".." not in Path(stage.initial).parts
    rule = f"initial of {where} must be a path below the plan's folder"
    demand(inside, rule, "another place", "copy the weights beside the plan")

"""What is agreed and what stays: `Plan` travels between server and hospitals, `Site` never leaves its hospital.

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
from fedspine.strict import build, parse, suggestion

TASKS = tuple(sorted(file.stem for file in (Path(__file__).parent / "tasks").glob("[!_]*.py")))
"""What a stage can be: the files of `fedspine/tasks`, so that a new model is one new file there."""

_LEVEL = r"(C[1-7]|T[1-9]|T1[0-2]|L[1-5]|S[1-3])"
_LEVELS = re.compile(f"{_LEVEL}(-{_LEVEL})?")
WINDOWS = ("window-bone", "window-soft-tissue", "window-lung")
STEPS = dict.fromkeys(("isolate-body", "isolate-lung"), "isolation") | dict.fromkeys(WINDOWS, "window")
STEPS |= {"scale": "scale", "clahe": "clahe"}
"""What may be done to a CT image, by kind, in the order that steps must stand in; see `cohort.steps`."""

HELD_OUT = "held-out"
TRAIN = "train"


@dataclass(frozen=True)
class DataPlan:
    """What a patient is turned into before training; agreed, so that every hospital feeds the same network.

    Args:
        contrasts: input channels in order.
        classes: labels in order; a patient with another label counts as unlabelled.
        omics: columns in order.
        markers: the omics columns that the pseudo-genomic score summarises (after standardising, by their mean).
        size: pixels of the square in-plane grid.
        slices: slices used per patient.
        held_out: share of patients kept from training, for `evaluate`.
        levels: part of the spine that public phantoms show, such as "C1-S1", "T1-T12" or "L5"; hospitals' images are
            used whatever they show.
        steps: what is done to CT images before, some of `STEPS`.
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


@dataclass(frozen=True)
class PrivacyPlan:
    """The patient-level guarantee that the plan asks of every site.

    Args:
        mechanism: `"gaussian"`, or `"none"` to train without privacy (the report says so on its first line).
        epsilon: what the whole plan may cost a training patient, and, apart from that, a held-out patient.
        delta: probability with which epsilon may fail.
    """

    mechanism: str = "gaussian"
    epsilon: float = 8.0
    delta: float = 1e-5


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
        pretrain_steps: public steps on phantoms at the server before round 1.
        pretrain_rate: of the optimiser of these steps.
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
    pretrain_steps: int = 0
    pretrain_rate: float = 3e-3
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


@dataclass(frozen=True)
class Site:
    """A hospital's own policy, `site.toml`; it has the last word and never travels.

    Args:
        tasks: what the hospital permits.
        allow_no_privacy: whether a plan with `mechanism = "none"` may run here.
        max_epsilon: the most that all releases together may cost a patient.
        max_delta: the largest delta at which epsilon may be stated.
        minimum_cohort: fewer patients than this and the hospital takes no part.
        seed: fixes noise and sampling; for tests only, the ledger says so.
        threads: torch threads; 0 means all cores. Networks for few patients are small, and on a machine that is shared,
            threads that wait for each other cost more than they bring.
    """

    tasks: tuple[str, ...] = TASKS
    allow_no_privacy: bool = False
    max_epsilon: float = 10.0
    max_delta: float = 1e-4
    minimum_cohort: int = 2
    seed: int | None = None
    threads: int = 1


def load_plan(text: str) -> Plan:
    """Return the plan written in `text` (TOML), names filled in and checked.

    Raises:
        ConfigError: with rule, what was found and remedy.
    """
    return check_plan(_named(build(Plan, parse(text, "the plan"), "the plan")))


def load_site(folder: Path) -> Site:
    """Return the policy in `folder/site.toml`, or the default policy where there is none."""
    path = folder / "site.toml"
    if not path.exists():
        return Site()
    return _check_site(build(Site, parse(read_text(path, "site.toml"), "site.toml"), "site.toml"))


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


def _demand(holds: bool, rule: str, found: object, remedy: str) -> None:
    if not holds:
        raise ConfigError(rule, str(found), remedy)


def check_plan(plan: Plan) -> Plan:
    """Return `plan` if every value is in range and its stages fit together; raise ConfigError otherwise."""
    privacy, data = plan.privacy, plan.data
    choose = "see docs/how-to/choose-privacy.md"
    known = privacy.mechanism in ("gaussian", "none")
    _demand(known, "mechanism must be 'gaussian' or 'none'", privacy.mechanism, choose)
    _demand(privacy.epsilon > 0, "epsilon must be positive", privacy.epsilon, choose)
    _demand(0 < privacy.delta < 1, "delta must lie between 0 and 1", privacy.delta, choose)
    _demand(plan.seed >= 0, "seed must be 0 or more", plan.seed, "mend it")
    _demand(bool(plan.stage), "a plan must have a stage", "none", "add a [[stage]]")
    fits = 8 <= data.size <= 1024 and data.size % 16 == 0
    _demand(fits, "size must be a multiple of 16 from 16 to 1024", data.size, "mend it")
    _demand(1 <= data.slices <= 512, "slices must lie between 1 and 512", data.slices, "mend the value")
    _demand(0 <= data.held_out < 1, "held_out must lie in [0, 1)", data.held_out, "mend the value")
    _demand(len(data.classes) != 1, "classes must name at least two labels", "one", "name another, or leave it out")
    rule = "levels must be a range of vertebral levels from head to feet"
    _demand(bool(_LEVELS.fullmatch(data.levels)), rule, "another text", "write C1-S1, T1-T12 or L5")
    for what, names in (("contrasts", data.contrasts), ("classes", data.classes), ("omics", data.omics)):
        _demand(len(set(names)) == len(names), f"{what} must differ from each other", "a repeated one", "remove it")
    _check_steps(data.steps)
    _demand(set(data.markers) <= set(data.omics), "markers must be omics columns", "another name", "mend the list")
    seen: dict[str, Stage] = {}
    for stage in plan.stage:
        _check_stage(stage, seen)
        seen[stage.name] = stage
    return plan


def _check_steps(steps: tuple[str, ...]) -> None:
    for name in steps:
        _demand(name in STEPS, "a step must be known", f"'{name}'", suggestion(name, STEPS))
    kinds, order = [STEPS[name] for name in steps], list(dict.fromkeys(STEPS.values()))
    _demand(len(set(kinds)) == len(kinds), "a plan may have one step of each kind", "two of one kind", "keep one")
    rule = f"steps must stand in the order {', '.join(order)}"
    _demand(kinds == sorted(kinds, key=order.index), rule, ", ".join(kinds), "exchange them")


def _check_stage(stage: Stage, earlier: Mapping[str, Stage]) -> None:
    where = f"stage '{stage.name}'"
    known = stage.task in TASKS
    _demand(known, f"the task of {where} must be known", f"'{stage.task}'", suggestion(stage.task, TASKS))
    _demand(stage.name not in earlier, "stage names must differ", f"'{stage.name}' twice", "give one another name")
    lettered = all(c.isalnum() or c in "-_" for c in stage.name)
    _demand(lettered, "a stage's name must be letters, digits, - and _", "others", "rename it")
    _demand(
        stage.rounds >= 1 and stage.steps >= 1, f"rounds and steps of {where} must be 1 or more", "less", "raise it"
    )
    _demand(0 < stage.sample_rate <= 1, f"sample_rate of {where} must lie in (0, 1]", stage.sample_rate, "mend it")
    _demand(stage.clip > 0, f"clip of {where} must be positive", stage.clip, "mend it")
    _demand(
        stage.noise_multiplier >= 0, f"noise_multiplier of {where} must be positive", stage.noise_multiplier, "mend it"
    )
    _demand(stage.share > 0, f"share of {where} must be positive", stage.share, "mend it")
    _demand(stage.pretrain_rate > 0, f"pretrain_rate of {where} must be positive", stage.pretrain_rate, "mend it")
    _demand(stage.pretrain_steps >= 0, f"pretrain_steps of {where} must be 0 or more", stage.pretrain_steps, "mend it")
    _demand(stage.learning_rate > 0, f"learning_rate of {where} must be positive", stage.learning_rate, "mend it")
    if stage.task == "evaluate" or stage.of:
        _demand(stage.of in earlier, f"`of` in {where} must name an earlier stage", f"'{stage.of}'", "name one")


def _check_site(site: Site) -> Site:
    known = set(site.tasks) <= set(TASKS)
    _demand(known, "tasks in site.toml must be known", "an unknown one", f"use: {', '.join(TASKS)}")
    _demand(site.max_epsilon > 0, "max_epsilon in site.toml must be positive", site.max_epsilon, "mend it")
    _demand(0 < site.max_delta < 1, "max_delta in site.toml must lie between 0 and 1", site.max_delta, "mend it")
    _demand(site.minimum_cohort >= 1, "minimum_cohort in site.toml must be 1 or more", site.minimum_cohort, "mend it")
    _demand(site.threads >= 0, "threads in site.toml must be 0 or more", site.threads, "mend it")
    return site

"""What a task is, and how a stage finds its own.

A task is one file of this folder that does not begin with an underscore; its name in a plan is the file's name. It
offers `task(plan, stage, shared, model)`, which returns a `Trained` or a `Measured` value. Where it needs public values
such as phantom anchors it also offers `public(plan, stage, shared, model)`, which the server calls once before the
stage; where it measures, it names the kinds of network that it reads in `MEASURES` (none: `()`), and says `REPEATS =
True` if it may take several rounds: `finish` is called after each, its `common` values join the shared ones, and the
task is made anew; with `FREEZES = True` its `initial` may name what an earlier run shared. Settings are a dataclass
`Options`; `check(plan, stage)`, where there is one, refuses what cannot be before anything is spent. A trained task
that builds on another stage's network names kinds of it in `READS`: with `of` in its stage, `public` gets that network
and puts what sites need of it among the shared values. `TRAINS` names the parts of its network that patients may
train where these are others than all but "adapters". Nothing is registered, and nothing is imported by a name that a
server sends: `config.TASKS` lists the files here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import TASKS, Plan, Stage, demand
from fedspine.errors import ConfigError

TOGETHER = "all sites"
"""What a measuring task is told instead of a site's name where there is the total alone."""

Shared = Mapping[str, Tensor]
"""Results of earlier stages, `stage.key` to tensor: released or public values, the same for every patient of a site."""


@runtime_checkable
class Trained(Protocol):
    """A network trained by private patient gradients and free public ones.

    Six attributes may be left out: `sampled(patient, draws)`, what a step sees of a patient, before it is augmented;
    `apart`, true where slices are seen one by one, and are augmented so;
    `stays`, beginnings of the names of weights that every site keeps for itself after the first round (a GAN's critic);
    `rates`, beginnings of names to factors on the learning rate; `for_phantoms()`, which returns the task as public
    pre-training is to run it, such as with all weights trained; and `on_cpu`, true of networks too small for a card.
    """

    @property
    def loss_bound(self) -> float:
        """Losses above this count as this in the released training curve."""

    @property
    def betas(self) -> tuple[float, float]:
        """Of Adam, the local optimiser."""

    def build(self) -> nn.Module:
        """Return the network with fresh weights, the same for the same global random state."""

    def patient_loss(self, model: nn.Module, patient: PatientTensors, draws: torch.Generator) -> Tensor | None:
        """Return the scalar loss of this patient alone; `None` where the patient has nothing to say.

        Whatever is random (augmentation, interpolates, dropped contrasts) comes from `draws`, fresh for every patient.
        """

    def private_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the weights that patients' gradients reach; only these receive noise."""

    def public_loss(self, model: nn.Module, draws: torch.Generator, step: int) -> Tensor | None:
        """Return a scalar loss that no patient enters; its gradient is added without noise.

        Args:
            model: the network.
            draws: public randomness.
            step: counted from 0 over all rounds, so that a part may be left out of some steps.
        """

    def after_step(self, model: nn.Module) -> None:
        """Update whatever follows the weights, such as a running average."""


@dataclass(frozen=True)
class Site:
    """What the server holds of one site after a measuring stage.

    Args:
        sums: the released, noised sums.
        patients: how many patients of the stage's fold the site has (public).
        scanners: how many training patients lay on each of the site's scanners, by number (public).
    """

    sums: Mapping[str, Tensor]
    patients: int
    scanners: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a measuring stage gives.

    Args:
        common: tensors for every site.
        own: site to tensors for that site alone.
        numbers: plain values for `metrics.json`, released or public.
    """

    common: Mapping[str, Tensor] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Measured(Protocol):
    """A sum over patients, released once a site.

    One attribute may be left out: `pools`, true where `finish` can do with the sum over all sites, as if it were one
    site's; only such a sum can be secure.
    """

    def zeros(self) -> dict[str, Tensor]:
        """Return tensors of the names and shapes that a term has."""

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's term, of joint norm at most 1, or `None` for zero."""

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return what follows from the released sums, whose entries carry noise of `noise_sd`; server side."""


@runtime_checkable
class Generative(Protocol):
    """A task that makes patients: whoever trains, judges or shows pictures needs no more of it."""

    def synthetic(self, model: nn.Module | None, count: int, draws: torch.Generator) -> list[PatientTensors]:
        """Return `count` made patients on the plan's grid, each with its lesion mask; 2-D ones have a single slice.

        Args:
            model: the stage's network with its trained weights; `None` for a task that measures.
            count: how many.
            draws: public randomness.
        """


class Scored(Protocol):
    """A trained task that can be measured on held-out patients."""

    def counts(self) -> dict[str, Tensor]:
        """Return zero counts: the names and shapes of what `evaluate` gives."""

    def units(self) -> dict[str, float]:
        """Return what one patient adds to an entry of each count, so that patients can be told from noise."""

    def totals(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return, of counts that sum a value from 0 to 1 a patient, how many patients each is over, in the same unit.

        Of the same names and shapes as these counts, NaN for entries that count patients themselves; see `interval`.
        """

    def evaluate(self, model: nn.Module, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's counts, of joint norm at most 1."""

    def metrics(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return metrics from summed counts; NaN where there are too few patients."""


@runtime_checkable
class Rated(Protocol):
    """A trained task that can be scored a patient at a time, without noise: for stress tests, audits and studies."""

    @property
    def measure(self) -> str:
        """What the score is called."""

    def score(self, model: nn.Module, patient: PatientTensors) -> float | None:
        """Return the patient's score from 0 to 1, the higher the better; `None` where there is nothing to score."""


@runtime_checkable
class Explained(Protocol):
    """A trained task whose decision on a patient is one number, so that Grad-CAM can show where it comes from."""

    @property
    def pixelwise(self) -> bool:
        """Whether pixels are decided one by one, so that every layer is asked; see `gradcam.localisation`."""

    def explained(self, model: nn.Module, patient: PatientTensors) -> Tensor:
        """Return the scalar to explain; its gradients reach the network's convolutions."""


def make(plan: Plan, stage: Stage, shared: Shared, arrays: Shared | None = None) -> Trained | Measured:
    """Return the task of `stage`.

    Args:
        plan: checked.
        stage: one of the plan's.
        shared: results of earlier stages.
        arrays: weights of the stage named in `of`, where this one measures them; whoever trains has its own.
    """
    module = module_of(stage)
    model = _inner_model(plan, stage, shared, arrays) if hasattr(module, "MEASURES") else None
    result: Trained | Measured = module.task(plan, stage, shared, model)
    return result


def public_values(plan: Plan, stage: Stage, shared: Shared, arrays: Shared | None = None) -> dict[str, Tensor]:
    """Return what `stage` adds to `shared` before it begins, from phantoms and released values; server side."""
    module = module_of(stage)
    if not hasattr(module, "public"):
        return {}
    result: dict[str, Tensor] = module.public(plan, stage, shared, _inner_model(plan, stage, shared, arrays))
    return result


def rebuilt(
    plan: Plan, stage: Stage, shared: Shared, models: Mapping[str, Shared]
) -> tuple[Trained | Measured, nn.Module | None]:
    """Return a finished stage's task and, where it trained, its network with its final weights.

    Args:
        plan: as run.
        stage: one of the plan's.
        shared: results of the stages before it (and its own).
        models: stage to weights, of the stages that trained.
    """
    task = make(plan, stage, shared, models.get(stage.of))
    if not isinstance(task, Trained):
        return task, None
    model = task.build()
    load_weights(model, models[stage.name])
    return task, model.eval()


def travels(task: Trained, name: str) -> bool:
    """Return whether the weights called `name` leave a site; what `stays` never does."""
    return not name.startswith(tuple(getattr(task, "stays", ())))


def load_weights(model: nn.Module, arrays: Shared) -> None:
    """Load `arrays` into `model`: same names, shapes and kinds, finite numbers; anything else is an error."""
    wanted = model.state_dict()
    fits = wanted.keys() == arrays.keys() and all(
        arrays[k].shape == v.shape and arrays[k].dtype == v.dtype and bool(torch.isfinite(arrays[k]).all())
        for k, v in wanted.items()
    )
    if not fits:
        raise ConfigError("weights must fit the stage's network", "others", "use the plan that they were trained with")
    model.load_state_dict(dict(arrays))


def freezes(stage: Stage) -> bool:
    """Return whether the stage measures and may take over what an earlier run found (`FREEZES`)."""
    return bool(getattr(module_of(stage), "FREEZES", False))


def frozen_values(shared: Shared, stage: Stage, keys: tuple[str, ...]) -> list[Tensor]:
    """Return what the stage's `initial` file holds under `keys`, or say that it is no such file."""
    names = [f"frozen.{stage.task}.{key}" for key in keys]
    if not all(name in shared for name in names):
        rule = f"initial of stage '{stage.name}' must be models/{stage.task}.safetensors of an earlier run"
        raise ConfigError(rule, "another file", "copy that file below the plan's folder")
    return [shared[name] for name in names]


def module_of(stage: Stage) -> ModuleType:
    """Return the module of the stage's task."""
    if stage.task not in TASKS:
        raise ConfigError("a task must be one of fedspine's", f"'{stage.task}'", f"use one of: {', '.join(TASKS)}")
    return importlib.import_module(f"fedspine.tasks.{stage.task}")


def _inner_model(plan: Plan, stage: Stage, shared: Shared, arrays: Shared | None) -> nn.Module | None:
    if not stage.of:
        return None
    inner = make(plan, plan.find(stage.of), shared)
    assert isinstance(inner, Trained)
    model = inner.build()
    load_weights(model, arrays if arrays is not None else {})
    return model.eval()


def need_images(plan: Plan, stage: Stage) -> None:
    """Raise ConfigError if the plan names no contrast, for a stage that can do nothing without."""
    demand(bool(plan.data.contrasts), f"stage '{stage.name}' needs images", "a plan without contrasts", "name some")


def need(shared: Shared, key: str) -> Tensor:
    """Return `shared[key]`, or say which stage is missing."""
    if key not in shared:
        raise ConfigError("a stage must follow the stages that it builds on", f"no '{key}'", "put that stage earlier")
    return shared[key]

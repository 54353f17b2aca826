"""Runs a plan stage by stage on Flower's `Grid`: the loop that Flower's own strategies cannot resume or bound."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from flwr.serverapp import Grid
from torch import Tensor

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.errors import EgressBlocked, FedspineError
from fedspine.privacy.patient_sum import public_generator
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.tasks._combine import kept_weights, mean_weights, next_weights, note_average
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import Measured, Site, Trained, freezes, make, public_values
from fedspine.wire import Schema, check, schema_of
from server.collapse import checked
from server.sites import Enrolled, Reply, ask_stage
from server.starting import frozen, public_steps, start, teachers
from server.vault import Progress, Vault


class Watcher(Protocol):
    """Whoever wants to see a run go by."""

    def stage_begins(self, stage: Stage) -> None:
        """Note that `stage` begins."""

    def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None:
        """Note that a round is over."""


@dataclass(frozen=True)
class Runner:
    """One run.

    Args:
        grid: Flower's.
        plan: checked, noise solved.
        sites: who takes part, sorted by name.
        vault: the run folder.
        watcher: told of stages and rounds.
        initial: folder in which stages' `initial` files lie.
        timeout_s: the longest wait for a round.
    """

    grid: Grid
    plan: Plan
    sites: Sequence[Enrolled]
    vault: Vault
    watcher: Watcher
    initial: Path
    timeout_s: float = 3600.0

    def run(self) -> Progress:
        """Run every stage that is not done yet, saving after every round, and return the final state."""
        progress = self.vault.begin(self.plan)
        progress.numbers.setdefault("started", datetime.now(UTC).isoformat(timespec="seconds"))
        for index, stage in enumerate(self.plan.stage):
            if index < progress.stage:
                continue
            self.watcher.stage_begins(stage)
            self._run_stage(progress, stage)
            progress.stage, progress.round, progress.arrays, progress.memory = index + 1, 0, {}, {}
            self.vault.save(progress)
        return progress

    def _run_stage(self, progress: Progress, stage: Stage) -> None:
        begun = time.monotonic()
        inner = progress.models.get(stage.of)
        if progress.round == 0:
            progress.shared |= public_values(self.plan, stage, progress.shared, inner)
            progress.shared |= frozen(stage, self.initial)
            progress.numbers.setdefault("stages", []).append(self._entry(stage))
        entry = progress.numbers["stages"][-1]
        task = make(self.plan, stage, progress.shared, inner)
        if isinstance(task, Trained):
            self._train(progress, stage, task, entry)
        else:
            self._measure(progress, stage, task, entry, inner or {})
        entry["seconds"] += time.monotonic() - begun

    def _train(self, progress: Progress, stage: Stage, task: Trained, entry: dict[str, Any]) -> None:
        schema = schema_of(task, task.build())
        public = teachers(self.plan, stage, progress)
        if progress.round == 0:
            begin = start(self.plan, stage, task, self.initial, public)
            progress.arrays, progress.memory = begin.weights, {}
            if stage.initial:
                entry["initial"] = begin.taken
            if hasattr(task, "public_losses"):  # the curves of the plan's last GAN are kept
                progress.numbers["gan"] = {"critic": [], "generator": [], "diversity": [], "collapsed": []}
        for number in range(progress.round + 1, stage.rounds + 1):
            begun = time.monotonic()
            replies = self._round(progress, stage, number, progress.arrays, schema, entry)
            self._combine(progress, stage, task, replies, public, number)
            _note_losses(entry, replies, self._patients(stage), self._loss_noise(task, stage, replies))
            self._public_losses(progress, stage, task, number, entry)
            progress.round = number
            if number < stage.rounds:
                self.vault.save(progress)
            self.watcher.round_ends(stage, number, time.monotonic() - begun)
        progress.models[stage.name] = kept_weights(stage, progress.arrays, progress.memory)
        self.vault.keep_model(stage.name, progress.models[stage.name])

    def _combine(
        self,
        progress: Progress,
        stage: Stage,
        task: Trained,
        replies: Mapping[str, Reply],
        public: Sequence[PatientTensors],
        number: int,
    ) -> None:
        """Make the next weights of the sites' answers; what never travelled stays as it began."""
        patients, before = self._patients(stage), progress.arrays
        mean = mean_weights([reply.arrays for reply in replies.values()], [patients[name] for name in replies])
        progress.arrays = {**progress.arrays, **next_weights(stage, progress.arrays, mean, progress.memory)}
        if stage.public_steps:
            progress.arrays = public_steps(self.plan, stage, task, progress.arrays, public, number, progress.memory)
        self._keep_diverse(progress, stage, task, before, number)
        note_average(stage, progress.arrays, progress.memory)

    def _loss_noise(self, task: Trained, stage: Stage, replies: Mapping[str, Reply]) -> float:
        """Return the standard deviation of the noise in a round's pooled loss."""
        strength = Strength.of(self.plan, stage)
        patients = sum(self._patients(stage)[name] for name in replies)
        expected = max(stage.sample_rate * patients, 1.0)
        one_step = strength.noise_multiplier * task.loss_bound / LOSS_NORM / expected
        return one_step * math.sqrt(len(replies) / stage.steps)

    def _patients(self, stage: Stage) -> dict[str, int]:
        """Return how many patients of the stage's fold each site enrolled; what a later answer says does not count."""
        return {site.name: site.patients[stage.fold] for site in self.sites}

    def _measure(
        self, progress: Progress, stage: Stage, task: Measured, entry: dict[str, Any], arrays: Mapping[str, Tensor]
    ) -> None:
        patients, scanners = self._patients(stage), {site.name: site.scanners for site in self.sites}
        strength = Strength.of(self.plan, stage)
        noise_sd = strength.noise_multiplier * strength.clip if math.isfinite(strength.clip) else 0.0
        for number in range(progress.round + 1, stage.rounds + 1):
            begun = time.monotonic()
            replies = self._round(progress, stage, number, arrays, schema_of(task, None), entry)
            outcome = task.finish({n: Site(r.arrays, patients[n], scanners[n]) for n, r in replies.items()}, noise_sd)
            progress.shared |= {f"{stage.task}.{key}": value for key, value in outcome.common.items()}
            for name, values in outcome.own.items():
                own = progress.own.setdefault(name, {})
                own.update({f"{stage.task}.{key}": value for key, value in values.items()})
            _merge(progress.numbers, outcome.numbers)
            progress.round = number
            if number < stage.rounds:
                self.vault.save(progress)
                again = make(self.plan, stage, progress.shared, arrays or None)
                assert isinstance(again, Measured)
                task = again
            self.watcher.round_ends(stage, number, time.monotonic() - begun)
        if freezes(stage):
            begins = f"{stage.task}."
            shared = {k.removeprefix(begins): v for k, v in progress.shared.items() if k.startswith(begins)}
            self.vault.keep_model(stage.name, shared)

    def _round(
        self,
        progress: Progress,
        stage: Stage,
        number: int,
        arrays: Mapping[str, Tensor],
        schema: Schema,
        entry: dict[str, Any],
    ) -> dict[str, Reply]:
        """Return the usable answers of one round; a site that refused the stage is not asked again."""
        asked = [site for site in self.sites if site.name not in entry["refused"]]
        shared = {site.name: {**progress.shared, **progress.own.get(site.name, {})} for site in asked}
        replies = ask_stage(self.grid, asked, self.plan, stage.name, number, arrays, shared, self.timeout_s)
        usable = {}
        for name, reply in replies.items():
            entry["asked"][name] = entry["asked"].get(name, 0) + 1
            code = reply.code or _fault(reply, schema)
            if code:
                entry["refused"][name] = code
                continue
            usable[name] = reply
            entry["answered"][name] = entry["answered"].get(name, 0) + 1
            sent = sum(value.numel() * value.element_size() for value in reply.arrays.values()) + 8 * len(reply.numbers)
            entry["bytes"][name] = entry["bytes"].get(name, 0) + sent
        if not usable:
            codes = ", ".join(sorted(set(entry["refused"].values())))
            raise FedspineError(
                f"a stage must be answered by a site; stage '{stage.name}' was not ({codes}); see errors.jsonl."
            )
        return usable

    def _keep_diverse(
        self, progress: Progress, stage: Stage, task: Trained, before: Mapping[str, Tensor], number: int
    ) -> None:
        """Note how diverse made images are, and go back to the last good generator where it has collapsed."""
        found = checked(
            task, before, progress.arrays, public_generator(self.plan.seed, "diversity", stage.name, number)
        )
        if found is None:
            return
        progress.arrays = found.weights
        notes = progress.numbers["gan"]
        notes["diversity"].append(found.diversity)
        if found.collapsed:
            notes["collapsed"].append(number)

    def _public_losses(
        self, progress: Progress, stage: Stage, task: Trained, number: int, entry: dict[str, Any]
    ) -> None:
        """Add a point to the GAN's two curves: the released loss on real images, and what no patient enters."""
        if not hasattr(task, "public_losses"):
            return
        model = task.build()
        model.load_state_dict(progress.arrays)
        parts = task.public_losses(model, public_generator(self.plan.seed, "curve", stage.name, number))
        curves = progress.numbers["gan"]
        curves["critic"].append(entry["loss"]["pooled"][-1] + parts["critic on made images"])
        curves["generator"].append(parts["generator"])

    def _entry(self, stage: Stage) -> dict[str, Any]:
        return {
            "name": stage.name,
            "task": stage.task,
            "of": stage.of,
            "fold": stage.fold,
            "rounds": stage.rounds,
            "steps": stage.steps,
            "sample_rate": stage.sample_rate,
            "noise_multiplier": stage.noise_multiplier,
            "clip": stage.clip,
            "seconds": 0.0,
            "bytes": {},
            "asked": {},
            "answered": {},
            "refused": {},
            "loss": {},
        }


def _fault(reply: Reply, schema: Schema) -> str:
    """Return why an answer cannot be used: a site's message is untrusted input too."""
    try:
        check(reply.arrays, schema)
    except EgressBlocked:
        return "unreadable"
    return "" if all(math.isfinite(value) for value in reply.numbers.values()) else "unreadable"


def _note_losses(
    entry: dict[str, Any], replies: Mapping[str, Reply], patients: Mapping[str, int], noise: float
) -> None:
    """Add a round's released losses to the stage's curves; a site without one leaves no point."""
    curves = entry["loss"] or {"pooled": [], "sites": {}, "noise": noise}
    losses = {name: reply.numbers["loss"] for name, reply in replies.items() if "loss" in reply.numbers}
    total = sum(patients[name] for name in losses)
    curves["pooled"].append(sum(loss * patients[name] for name, loss in losses.items()) / total if total else 0.0)
    for name, loss in losses.items():
        curves["sites"].setdefault(name, []).append(loss)
    entry["loss"] = curves


def _merge(numbers: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        numbers[key] = {**numbers.get(key, {}), **value} if isinstance(value, dict) else value

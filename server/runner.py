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
from fedspine.errors import FedspineError
from fedspine.privacy.patient_sum import public_generator
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.secure.encoding import split
from fedspine.tasks._combine import kept_weights, mean_weights, next_weights, note_average
from fedspine.tasks._rounds import Strength
from fedspine.tasks._task import TOGETHER, Measured, Site, Trained, freezes, make, public_values
from fedspine.tasks._together import is_one_sum, step_together, zeros_of
from fedspine.wire import SECURE, Schema, schema_of
from server.answers import count_rounds, usable
from server.collapse import checked
from server.notes import entry_of, merge, note_gan, note_loss, note_losses
from server.sites import Enrolled, Reply, ask_stage
from server.starting import frozen, public_steps, start, teachers
from server.together import Sum, Total
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
            progress.numbers.setdefault("stages", []).append(entry_of(stage))
        entry = progress.numbers["stages"][-1]
        task = make(self.plan, stage, progress.shared, inner)
        entry["sums"] = SECURE if is_one_sum(self.plan, stage, task) else "own"
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
                progress.numbers["gan"] = {"critic": [], "generator": []}
        for number in range(progress.round + 1, stage.rounds + 1):
            begun = time.monotonic()
            if entry["sums"] == SECURE:
                self._step_together(progress, stage, task, public, number, entry)
            else:
                replies = self._round(progress, stage, number, progress.arrays, schema, entry)
                patients = self._patients(stage)
                mean = mean_weights([reply.arrays for reply in replies.values()], [patients[name] for name in replies])
                self._combine(progress, stage, task, mean, public, number)
                note_losses(entry, replies, patients, self._loss_noise(task, stage, replies))
            if hasattr(task, "public_losses"):
                draws = public_generator(self.plan.seed, "curve", stage.name, number)
                note_gan(progress, task, entry, draws)
            progress.round = number
            if number < stage.rounds:
                self.vault.save(progress)
            self.watcher.round_ends(stage, number, time.monotonic() - begun)
        progress.models[stage.name] = kept_weights(stage, progress.arrays, progress.memory)
        self.vault.keep_model(stage.name, progress.models[stage.name])

    def _step_together(
        self,
        progress: Progress,
        stage: Stage,
        task: Trained,
        public: Sequence[PatientTensors],
        number: int,
        entry: dict[str, Any],
    ) -> None:
        """Take the one step of a round that all sites' patients take together, from the sum of their gradients."""
        zeros = zeros_of(task, task.build())
        total = self._sum(progress, stage, number, progress.arrays, zeros, entry)
        expected = stage.sample_rate * sum(site.patients[stage.fold] for site in total.sites)
        gradients = list(split(total.entries, zeros).values())
        stepped, loss = step_together(
            task, self.plan, stage, progress.arrays, gradients, expected, number, progress.memory
        )
        self._combine(progress, stage, task, stepped, public, number)
        noise = total.noise_sd / stage.clip * task.loss_bound / LOSS_NORM / max(expected, 1.0)
        note_loss(entry, loss, noise)

    def _sum(
        self,
        progress: Progress,
        stage: Stage,
        number: int,
        arrays: Mapping[str, Tensor],
        zeros: Mapping[str, Tensor],
        entry: dict[str, Any],
    ) -> Total:
        """Return a round's secure sum of vectors like `zeros`."""
        dimension = sum(value.numel() for value in zeros.values())
        shared, entry["dimension"] = self._shared(progress), dimension
        asked = Sum(self.grid, self.plan, stage, number, dimension, arrays, shared, self.timeout_s)
        return asked.over(self.sites, entry)

    def _combine(
        self,
        progress: Progress,
        stage: Stage,
        task: Trained,
        mean: Mapping[str, Tensor],
        public: Sequence[PatientTensors],
        number: int,
    ) -> None:
        """Make the next weights of the sites' mean; what never travelled stays as it began."""
        before = progress.arrays
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
        for number in range(progress.round + 1, stage.rounds + 1):
            begun = time.monotonic()
            outcome = task.finish(*self._measured(progress, stage, number, task, arrays, entry))
            progress.shared |= {f"{stage.task}.{key}": value for key, value in outcome.common.items()}
            for name, values in outcome.own.items():
                own = progress.own.setdefault(name, {})
                own.update({f"{stage.task}.{key}": value for key, value in values.items()})
            merge(progress.numbers, outcome.numbers)
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

    def _measured(
        self,
        progress: Progress,
        stage: Stage,
        number: int,
        task: Measured,
        arrays: Mapping[str, Tensor],
        entry: dict[str, Any],
    ) -> tuple[dict[str, Site], float]:
        """Return a round's released sums, of each site or of all together, and the noise of an entry."""
        if entry["sums"] == SECURE:
            zeros = task.zeros()
            total = self._sum(progress, stage, number, arrays, zeros, entry)
            patients = sum(site.patients[stage.fold] for site in total.sites)
            scanners = tuple(map(sum, zip(*(site.scanners for site in total.sites), strict=True)))
            return {TOGETHER: Site(split(total.entries, zeros), patients, scanners)}, total.noise_sd
        replies = self._round(progress, stage, number, arrays, schema_of(task, None), entry)
        known, strength = {site.name: site for site in self.sites}, Strength.of(self.plan, stage)
        noise_sd = strength.noise_multiplier * strength.clip if math.isfinite(strength.clip) else 0.0
        return {
            name: Site(reply.arrays, known[name].patients[stage.fold], known[name].scanners)
            for name, reply in replies.items()
        }, noise_sd

    def _shared(self, progress: Progress) -> dict[str, dict[str, Tensor]]:
        """Return the released and public values that each site is sent."""
        return {site.name: {**progress.shared, **progress.own.get(site.name, {})} for site in self.sites}

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
        shared = self._shared(progress)
        replies = ask_stage(self.grid, asked, self.plan, stage.name, number, arrays, shared, self.timeout_s)
        kept = usable(replies, schema, entry)
        count_rounds(entry, replies, kept)
        if not kept:
            codes = ", ".join(sorted(set(entry["refused"].values())))
            raise FedspineError(
                f"a stage must be answered by a site; stage '{stage.name}' was not ({codes}); see errors.jsonl."
            )
        return kept

    def _keep_diverse(
        self, progress: Progress, stage: Stage, task: Trained, before: Mapping[str, Tensor], number: int
    ) -> None:
        """Note how diverse made images are, and go back to what made the last good ones where it has collapsed."""
        found = checked(
            task, before, progress.arrays, public_generator(self.plan.seed, "diversity", stage.name, number)
        )
        if found is None:
            return
        progress.arrays = found.weights
        entry = progress.numbers["stages"][-1]
        entry.setdefault("diversity", []).append(found.diversity)
        entry.setdefault("collapsed", []).extend([number] if found.collapsed else [])

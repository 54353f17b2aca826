"""How an arm is trained: the same number of steps for all, which some arms begin on made patients.

Every arm takes `STEPS` optimiser steps. One with made patients (or phantoms) takes `FIRST` of them on those, at the
server and once for all sites, as pre-training; the rest, and all steps of the other arms, are rounds on the arm's own
patients. So budgets are equal, and what differs is what a step sees. The generator is trained on the same training
patients under the same regime and, with privacy, out of the same epsilon: noise is solved for generator and network
together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.privacy.calibrate import calibrate
from fedspine.privacy.patient_sum import public_generator
from fedspine.tasks._federation import Weights, start, train
from fedspine.tasks._slices import stacked
from fedspine.tasks._task import Generative, Rated, Trained, make, public_values
from simulations.gan_against_traditional.cells import CONTROL, TASKS, Cell
from simulations.gan_against_traditional.data import StudySite

STEPS, FIRST, ROUND = 2000, 1000, 20
"""Of every arm; those that an arm with made patients takes on them, first; those of a round."""

AT_ONCE = 1
"""Patients a step and site, expected, on average over sites; at most half of everybody."""

MADE, SLICES = 400, 4
"""Made patients, or phantoms, that the first steps draw from, and slices of a patient, real or made, in a step."""

RATE, BEGUN = 5e-3, 2e-3
"""Learning rates: of arms that only see patients; of steps on made patients and of those that follow them. Both were
tried in `traditional` and in `both`, on gliomas with seed 0; each of the two does best with its own."""

UNET = {
    "features": [16, 32, 64, 64],
    "unshuffle": 2,
    "dropped": 0.0,
    "sampled_slices": SLICES,
    "precision": "bfloat16",
}
"""Quick for its size: see decision 16."""

DELTA = 1e-5
WITH_MADE, CONTROLS = tuple(CONTROL), tuple(CONTROL.values())
FED = (*WITH_MADE, *CONTROLS)
VARIED = ("traditional", "both", "phantoms + traditional")

Scores = dict[str, dict[str, list[float]]]
Sites = Sequence[Sequence[PatientTensors]]


@dataclass
class Study:
    """What all cells of a study share, and what they need not make twice.

    Args:
        plan: contrasts, classes and grid; every cell has its own seed.
        sites: the hospitals.
        generator: stage that makes patients.
    """

    plan: Plan
    sites: tuple[StudySite, ...]
    generator: Stage
    _begun: dict[str, Weights] = field(default_factory=dict)
    _made: dict[str, list[PatientTensors]] = field(default_factory=dict)

    def run(self, cell: Cell) -> Scores:
        """Return the scores of everybody who is tested.

        Pooled training holds all patients in one list, and a step sees as many of them as a federated one sees at all
        sites together; local training is one network a site, tested on everybody's.
        """
        chosen = [[site.patients[i] for i in site.some(cell.amount or None, cell.seed)] for site in self.sites]
        everybody = [one for patients in chosen for one in patients]
        if cell.regime != "local":
            lists = chosen if cell.regime == "federated" else [everybody]
            return self._scores(cell, lists, len(everybody) / len(chosen), "")
        found: Scores = {}
        for site, patients in zip(self.sites, chosen, strict=True):
            found |= self._scores(cell, [patients], len(patients), f" by {site.name}")
        return found

    def _scores(self, cell: Cell, sites: Sites, at_a_site: float, mark: str) -> Scores:
        plan = self._priced(cell, at_a_site)
        stage = plan.find(cell.task)
        task = make(plan, stage, {})
        assert isinstance(task, Trained)
        assert isinstance(task, Rated)
        public = self._public(plan, cell, sites, mark) if cell.arm in FED else ()
        public = stacked(public, SLICES, by_class=cell.task == "classify")
        model = train(task, plan, stage, sites, start(task, stage, public, cell.seed), seed=cell.seed).eval()
        found: dict[str, list[float]] = {}
        for site in self.sites:
            trained = site.some(cell.amount or None, cell.seed)
            values = [None if i in trained else task.score(model, one) for i, one in enumerate(site.patients)]
            found[site.name] = [math.nan if value is None else value for value in values]
        return {TASKS[cell.task] + mark: found}

    def _priced(self, cell: Cell, patients: float) -> Plan:
        """Return the cell's plan: the network's stage, after the generator's where the arm has one, noise solved."""
        rate = min(0.5, AT_ONCE / patients)
        generator = (replace(self.generator, sample_rate=rate),) if cell.arm in WITH_MADE else ()
        privacy = PrivacyPlan("gaussian" if cell.epsilon else "none", cell.epsilon or 1.0, DELTA)
        return calibrate(
            replace(self.plan, seed=cell.seed, privacy=privacy, stage=(*generator, network_stage(cell, rate)))
        )

    def _public(self, plan: Plan, cell: Cell, sites: Sites, mark: str) -> list[PatientTensors]:
        """Return what the first steps see: what the generator makes, or the phantoms that it was pre-trained on."""
        if cell.arm in CONTROLS:
            return phantoms(_thin(plan), MADE, purpose=1)
        stage = plan.find(self.generator.name)
        key = f"{cell.seed} {cell.amount} {cell.regime}{mark} {stage}"
        if key not in self._made:
            self._made.clear()
            self._made[key] = self._generated(plan, stage, sites)
        return self._made[key]

    def _generated(self, plan: Plan, stage: Stage, sites: Sites) -> list[PatientTensors]:
        task = make(plan, stage, public_values(plan, stage, {}))
        assert isinstance(task, Trained)
        assert isinstance(task, Generative)
        model: nn.Module = train(task, plan, stage, sites, self._start(plan, stage, task), seed=plan.seed)
        with torch.no_grad():
            return task.synthetic(model, MADE * SLICES, public_generator(plan.seed, "made"))

    def _start(self, plan: Plan, stage: Stage, task: Trained) -> Weights:
        """Return the generator's weights before it sees a patient: of a seed the same for every arm and amount."""
        key = f"{plan.seed}"
        if key not in self._begun:
            self._begun.clear()
            self._begun[key] = start(task, stage, phantoms(_thin(plan), MADE, purpose=1), plan.seed)
        return self._begun[key]


def _thin(plan: Plan) -> Plan:
    """Return the plan for phantoms of as many slices as a step takes of a patient."""
    return replace(plan, data=replace(plan.data, slices=SLICES))


def network_stage(cell: Cell, rate: float) -> Stage:
    """Return the stage that trains the cell's network; all arms share its rates, which no test patient chose."""
    first = FIRST if cell.arm in FED else 0
    return Stage(
        cell.task,
        cell.task,
        rounds=max((STEPS - first) // ROUND, 1),
        steps=ROUND,
        pretrain_steps=first,
        pretrain_rate=BEGUN,
        sample_rate=rate,
        learning_rate=BEGUN if first else RATE,
        schedule="cosine",
        trained="all",
        augment="traditional" if cell.arm in VARIED else "none",
        options=UNET if cell.task == "segment" else {},
    )

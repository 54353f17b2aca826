"""`align`: what every scanner's images look like in the sum, so that each hospital can re-express its own on another.

A patient's term is `harmony.scanner_sum.centred_term` in the row of the patient's scanner: how bright each contrast is,
where, and how wavy, as a distance from public phantoms. What follows from the released sum is arithmetic on public
phantoms (`harmony.alignment`) and is done at the hospital, which knows its protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn

from fedspine.atlas.rescanned import scanner_name
from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage, demand
from fedspine.harmony.alignment import Public, public_centre, public_material
from fedspine.harmony.fields import roles
from fedspine.harmony.scanner_sum import centred_term
from fedspine.phantom.scanner import EVERY_CONTRAST, SCANNERS
from fedspine.strict import build
from fedspine.tasks._scanners import of_scanner
from fedspine.tasks._task import Outcome, Shared, Site, need

MEASURES = ()

PARTS = ("histogram", "profile", "ripple")


@dataclass(frozen=True)
class Options:
    """Settings of the stage: on which public scanner images are re-expressed, as `rescanned.scanner_name` calls it."""

    reference: str = "Aera 1.5 T"


@dataclass(frozen=True, eq=False)
class Align:
    """The task; see `Measured` in `_task`.

    Args:
        part: (2, contrast), see `harmony.fields.roles`.
        centre: the phantoms' mean summary.
    """

    part: Tensor = field(repr=False)
    centre: Mapping[str, Tensor] = field(repr=False)

    def zeros(self) -> dict[str, Tensor]:
        """Return the parts of a summary for every scanner, (scanner, …)."""
        return {part: torch.zeros(MOST_SCANNERS, *self.centre[part].shape) for part in PARTS}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's summary in the row of its scanner: of norm at most 1, from the patient alone."""
        if patient.batch < 0:
            return None
        own = centred_term(patient.images, patient.present, self.part, self.centre)
        return of_scanner(self.zeros(), patient.batch, own)

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return to each site the sums of its own scanners, and the noise in them."""
        own = {
            name: {**{part: site.sums[part] for part in PARTS}, "patients": torch.tensor(site.scanners).float()}
            for name, site in sites.items()
        }
        return Outcome(common={"noise": torch.tensor(noise_sd)}, own=own)


def material(plan: Plan) -> Public:
    """Return the public phantoms that maps are fitted to, at the server and at hospitals."""
    stage = next(stage for stage in plan.stage if stage.task == "align")
    return _material(plan.data, _reference(stage), plan.seed)


@lru_cache(maxsize=2)
def _material(data: DataPlan, reference: int, seed: int) -> Public:
    return public_material(data, SCANNERS[reference], seed)


def _reference(stage: Stage) -> int:
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    names = [scanner_name(scanner) for scanner in SCANNERS]
    rule = f"reference of stage '{stage.name}' must be a public scanner"
    demand(options.reference in names, rule, f"'{options.reference}'", f"use one of: {', '.join(names)}")
    return names.index(options.reference)


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the phantoms' mean summary on the reference scanner."""
    return {f"align.centre_{part}": value for part, value in public_centre(material(plan)).items()}


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Align:
    """Return the task of `stage`."""
    check(plan, stage)
    centre = {part: need(shared, f"align.centre_{part}") for part in PARTS}
    return Align(roles(plan.data.contrasts), centre)


def check(plan: Plan, stage: Stage) -> None:
    """Say what a stage cannot be."""
    _reference(stage)
    fits = plan.data.body == "spine" and set(plan.data.contrasts) <= set(EVERY_CONTRAST)
    rule = f"stage '{stage.name}' knows spines and the contrasts {', '.join(EVERY_CONTRAST)}"
    demand(fits, rule, "others", "leave the stage out")

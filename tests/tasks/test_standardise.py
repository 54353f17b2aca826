"""One scale for all: columns, intensities of every scanner, acquisition settings; from sums."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedspine.cohort.patient import Scanner
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, PrivacyPlan, Stage
from fedspine.errors import ConfigError
from fedspine.harmony.acquisition import ACQUISITION, CENTRES, SPREADS
from fedspine.harmony.apply import harmonised
from fedspine.harmony.landmarks import BINS, histogram_term
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured, Site, make

CONTRASTS = ("T1", "ADC")
OPTIONS = {"landmarks": 0.5, "acquisition": 0.3}


def _plan(options: dict[str, float]) -> Plan:
    stage = Stage("standardise", "standardise", options=options)
    return Plan("p", data=DataPlan(contrasts=CONTRASTS, size=32), privacy=PrivacyPlan("none"), stage=(stage,))


def _patient(seed: int, batch: int, gain: float, echo_ms: float) -> PatientTensors:
    random = np.random.default_rng(seed)
    body = torch.from_numpy(random.beta(2, 3, (3, 2, 32, 32))).float() + 0.1
    images = body.clone()
    images[:, 0] = (gain * body[:, 0] ** 1.5).clamp(max=1.5)
    images[:, :, :4] = 0
    scanner = Scanner("Siemens", "Aera", 3.0, echo_time_ms=echo_ms, repetition_time_ms=500.0)
    nothing = torch.zeros(0)
    patient = PatientTensors(images, torch.ones(2), None, -1, nothing, nothing, scanners=(scanner, scanner))
    return replace(patient, batch=batch)


def _shared() -> dict[str, Tensor]:
    size = 4 * len(CONTRASTS) + 5
    flat = torch.full((len(CONTRASTS), BINS), 1 / BINS)
    return {"prior.mean": torch.zeros(size), "prior.deviation": torch.ones(size), "prior.histogram": flat}


def _finished(plan: Plan, sites: dict[str, list[PatientTensors]]) -> dict[str, dict[str, Tensor]]:
    task = make(plan, plan.stage[0], _shared())
    assert isinstance(task, Measured)
    released = {}
    for name, patients in sites.items():
        sums = measure(task, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
        counts = tuple(sum(one.batch == number for one in patients) for number in range(4))
        released[name] = Site(sums, len(patients), counts)
    outcome = task.finish(released, 0.0)
    common = {f"standardise.{key}": value for key, value in outcome.common.items()}
    return {
        name: {**common, **{f"standardise.{key}": value for key, value in outcome.own.get(name, {}).items()}}
        for name in sites
    }


def test_landmarks_carry_a_scanners_intensities_to_the_shared_scale_and_leave_the_adc() -> None:
    one = [_patient(seed, 0, 0.7, 10.0) for seed in range(20)]
    two = [_patient(seed, seed % 2, 1.3, 30.0) for seed in range(20, 40)]
    held = _finished(_plan(OPTIONS), {"one": one, "two": two})
    before, after = ([histogram_term(p.images, p.present)[0] for p in side] for side in (one[:5], two[:5]))
    moved = [harmonised(p, held["one"]) for p in one[:5]], [harmonised(p, held["two"]) for p in two[:5]]
    aligned = [torch.stack([histogram_term(p.images, p.present)[0] for p in side]).mean(0) for side in moved]
    apart = (torch.stack(before).mean(0).cumsum(0) - torch.stack(after).mean(0).cumsum(0)).abs().max()
    assert (aligned[0].cumsum(0) - aligned[1].cumsum(0)).abs().max() < 0.25 * apart
    assert torch.equal(moved[0][0].images[:, 1], one[0].images[:, 1])
    assert not moved[0][0].images[:, :, :4].any()
    free = held["one"]["standardise.landmarks"][2]
    assert torch.equal(free, held["one"]["standardise.target"])  # nobody lay on the third scanner


def test_settings_get_one_scale_for_all_hospitals() -> None:
    sites = {
        "one": [_patient(s, 0, 1.0, 10.0) for s in range(30)],
        "two": [_patient(s, 0, 1.0, 90.0) for s in range(30)],
    }
    held = _finished(_plan(OPTIONS), sites)["one"]
    echo = ACQUISITION.index("log TE")
    found = float(held["standardise.settings_mean"][0, echo]) * SPREADS["log TE"] + CENTRES["log TE"]
    assert math.exp(found) == pytest.approx(30.0, rel=0.05)  # the geometric mean of 10 and 90
    assert float(held["standardise.settings_deviation"][0, echo]) == pytest.approx(1.0, rel=0.1)


def test_a_plan_that_asks_for_neither_releases_neither() -> None:
    held = _finished(_plan({}), {"one": [_patient(s, 0, 1.0, 10.0) for s in range(4)]})["one"]
    assert set(held) == {"standardise.mean", "standardise.deviation"}
    patient = _patient(1, 0, 1.0, 10.0)
    assert harmonised(patient, held) is patient


def test_shares_must_leave_something_for_the_columns() -> None:
    plan = _plan({"landmarks": 0.8, "acquisition": 0.7})
    with pytest.raises(ConfigError, match=r"their squares under 1 together; found 0\.8, 0\.7"):
        make(plan, plan.stage[0], _shared())

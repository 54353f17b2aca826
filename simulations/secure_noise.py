"""How much noise is left in a shared result, each site with its own against shares of one, at the same epsilon.

Run: `python -m simulations.secure_noise`. Phantoms stand for patients; `standardise` finds the shared scale of their
features and omics, over and over with fresh noise. Told are root mean square errors of what it finds against what it
finds without noise, in phantoms' deviations: what the noise alone does.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, PrivacyPlan, Stage
from fedspine.plans.default import phantom_data
from fedspine.privacy.calibrate import calibrate
from fedspine.privacy.patient_sum import noise_generator
from fedspine.secure.encoding import decoded, split
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import TOGETHER, Measured, Site, make, public_values
from fedspine.tasks._together import share_of_terms

PATIENTS, SITES, EPSILONS, REPEATS = 25, (4, 8, 16), (0.5, 2.0), 20
COLLUDING = 1


def errors(sites: Sequence[Sequence[PatientTensors]], epsilon: float, data: DataPlan) -> dict[str, float]:
    """Return the error of the shared means at `epsilon`, for `own` and `secure` sums."""
    found = {}
    for sums in ("own", "secure"):
        privacy = PrivacyPlan(epsilon=epsilon, sums=sums, colluding=COLLUDING)
        plan = calibrate(Plan("noise", data=data, privacy=privacy, stage=(Stage("standardise", "standardise"),)))
        shared = public_values(plan, plan.stage[0], {})
        task = make(plan, plan.stage[0], shared)
        assert isinstance(task, Measured)
        exact = _own(task, sites, Strength(math.inf, 0.0), 0)["mean"]
        strength = Strength.of(plan, plan.stage[0])
        draw = _own if sums == "own" else _together
        gaps = [
            (draw(task, sites, strength, 1 + i)["mean"] - exact) / shared["prior.deviation"] for i in range(REPEATS)
        ]
        found[sums] = float(torch.stack(gaps).square().mean().sqrt())
    return found


def _own(
    task: Measured, sites: Sequence[Sequence[PatientTensors]], strength: Strength, seed: int
) -> Mapping[str, Tensor]:
    sums = {
        f"site-{i}": Site(measure(task, members, strength, noise_generator(seed, i)), len(members))
        for i, members in enumerate(sites)
    }
    return task.finish(sums, strength.noise_multiplier).common


def _together(
    task: Measured, sites: Sequence[Sequence[PatientTensors]], strength: Strength, seed: int
) -> Mapping[str, Tensor]:
    parts = len(sites) - COLLUDING
    shares = [share_of_terms(task, one, strength, parts, noise_generator(seed, i)) for i, one in enumerate(sites)]
    total = split(decoded(np.sum(shares, axis=0), strength.clip), task.zeros())
    noise_sd = strength.noise_multiplier * math.sqrt(len(sites) / parts)
    return task.finish({TOGETHER: Site(total, sum(map(len, sites)))}, noise_sd).common


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data = replace(phantom_data(DataPlan()), size=32, slices=2)
    plan = Plan("patients", seed=7, data=data, stage=(Stage("standardise", "standardise"),))
    people = phantoms(plan, PATIENTS * max(SITES), purpose=9)
    lines = ["| sites | epsilon | error, own noise | error, secure | own over secure |", "|---|---|---|---|---|"]
    for count in SITES:
        sites = [people[i * PATIENTS : (i + 1) * PATIENTS] for i in range(count)]
        for epsilon in EPSILONS:
            one = errors(sites, epsilon, data)
            ratio = one["own"] / one["secure"]
            lines.append(f"| {count} | {epsilon:g} | {one['own']:.4f} | {one['secure']:.4f} | {ratio:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

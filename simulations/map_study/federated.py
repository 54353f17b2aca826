"""The product's path over sites that each add their own noise: components, anchors, map, tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fedspine.atlas import private_anchors, shared_map
from fedspine.atlas.placing import Placed, place
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.privacy.accounting import epsilon_rdp
from fedspine.privacy.calibrate import calibrate, stage_event
from fedspine.privacy.patient_sum import PatientSum, noise_generator
from simulations.map_study.cohort import SITES, Cohort
from simulations.map_study.principal import MOST, principal, project
from simulations.map_study.principal import term as product_term
from simulations.map_study.principal import zeros as product_zeros

Array = NDArray[np.float64]
Terms = Mapping[str, Array]

DELTA = 1e-4
ROUNDS = 5
COMPONENTS_SHARE = 0.4
"""Of the budget's variance, what goes to the components; the rest is split evenly over the rounds of anchors."""
TOKENS = 6


@dataclass(frozen=True)
class Budget:
    """Noise multipliers of one run.

    Args:
        components: of the only sum of products.
        anchors: of each round of anchors.
        epsilon: what both cost a patient at `DELTA`; infinity without noise.
    """

    components: float
    anchors: float
    epsilon: float


@dataclass(frozen=True, eq=False)
class Run:
    """What one run gave.

    Args:
        placed: every patient's place, found at its own site.
        latent: dimensions kept.
        anchors: that the map was made from.
        floats: released by a site: once for the components, and in each round of anchors.
    """

    placed: Placed
    latent: int
    anchors: int
    floats: tuple[int, int]


def budget(epsilon: float | None) -> Budget:
    """Return noise for `epsilon` in all, solved by the project's own accounting; `None` is no noise."""
    if epsilon is None:
        return Budget(0.0, 0.0, math.inf)
    # a stage's share is by its noise, not by its square: the accountant adds squares
    stages = (
        Stage(name="components", task="tokens", share=math.sqrt(COMPONENTS_SHARE)),
        Stage(name="anchors", task="tokens", rounds=ROUNDS, share=math.sqrt(1 - COMPONENTS_SHARE)),
    )
    plan = calibrate(Plan(name="map study", privacy=PrivacyPlan(epsilon=epsilon, delta=DELTA), stage=stages))
    first, second = (stage.noise_multiplier for stage in plan.stage)
    return Budget(first, second, epsilon_rdp([stage_event(stage) for stage in plan.stage], DELTA))


def run(cohort: Cohort, epsilon: float | None, seed: int) -> Run:
    """Return the map of `cohort` by sums alone."""
    noise, many = budget(epsilon), math.sqrt(SITES)
    patients, columns = cohort.rows.shape
    products = _summed(cohort, cohort.rows, product_zeros(columns), product_term, noise.components, seed, "products")
    directions = principal(products["products"], columns, patients, noise.components * many, MOST)
    latents = project(cohort.rows, directions)
    sd = noise.anchors * many
    count = private_anchors.suitable_count(patients, sd)
    start = private_anchors.grid(np.sqrt(directions.variance), count, seed)
    asked = private_anchors.query(start, own_spread=epsilon is None)
    for number in range(ROUNDS):
        zeros, term = private_anchors.zeros(asked), partial(private_anchors.term, asked=asked)
        sums = _summed(cohort, latents, zeros, term, noise.anchors, seed, number)
        if number < ROUNDS - 1:
            asked = private_anchors.advance(asked, sums, sd, seed + number)
    found = private_anchors.finish(asked, sums, sd)
    made = shared_map.fit(found, TOKENS, seed)
    floats = (_size(product_zeros(columns)), _size(zeros))
    return Run(place(latents, made), latents.shape[1], len(found.counts), floats)


def _summed(
    cohort: Cohort, rows: Array, zeros: Terms, term: Callable[[Array], Terms], noise: float, seed: int, purpose: object
) -> dict[str, Array]:
    """Return the sum over sites of what each releases, with its own noise, for its own patients."""
    total = {key: np.zeros_like(value) for key, value in zeros.items()}
    for site in range(SITES):
        summed = PatientSum([torch.from_numpy(value) for value in zeros.values()], clip=1.0)
        for row in rows[cohort.sites == site]:
            summed.add([torch.from_numpy(value) for value in term(row).values()])
        released = summed.release(noise, noise_generator(seed, "map study", site, purpose))
        for key, value in zip(total, released, strict=True):
            total[key] += value.numpy()
    return total


def _size(zeros: Terms) -> int:
    return sum(value.size for value in zeros.values())

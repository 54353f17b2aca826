"""Solve a plan's noise from its epsilon, and price a plan; both without any patient.

The cost of a stage depends on its noise, sampling rate and number of steps alone, all of which stand in the plan. So a
plan has the same price at every site, known before it starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from fedspine.config import Plan, Stage
from fedspine.errors import ConfigError
from fedspine.privacy.accounting import SKELLAM, Event, epsilon_rdp
from fedspine.privacy.integer_sum import DEAREST, steps_for


def stage_event(stage: Stage, sums: str = "own") -> Event:
    """Return everything that `stage` releases over all its rounds.

    Under `sums = "secure"` it is the dearest that a stage can be, whether it turns out to be a secure sum or not, and
    over however many entries: 0.1 % above the price of Gaussian noise.
    """
    sigma, rate, count = stage.noise_multiplier, stage.sample_rate, stage.rounds * stage.steps
    if sums == "own":
        return Event(sigma, rate, count)
    return Event(sigma, rate, count, SKELLAM, DEAREST, steps_for(DEAREST))


def plan_events(plan: Plan, fold: str) -> list[Event]:
    """Return everything that the whole plan releases of a patient of `fold`, in the order of its stages."""
    return [stage_event(s, plan.privacy.sums) for s in plan.stage if s.fold == fold]


def plan_epsilon(plan: Plan, fold: str, accountant: Callable[[list[Event], float], float] = epsilon_rdp) -> float:
    """Return what the whole plan costs a patient of `fold` at the plan's delta."""
    return accountant(plan_events(plan, fold), plan.privacy.delta)


def calibrate(plan: Plan) -> Plan:
    """Return `plan` with every noise multiplier that was left at 0 solved for, so that each fold costs its epsilon.

    One factor λ per fold scales all open stages: σ = λ·q·√T / share, so that each contributes in proportion to its
    share (a stage's Gaussian-DP μ is about q·√T/σ). λ is found by bisection on the RDP epsilon of the whole fold.

    Raises:
        ConfigError: if the noise multipliers that are given already cost more than epsilon.
    """
    if plan.privacy.mechanism == "none":
        return plan
    for fold in ("train", "held-out"):
        plan = _calibrate_fold(plan, fold)
    return plan


def _calibrate_fold(plan: Plan, fold: str) -> Plan:
    target = plan.privacy.epsilon
    given = [s for s in plan.stage if s.fold == fold and s.noise_multiplier > 0]
    fixed = epsilon_rdp([stage_event(s, plan.privacy.sums) for s in given], plan.privacy.delta)
    remedy = "raise epsilon, or the noise, or lower rounds, steps or sample_rate"
    if fixed > target:
        raise ConfigError(f"the {fold} stages must cost at most epsilon {target:g}", f"{fixed:.3f}", remedy)
    if not any(s.fold == fold and s.noise_multiplier == 0 for s in plan.stage):
        return plan
    low, high = math.log(1e-2), math.log(1e5)
    if plan_epsilon(_scaled(plan, fold, math.exp(high)), fold) > target:
        raise ConfigError(
            f"the {fold} stages must cost at most epsilon {target:g}", f"over {fixed:.3f} before the rest", remedy
        )
    for _ in range(26):
        middle = (low + high) / 2
        too_dear = plan_epsilon(_scaled(plan, fold, math.exp(middle)), fold) > target
        low, high = (middle, high) if too_dear else (low, middle)
    return _scaled(plan, fold, math.exp(high))


def _scaled(plan: Plan, fold: str, factor: float) -> Plan:
    stages = tuple(
        replace(s, noise_multiplier=_noise(s, factor)) if s.fold == fold and s.noise_multiplier == 0 else s
        for s in plan.stage
    )
    return replace(plan, stage=stages)


def _noise(stage: Stage, factor: float) -> float:
    sigma = factor * stage.sample_rate * math.sqrt(stage.rounds * stage.steps) / stage.share
    return float(f"{max(sigma, 0.05):.4g}") if sigma < 1e4 else float(f"{sigma:.4g}")

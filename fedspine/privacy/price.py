"""What a plan costs a patient and what its noise does to the results: known before it starts, without any patient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import riskcal.analysis

from fedspine.config import HELD_OUT, TRAIN, Plan, Stage
from fedspine.privacy.accounting import GAUSSIAN, Event, epsilon_pld, loss_distribution, marginal_costs
from fedspine.privacy.calibrate import calibrate, plan_epsilon, plan_events, stage_event

FALSE_POSITIVES = 0.01
"""Rate at which an attack's true positives are stated: one stranger in a hundred taken for a patient."""


@dataclass(frozen=True)
class StagePrice:
    """One stage.

    Args:
        name: of the stage.
        fold: whose patients it reads.
        event: everything that it releases.
        epsilon: by itself, by PLD.
        noise_in_mean: standard deviation of the noise of an entry of the mean over a site's patients, all steps of the
            stage taken together, in units of the bound on a patient: σ/(q·√T·N).
    """

    name: str
    fold: str
    event: Event
    epsilon: float
    noise_in_mean: float


@dataclass(frozen=True)
class FoldPrice:
    """What a patient of one fold pays.

    Args:
        fold: `train` or `held-out`.
        patients: how many the site has there.
        pld: epsilon of all stages together, tight: what the plan claims.
        rdp: by Rényi accounting, what stops a site at run time.
        alone: sum of the stages' epsilons, each by itself.
        true_positives: the largest rate at which any attack can tell who took part, at `FALSE_POSITIVES`; `None` for
            secure sums, for which no privacy-loss distribution is known.
        accuracy: the largest balanced accuracy of any attack; a coin has 0.5.
    """

    fold: str
    patients: int
    pld: float
    rdp: float
    alone: float
    true_positives: float | None
    accuracy: float | None

    @property
    def saved(self) -> float:
        """By which share `pld` is lower than the sum of the stages' epsilons."""
        return 1 - self.pld / self.alone if self.alone else 0.0


@dataclass(frozen=True)
class Price:
    """What a plan costs at a site.

    Args:
        plan: with its noise solved for.
        patients: of the site.
        stages: in order.
        folds: those that any stage reads.
    """

    plan: Plan
    patients: int
    stages: tuple[StagePrice, ...]
    folds: tuple[FoldPrice, ...]

    @property
    def delta_too_large(self) -> bool:
        """Whether delta is one over the number of patients or more: then giving one patient away whole is allowed."""
        return self.plan.privacy.delta * self.patients >= 1


def price(plan: Plan, patients: int) -> Price:
    """Return what `plan`, noise left open solved for, costs at a site of so many `patients`.

    Raises:
        ConfigError: if the noise that the plan gives already costs more than its epsilon.
    """
    solved = calibrate(plan)
    if plan.privacy.mechanism == "none":  # whatever noise the plan names is not drawn
        solved = replace(solved, stage=tuple(replace(stage, noise_multiplier=0.0) for stage in solved.stage))
    counts = _counts(solved, patients)
    stages = tuple(_stage(solved, stage, counts[stage.fold]) for stage in solved.stage)
    folds = tuple(_fold(solved, fold, counts[fold], stages) for fold in counts if plan_events(solved, fold))
    return Price(solved, patients, stages, folds)


def _counts(plan: Plan, patients: int) -> dict[str, int]:
    """Return about how many patients each fold has; the split is by a hash, so the numbers are expectations."""
    held_out = round(patients * plan.data.held_out)
    return {TRAIN: patients - held_out, HELD_OUT: held_out}


def _stage(plan: Plan, stage: Stage, patients: int) -> StagePrice:
    event = stage_event(stage, plan.privacy.sums)
    epsilon = epsilon_pld([event], plan.privacy.delta)
    return StagePrice(stage.name, stage.fold, event, epsilon, noise_in_mean(event, patients))


def noise_in_mean(event: Event, patients: int) -> float:
    """Return σ/(q·√T·N), the noise of all steps together in the mean over `patients`, in units of the bound."""
    expected = event.sample_rate * patients
    return event.noise_multiplier / (expected * math.sqrt(event.count)) if expected else math.inf


def _fold(plan: Plan, fold: str, patients: int, stages: tuple[StagePrice, ...]) -> FoldPrice:
    events = plan_events(plan, fold)
    return FoldPrice(
        fold,
        patients,
        plan_epsilon(plan, fold, epsilon_pld),
        plan_epsilon(plan, fold),
        sum(stage.epsilon for stage in stages if stage.fold == fold),
        *_risks(events),
    )


def _risks(events: list[Event]) -> tuple[float | None, float | None]:
    """Return the largest true-positive rate and balanced accuracy of any membership attack (Kulynych et al. 2024)."""
    if any(event.mechanism != GAUSSIAN for event in events):
        return None, None
    if any(event.noise_multiplier == 0 for event in events):
        return 1.0, 1.0
    distribution = loss_distribution(events)
    missed = float(riskcal.analysis.get_beta_from_pld(distribution, alpha=FALSE_POSITIVES))
    advantage = float(riskcal.analysis.get_advantage_from_pld(distribution))
    return 1 - missed, (1 + advantage) / 2


def solved_for(plan: Plan, epsilon: float) -> Plan:
    """Return `plan` with that epsilon, and the noise of every stage solved anew, whatever it was."""
    opened = tuple(replace(stage, noise_multiplier=0.0) for stage in plan.stage)
    return calibrate(replace(plan, privacy=replace(plan.privacy, epsilon=epsilon), stage=opened))


def spoilt(plan: Plan, fold: str, entries: Mapping[str, int], patients: int) -> float:
    """Return the objective of `best_split`: the sum over a fold's stages of squared noise over squared signal.

    A stage that releases P entries in T steps has noise of norm √P·σC·√T, and a signal of at most q·N·C·T, if all
    patients say the same. So (√P·σ/(q·√T·N))² is the least relative squared error; every stage counts alike.
    """
    return sum(entries[s.name] * noise_in_mean(stage_event(s), patients) ** 2 for s in plan.stage if s.fold == fold)


def best_split(plan: Plan, entries: Mapping[str, int], rounds: int = 6) -> Plan:
    """Return `plan` with the `share`s that make `spoilt` least in each fold, and its noise solved for.

    Where all releases are of everybody, epsilon depends on Σ 1/σᵢ² alone, and Lagrange gives shares ∝ P^(1/4). Sampled
    releases differ a little: at the best split, what a stage's noise spoils over what less noise would cost, σᵢ²cᵢ over
    -∂ε/∂ln σᵢ, is the same for all stages. The shares are moved by the fourth root of this ratio until it is.

    Args:
        plan: its own shares and noise are left aside.
        entries: stage to the numbers that one release of it holds, P.
        rounds: of moving, at most; they begin within a few per cent.
    """
    share = {stage.name: entries[stage.name] ** 0.25 for stage in plan.stage}
    solved = solved_for(_shared(plan, share), plan.privacy.epsilon)
    for _ in range(rounds):
        for fold in (TRAIN, HELD_OUT):
            stages = [stage for stage in solved.stage if stage.fold == fold]
            if stages:
                costs = marginal_costs(plan_events(solved, fold), plan.privacy.delta)
                for stage, cost in zip(stages, costs, strict=True):
                    spoils = entries[stage.name] * noise_in_mean(stage_event(stage), 1) ** 2
                    share[stage.name] *= (spoils / cost) ** 0.25
        before, solved = solved, solved_for(_shared(plan, share), plan.privacy.epsilon)
        if solved == before:
            break
    return solved


def _shared(plan: Plan, share: Mapping[str, float]) -> Plan:
    """Return `plan` with these shares, the largest of each fold 1, to three digits."""
    largest = {
        fold: max((share[s.name] for s in plan.stage if s.fold == fold), default=1) for fold in (TRAIN, HELD_OUT)
    }
    return replace(
        plan,
        stage=tuple(replace(s, share=float(f"{share[s.name] / largest[s.fold]:.3g}")) for s in plan.stage),
    )

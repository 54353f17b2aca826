"""What a study found: tables of every arm, paired differences with their intervals, and plots; means only."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedspine.evaluation.bootstrap import Estimate, mean_interval
from fedspine.evaluation.comparison import Comparison, compare, corrected
from simulations.gan_against_traditional.cells import ARMS, CONTROL, TASKS, Cell, Result
from simulations.gan_against_traditional.plots import plot_amounts, plot_arms

AGAINST = "traditional"
Table = NDArray[np.float64]
Results = Mapping[Cell, Result]
Question = tuple[str, int, float, str]
"""Task, amount, epsilon, generator: what is asked of every arm."""


def scores(
    results: Results, question: Question, arm: str, regime: str, metric: str, seeds: Container[int] | None = None
) -> dict[str, Table]:
    """Return site to (seed, patient) scores of one arm: of `seeds`, or of all that were run, in ascending order."""
    found = [result for seed, result in _by_seed(results, question, arm, regime) if seeds is None or seed in seeds]
    sites = sorted(found[0].scores.get(metric, {})) if found else []
    return {site: np.array([result.scores[metric][site] for result in found], dtype=np.float64) for site in sites}


def _by_seed(results: Results, question: Question, arm: str, regime: str) -> list[tuple[int, Result]]:
    asked = ((cell, result) for cell, result in results.items() if _asks(cell, question))
    found = [(cell.seed, result) for cell, result in asked if (cell.arm, cell.regime) == (arm, regime)]
    return sorted(found, key=itemgetter(0))


def together(by_site: Mapping[str, Table]) -> Table:
    """Return (seed, patient) over all sites."""
    return np.concatenate(list(by_site.values()), axis=1) if by_site else np.zeros((0, 0))


def mean_of(table: Table) -> Estimate:
    """Return the mean over patients of their means over seeds, with its interval over patients."""
    if not table.size:
        return Estimate(math.nan, math.nan, math.nan)
    return mean_interval(np.nanmean(table[:, np.isfinite(table).any(axis=0)], axis=0))


def versus(results: Results, question: Question, arm: str, other: str = AGAINST) -> Comparison | None:
    """Return how much better the federated `arm` is than the `other`, over the seeds that both have."""
    first, second = ({seed for seed, _ in _by_seed(results, question, each, "federated")} for each in (arm, other))
    both, metric = first & second, TASKS[question[0]]
    pair = (together(scores(results, question, each, "federated", metric, both)) for each in (arm, other))
    return compare(*pair) if both else None


def best_local(
    results: Results, question: Question, arm: str, seeds: Container[int] | None = None
) -> tuple[str, Estimate] | None:
    """Return which hospital's own network does best on everybody's tested patients, and how well; see `scores`."""
    metric = f"{TASKS[question[0]]} by "
    found = [result for seed, result in _by_seed(results, question, arm, "local") if seeds is None or seed in seeds]
    if not found:
        return None
    names = [key.removeprefix(metric) for key in found[0].scores if key.startswith(metric)]
    means = {name: mean_of(together(scores(results, question, arm, "local", metric + name, seeds))) for name in names}
    best = max(means, key=lambda name: means[name].value)
    return best, means[best]


def write_report(results: Results, out: Path) -> Path:
    """Write `report.md` and its plots below `out`, and return the report's path."""
    questions = sorted({(c.task, c.amount, c.epsilon, c.generator) for c in results}, key=_order)
    parts = ["# GAN augmentation against ordinary augmentation\n", _reading()]
    for task in TASKS:
        asked = [question for question in questions if question[0] == task]
        if asked:
            parts += [f"\n## {task}: {TASKS[task]}\n", _arms_table(results, asked), _beside_table(results, asked)]
            parts.append(_sites_table(results, asked))
    parts.append(_plots(results, questions, out))
    file = out / "report.md"
    file.write_text("\n".join(parts), encoding="utf-8")
    return file


def _asks(cell: Cell, question: Question) -> bool:
    return (cell.task, cell.amount, cell.epsilon, cell.generator) == question


def _order(question: Question) -> tuple[str, str, float, float]:
    task, amount, epsilon, generator = question
    return task, generator, epsilon, amount or math.inf


def _reading() -> str:
    return (
        "Means over tested patients of their means over seeds, with 95 % intervals over patients. Differences are "
        "paired by patient and seed; their intervals and p draw patients and seeds anew, and p is corrected "
        "for a row's differences by Holm's method; of one seed they know nothing of others. Every arm takes the same "
        "optimiser steps. `phantoms` uses the generator's own teachers in its place: a control, without and with "
        "ordinary augmentation; the last two differences are what the generator adds to its teachers."
    )


def _arms_table(results: Results, questions: Iterable[Question]) -> str:
    others = [arm for arm in ARMS if arm != AGAINST]
    pairs = [(arm, AGAINST) for arm in others] + list(CONTROL.items())
    differences = " | ".join(f"{arm} - ({other})" if " " in other else f"{arm} - {other}" for arm, other in pairs)
    lines = [f"| generator | epsilon | real patients a site | seeds | {' | '.join(ARMS)} | {differences} |"]
    lines.append("|" + "---|" * (len(ARMS) + len(pairs) + 4))
    for question in questions:
        task, amount, epsilon, generator = question
        tables = {arm: together(scores(results, question, arm, "federated", TASKS[task])) for arm in ARMS}
        seeds = min((len(table) for table in tables.values() if len(table)), default=0)
        means = [_said(mean_of(tables[arm])) for arm in ARMS]
        gains = corrected({pair: found for pair in pairs if (found := versus(results, question, *pair)) is not None})
        compared = [_compared(gains.get(pair)) for pair in pairs]
        cells = [generator, _epsilon(epsilon), amount or "all", seeds, *means, *compared]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _beside_table(results: Results, questions: Iterable[Question]) -> str:
    """Return the three regimes side by side, over the seeds of which pooled training was run."""
    lines = ["\n| generator | epsilon | real patients a site | arm | pooled | best local | federated |"]
    lines.append("|" + "---|" * 7)
    for question in questions:
        task, amount, epsilon, generator = question
        for arm in ARMS:
            beside = {seed for seed, _ in _by_seed(results, question, arm, "pooled")}
            if not beside:
                continue
            pooled, federated = (
                _said(mean_of(together(scores(results, question, arm, regime, TASKS[task], beside))))
                for regime in ("pooled", "federated")
            )
            local = best_local(results, question, arm, beside)
            best = f"{_said(local[1])} ({local[0]})" if local else "-"
            row = [generator, _epsilon(epsilon), amount or "all", arm, pooled, best, federated]
            lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _sites_table(results: Results, questions: Sequence[Question]) -> str:
    metric = TASKS[questions[0][0]]
    found = [scores(results, question, arm, "federated", metric) for question in questions for arm in ARMS]
    names = sorted({site for by_site in found for site in by_site})
    lines = [f"\n| generator | epsilon | real patients a site | arm | {' | '.join(names)} | worst site |"]
    lines.append("|" + "---|" * (len(names) + 5))
    for question in questions:
        for arm in ARMS:
            means = {s: mean_of(t) for s, t in scores(results, question, arm, "federated", metric).items()}
            if means:
                worst = min(means, key=lambda name: means[name].value)
                row = [question[3], _epsilon(question[2]), question[1] or "all", arm]
                row += [f"{means[name].value:.3f}" for name in names]
                lines.append("| " + " | ".join(map(str, [*row, f"{means[worst].value:.3f} ({worst})"])) + " |")
    return "\n".join(lines)


def _plots(results: Results, questions: Sequence[Question], out: Path) -> str:
    said = []
    for task, generator in sorted({(question[0], question[3]) for question in questions}):
        asked = [question for question in questions if (question[0], question[3]) == (task, generator)]
        open_ones = [question for question in asked if not question[2]]
        if open_ones:
            curves = {
                arm: [(q[1], mean_of(together(scores(results, q, arm, "federated", TASKS[task])))) for q in open_ones]
                for arm in ARMS
            }
            name = f"{task}-{generator}-by-amount.svg"
            run = {arm: points for arm, points in curves.items() if any(math.isfinite(e.value) for _, e in points)}
            plot_amounts(run, TASKS[task], out / name)
            said.append(f"\n![{task} by amount of real data]({name})")
        gains = {
            f"{arm}, {q[1] or 'all'} a site{f', {_epsilon(q[2])}' if q[2] else ''}": found.difference
            for q in asked
            for arm in ARMS
            if arm != AGAINST
            if (found := versus(results, q, arm)) is not None
        }
        name = f"{task}-{generator}-differences.svg"
        plot_arms(gains, f"{TASKS[task]} - {AGAINST}", out / name)
        said.append(f"\n![{task}, each arm less {AGAINST}]({name})")
    return "\n".join(said) + "\n"


def _epsilon(value: float) -> str:
    return f"ε = {value:g}" if value else "none"


def _said(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})" if math.isfinite(estimate.value) else "-"


def _compared(found: Comparison | None) -> str:
    if found is None or not math.isfinite(found.difference.value):
        return "-"
    gain = found.difference
    return f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), p {_chance(found.adjusted_p)}"


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"

"""What the study runs: every arm of every question, a cell each, and a file of results that a rerun goes on from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

ARMS = ("none", "traditional", "gan", "both", "phantoms", "phantoms + traditional")
"""No augmentation; ordinary; made patients; both; and the phantoms that the generator learned from in the place of made
patients, without and with ordinary augmentation: the controls of the two before."""

CONTROL = {"gan": "phantoms", "both": "phantoms + traditional"}
"""An arm with made patients to the one that differs from it by the generator alone."""

REGIMES = ("federated", "pooled", "local")
TASKS = {"segment": "dice", "classify": "accuracy"}
"""Each task and its score, of one patient."""


@dataclass(frozen=True)
class Cell:
    """One training, or one a site where every hospital is by itself.

    Args:
        task: `"segment"` or `"classify"`.
        arm: one of `ARMS`.
        amount: real patients a site; 0 for all.
        epsilon: of each site; 0 without privacy.
        regime: one of `REGIMES`.
        generator: task that makes patients, whatever the arm, so that a file holds several studies.
        seed: of everything that is drawn.
    """

    task: str
    arm: str
    amount: int
    epsilon: float
    regime: str
    generator: str
    seed: int


@dataclass(frozen=True)
class Result:
    """A cell and how its tested patients fared.

    Args:
        cell: what was run.
        scores: metric to site to a value a patient, in the order of the site's list; NaN where undefined, and of those
            who trained. With `regime = "local"` the metric's name ends in the name of the site that trained.
        seconds: that it took.
    """

    cell: Cell
    scores: dict[str, dict[str, list[float]]]
    seconds: float


def cells(
    tasks: Sequence[str], amounts: Sequence[int], epsilons: Sequence[float], generator: str, seeds: Iterable[int]
) -> Iterator[Cell]:
    """Yield what is to be run: the federation under every amount and epsilon, and pooled and local training beside it
    at the amount and epsilon that come first. Arms and tasks that share a generator follow each other.
    """
    for seed, amount, epsilon in product(seeds, amounts, epsilons):
        beside = amount == amounts[0] and epsilon == epsilons[0]
        for regime, task, arm in product(REGIMES if beside else REGIMES[:1], tasks, ARMS):
            yield Cell(task, arm, amount, epsilon, regime, generator, seed)


def load_results(file: Path) -> dict[Cell, Result]:
    """Return what is in a file of results, none where there is no file; a line that was cut off is run again."""
    results: dict[Cell, Result] = {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else []:
        try:
            value: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        cell = Cell(**value["cell"])
        results[cell] = Result(cell, value["scores"], value["seconds"])
    return results


def add_result(file: Path, result: Result) -> None:
    """Write one more line, on a line of its own where the one before was cut off."""
    before = file.read_text("utf-8") if file.exists() else ""
    with file.open("a", encoding="utf-8") as lines:
        lines.write("\n" * bool(before and before[-1] != "\n") + json.dumps(asdict(result)) + "\n")

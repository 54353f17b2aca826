"""Measure the shared map against what users would pick, with and without privacy.

    python -m simulations.map_study --patients 1200 6000 --seeds 3

Patients are made (`cohort`), four sites have skewed case mixes. Epsilon is what components and all rounds of anchors
cost a patient together at delta 1e-4 by the project's accounting; every site adds its own noise. The mean over seeds is
printed with the lowest and the highest, and with it the numbers a site releases and the seconds a row took.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields

import numpy as np
import torch

from simulations.map_study.cohort import Cohort, draw
from simulations.map_study.federated import Run, budget, run
from simulations.map_study.lines import Map, averaged_network, centralised, per_site
from simulations.map_study.measures import Figures, figures

EPSILONS: tuple[float | None, ...] = (None, 8.0, 3.0, 1.0)


def _row(name: str, found: Sequence[Figures], seconds: float, note: str) -> str:
    values = np.array([astuple(one) for one in found])
    cells = [
        f"{mean:.3f} ({low:.3f}-{high:.3f})"
        for mean, low, high in zip(values.mean(0), values.min(0), values.max(0), strict=True)
    ]
    return "| " + " | ".join([name, *cells, f"{seconds / len(found):.1f}", note]) + " |"


def _note(runs: Sequence[Run]) -> str:
    latents, anchors = sorted({one.latent for one in runs}), sorted({one.anchors for one in runs})
    unlike = np.mean([one.placed.unlike.mean() for one in runs])
    once, each = runs[0].floats
    return f"{latents} dimensions, {anchors} anchors, {once} + {each} a round floats, unlike {unlike:.3f}"


def table(patients: int, seeds: Sequence[int]) -> None:
    """Print the rows for `patients` in all."""
    names = [one.name.replace("_", "-") for one in fields(Figures)]
    print(f"\n| N = {patients} | " + " | ".join([*names, "seconds", "note"]) + " |")
    print("|" + "---|" * (len(names) + 3), flush=True)
    cohorts = [draw(patients, seed) for seed in seeds]
    central: list[Map] = []
    lines: dict[str, Callable[[Cohort, int], Map]] = {
        "pooled UMAP": centralised,
        "UMAP per site": per_site,
        "FedAvg parametric UMAP": averaged_network,
    }
    for name, line in lines.items():
        begun = time.perf_counter()
        maps = [line(cohort, seed) for cohort, seed in zip(cohorts, seeds, strict=True)]
        seconds = time.perf_counter() - begun
        central = central or maps
        found = [figures(c, *one, pooled[1]) for c, one, pooled in zip(cohorts, maps, central, strict=True)]
        print(_row(name, found, seconds, ""), flush=True)
    for epsilon in EPSILONS:
        begun = time.perf_counter()
        runs = [run(cohort, epsilon, seed) for cohort, seed in zip(cohorts, seeds, strict=True)]
        seconds = time.perf_counter() - begun
        found = [
            figures(c, one.placed.places, one.placed.tokens, pooled[1])
            for c, one, pooled in zip(cohorts, runs, central, strict=True)
        ]
        name = "anchors, no noise" if epsilon is None else f"anchors, epsilon {budget(epsilon).epsilon:.2f}"
        print(_row(name, found, seconds, _note(runs)), flush=True)


def main() -> None:
    """Print one table for each number of patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[1200, 6000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for patients in options.patients:
        table(patients, range(options.first_seed, options.first_seed + options.seeds))


if __name__ == "__main__":
    main()

"""Does a GAN help more than ordinary augmentation? Every arm with the same steps on the same patients.

    python -m simulations.gan_against_traditional [--data SITES [--body brain]] [--out FOLDER]

`--data` is a folder of site folders; without it phantom hospitals are drawn. Results go to `OUT/results.jsonl`, a line
a cell: run it again, and it goes on where it stopped. In the end `OUT/report.md` and its plots are written. Scores of
real patients stay in OUT; only means over patients are in the report.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from fedspine.config import BODIES, DataPlan, Plan, Stage, check_plan
from fedspine.errors import InputError
from fedspine.plans.default import phantom_data
from simulations.gan_against_traditional.arms import (
    AT_ONCE,
    BEGUN,
    FIRST,
    MADE,
    RATE,
    ROUND,
    SLICES,
    STEPS,
    UNET,
    Study,
)
from simulations.gan_against_traditional.cells import REGIMES, TASKS, Result, add_result, cells, load_results
from simulations.gan_against_traditional.data import LEVELS, drawn_sites, load_sites
from simulations.gan_against_traditional.summary import write_report
from simulations.loop import same_recipe

GENERATORS = ("phantom_gan", "dcgan", "wgan_gp", "conditional_gan", "stylegan")
SIZE, READ = 64, 8
"""Grid of the images, and slices that are read of a patient, evenly."""


def main() -> None:
    """Run what is missing, and write the report."""
    asked = _asked()
    if asked.data is None and asked.body != BODIES[0]:
        raise InputError("--body must be spine for phantom hospitals", asked.body, "name site folders with --data")
    if min(asked.amounts) < 0:
        raise InputError("--amounts must be 0 or more", "less", "write 0 for all patients of a site")
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    study = open_study(asked.data, asked.out, asked.generator, asked.body)
    file = asked.out / "results.jsonl"
    numbers = (STEPS, FIRST, ROUND, RATE, BEGUN, AT_ONCE, MADE, SLICES)
    same_recipe(asked.out / f"recipe-{asked.generator}.txt", (study.plan.data, study.generator, *numbers, UNET))
    done = load_results(file)
    every = cells(
        asked.tasks,
        asked.amounts,
        asked.epsilons,
        asked.generator,
        range(asked.first_seed, asked.first_seed + asked.seeds),
    )
    wanted = [cell for cell in every if cell.regime in asked.regimes]
    for number, cell in enumerate(wanted, 1):
        if cell in done:
            continue
        begun = time.monotonic()
        scores = study.run(cell)
        result = Result(cell, scores, round(time.monotonic() - begun, 1))
        add_result(file, result)
        print(f"{number}/{len(wanted)} {cell} {result.seconds:.0f} s", flush=True)
    write_report(load_results(file), asked.out)


def open_study(data: Path | None, out: Path, generator: str, body: str = BODIES[0]) -> Study:
    """Return the study over the site folders in `data`, or over phantom hospitals drawn below `out`."""
    grid = DataPlan(size=SIZE, slices=READ, levels=LEVELS, body=body)
    plan = Plan("study", data=phantom_data(grid) if data is None else grid, stage=(Stage("segment", "segment"),))
    plan, sites = load_sites(data or drawn_sites(out), plan)
    return Study(check_plan(replace(plan, seed=0)), tuple(sites), generator_stage(generator))


def generator_stage(task: str) -> Stage:
    """Return the stage that makes patients: pre-trained on phantoms, then on the hospitals' patients."""
    return Stage(
        task, "generator", rounds=6, steps=10, learning_rate=5e-4, pretrain_steps=300, pretrain_rate=2e-3, share=0.6
    )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of site folders; phantom hospitals if left out")
    parser.add_argument("--out", type=Path, default=Path("runs") / "gan-against-traditional", help="results and report")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--amounts", nargs="+", type=int, default=[8, 4, 16, 0], help="patients a site; 0 for all")
    parser.add_argument("--epsilons", nargs="+", type=float, default=[0.0, 8.0], help="0 for no privacy")
    parser.add_argument("--generator", choices=GENERATORS, default=GENERATORS[0])
    parser.add_argument("--body", choices=BODIES, default=BODIES[0], help="what generators begin with: of --data")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()

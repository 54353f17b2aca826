"""How well hospitals segment together: pooled, each alone, federated, and federated with privacy, on the same folds.

    python -m simulations.segmentation_study SITES --out table.json
    python -m simulations.segmentation_study SITES --out table.json --arm private --epsilon 8 --fold 1
    python -m simulations.segmentation_study --phantoms 200 --sites 4 --out table.json

`SITES` is a folder of site folders; without it, sites of phantoms. Folds are by patient, sites in balance; the score is
the mean over held-out patients of the Dice over all of a patient's slices, with a bootstrap interval over patients.
Every arm has the same network and the same public start, kept beside `table.json`; all but the private one take the
same number of steps. The table keeps every patient's Dice, and what is in it already is not computed again, so that a
long study may be run in pieces. `--masks` keeps what was found too, for `harmony_on_gliomas`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedspine.cohort.prepared import prepared
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, check_plan
from fedspine.evaluation.bootstrap import mean_interval
from fedspine.evaluation.comparison import compare
from fedspine.evaluation.folds import patient_folds
from fedspine.evaluation.segmentation import dice
from fedspine.tasks._federation import train
from fedspine.tasks._task import make
from fedspine.tasks.segment import Segment
from simulations.loop import kept_start, priced, same_recipe
from simulations.segmentation_study.found import write_masks
from simulations.segmentation_study.recipe import DELTA, Recipe, axial_brain, phantom_consortium

ARMS = ("public", "pooled", "local", "federated", "private")
"""`public` is where the others begin: what no patient has taught."""

AGAINST = ("pooled", "federated")
"""Arms that all are compared with, patient by patient."""


@dataclass(frozen=True, eq=False)
class Consortium:
    """Patients of several sites, on the plan's grid.

    Args:
        plan: whose data section they were made with.
        sites: name to patients; only those with a mask.
    """

    plan: Plan
    sites: dict[str, list[PatientTensors]] = field(repr=False)

    def split(self, folds: int, fold: int) -> tuple[dict[str, list[PatientTensors]], list[tuple[str, int]]]:
        """Return who trains, by site, and who is tested, as (site, index); `fold` counts from 1."""
        everyone = [(site, index) for site, patients in self.sites.items() for index in range(len(patients))]
        chosen = patient_folds([site for site, _ in everyone], folds, seed=self.plan.seed)[fold - 1]
        tested = [everyone[i] for i in chosen.test]
        training: dict[str, list[PatientTensors]] = {site: [] for site in self.sites}
        for i in chosen.train:
            site, index = everyone[i]
            training[site].append(self.sites[site][index])
        return training, tested


@dataclass(frozen=True)
class Run:
    """One training of a study: its key in the table."""

    arm: str
    fold: int
    seed: int
    epsilon: float | None = None
    site: str = ""

    def key(self) -> str:
        """Return its name in the table."""
        budget = "" if self.epsilon is None else f" epsilon {self.epsilon:g}"
        return f"{self.arm}{budget}{f' {self.site}' if self.site else ''}, seed {self.seed}, fold {self.fold}"

    def file(self) -> str:
        """Return the name of the file of what it found."""
        return f"{self.key()}.safetensors"


def read_sites(folder: Path, data: DataPlan) -> dict[str, list[PatientTensors]]:
    """Return every site's patients that have a mask, on the grid of `data`."""
    sites = {}
    for site in sorted(path for path in folder.iterdir() if path.is_dir()):
        cohort = load_cohort(site)
        everyone = prepared(cohort.patients, cohort.omics_columns, data, None)
        sites[site.name] = [one for one in everyone if one.mask is not None and one.has_image]
    return sites


def begun(consortium: Consortium, recipe: Recipe, seed: int, folder: Path) -> dict[str, Tensor]:
    """Return the weights that all arms begin with, from `folder` if they have been made already."""
    plan, stage = consortium.plan, recipe.plain
    made = make(plan, stage, {})
    assert isinstance(made, Segment)
    return kept_start(
        replace(made, trained="all"), plan, stage, lambda: recipe.public(plan), recipe.drawn, seed, folder
    )


def scores(
    consortium: Consortium,
    recipe: Recipe,
    run: Run,
    folds: int,
    folder: Path,
    device: str = "cpu",
    masks: Path | None = None,
) -> list[tuple[str, float]]:
    """Train as `run` says and return (site, Dice) of every held-out patient; their masks go to the folder `masks`."""
    training, tested = consortium.split(folds, run.fold)
    lists = [patients for name, patients in training.items() if patients and run.site in ("", name)]
    if run.arm == "pooled":
        lists = [[patient for patients in lists for patient in patients]]
    several = {"private": recipe.private, "federated": recipe.federated or recipe.plain}
    chosen = several.get(run.arm, recipe.plain)
    plan, stage = priced(consortium.plan, chosen, run.epsilon, DELTA)
    task = make(plan, stage, {})
    assert isinstance(task, Segment)
    weights = begun(consortium, recipe, run.seed, folder)
    stage = replace(stage, rounds=0, average=0.0) if run.arm == "public" else stage
    model = train(task, plan, stage, lists, weights, seed=1000 * run.seed + run.fold, device=device)
    with torch.no_grad():
        found = {(site, index): task.segmented(model, consortium.sites[site][index]) for site, index in tested}
    if masks is not None:
        write_masks(masks / run.file(), found)
    return [(site, _dice(mask, consortium.sites[site][index])) for (site, index), mask in found.items()]


def _dice(found: Tensor, patient: PatientTensors) -> float:
    assert patient.mask is not None
    every = [dice(*pair) for pair in zip(found.unbind(1), patient.mask.unbind(1), strict=True)]
    return sum(every) / len(every)


def runs(arm: str, sites: Sequence[str], epsilons: Sequence[float], folds: Sequence[int], seed: int) -> Iterator[Run]:
    """Yield the trainings that `arm` needs."""
    for fold in folds:
        if arm == "local":
            yield from (Run(arm, fold, seed, site=site) for site in sites)
        elif arm == "private":
            yield from (Run(arm, fold, seed, epsilon=epsilon) for epsilon in epsilons)
        else:
            yield Run(arm, fold, seed)


def table(results: dict[str, list[tuple[str, float]]]) -> str:
    """Return the arms side by side: mean Dice with its interval, then each site's mean and the worst.

    Of the hospitals alone, each is a row (tested on everybody), and the best of them is named. Every seed is a table of
    its own, for it draws folds of its own: the same patients twice are not twice as many patients.
    """
    by_seed: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for key, found in sorted(results.items()):
        by_seed.setdefault(key.split(", ")[1], {})[key] = found
    return "\n\n".join(f"{seed}\n\n{_seed_table(some)}" for seed, some in by_seed.items())


def _seed_table(results: dict[str, list[tuple[str, float]]]) -> str:
    rows: dict[str, list[tuple[str, float]]] = {}
    folds: dict[str, set[str]] = {}
    for key, found in results.items():
        name = key.split(", ")[0]
        rows.setdefault(name, []).extend((site, dice) for site, dice in found)
        folds.setdefault(name, set()).add(key.split("fold ")[1])
    sites = sorted({site for found in rows.values() for site, _ in found})
    heads = ["arm", "folds", "patients", "Dice", *sites, "worst site", *(f"less {other}" for other in AGAINST)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    best = max((name for name in rows if name.startswith("local ")), key=lambda name: _mean(rows[name]), default="")
    for name, found in rows.items():
        estimate = mean_interval(np.array([dice for _, dice in found]))
        single = [_mean([one for one in found if one[0] == site]) for site in sites]
        known = [value for value in single if not math.isnan(value)]
        shown = f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
        cells = " | ".join(f"{value:.3f}" for value in single)
        title = f"{name} (best local)" if name == best else name
        less = " | ".join(_difference(results, name, other) for other in AGAINST)
        lines.append(f"| {title} | {len(folds[name])} | {len(found)} | {shown} | {cells} | {min(known):.3f} | {less} |")
    return "\n".join(lines)


def _difference(results: dict[str, list[tuple[str, float]]], name: str, other: str) -> str:
    """Return how much better arm `name` is than `other`, paired by the patients that both were tested on."""
    one, two = (
        {
            (key.split(", ", 1)[1], index): dice
            for key, found in results.items()
            if key.split(", ")[0] == arm
            for index, (_, dice) in enumerate(found)
        }
        for arm in (name, other)
    )
    both = sorted(set(one) & set(two))
    if not both or name == other:
        return "-"
    found = compare(np.array([[one[key] for key in both]]), np.array([[two[key] for key in both]])).difference
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _mean(found: Sequence[tuple[str, float]]) -> float:
    return sum(dice for _, dice in found) / len(found) if found else math.nan


def consortium_of(recipe: Recipe, folder: Path | None, phantoms: int, sites: int, seed: int) -> Consortium:
    """Return the patients of the study."""
    plan = check_plan(Plan("segmentation-study", seed=seed, data=recipe.data, stage=(recipe.plain,)))
    members = phantom_consortium(plan, sites, phantoms) if folder is None else read_sites(folder, recipe.data)
    return Consortium(plan, members)


def study(
    consortium: Consortium,
    recipe: Recipe,
    wanted: Sequence[Run],
    folds: int,
    out: Path,
    device: str = "cpu",
    masks: Path | None = None,
) -> str:
    """Do the runs that `out`, or `masks` where given, does not hold yet, adding each when done, and return the table.

    Raises:
        InputError: if the table was begun with another recipe, which is kept beside it.
    """
    same_recipe(out.with_suffix(".recipe.txt"), recipe)
    results = json.loads(out.read_text("utf-8")) if out.exists() else {}
    for run in wanted:
        unkept = masks is not None and not (masks / run.file()).exists()
        if unkept or run.key() not in results:
            results[run.key()] = scores(consortium, recipe, run, folds, out.parent, device, masks)
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return table(results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, nargs="?", metavar="SITES", help="folder of site folders; phantoms if left out"
    )
    parser.add_argument("--arm", choices=ARMS, action="append", help="may be repeated; all if left out")
    parser.add_argument("--epsilon", type=float, action="append", help="of the private arm; 1, 3 and 8 if left out")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, action="append", help="only this one, from 1; may be repeated")
    parser.add_argument("--phantoms", type=int, default=200, help="a site, where there are no SITES")
    parser.add_argument("--sites", type=int, default=4, help="where there are no SITES")
    parser.add_argument("--rounds", type=int, help="of the arms without privacy, instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where networks train, such as cuda")
    parser.add_argument("--masks", type=Path, help="folder for masks found in tested patients, outside of the project")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Run the study from the command line."""
    chosen = _arguments()
    torch.set_num_threads(1)
    recipe = axial_brain() if chosen.data else Recipe()
    if chosen.rounds:
        recipe = replace(recipe, plain=replace(recipe.plain, rounds=chosen.rounds), federated=None)
    consortium = consortium_of(recipe, chosen.data, chosen.phantoms, chosen.sites, chosen.seed)
    folds, epsilons = chosen.fold or range(1, chosen.folds + 1), chosen.epsilon or (1.0, 3.0, 8.0)
    names = list(consortium.sites)
    wanted = [run for arm in chosen.arm or ARMS for run in runs(arm, names, epsilons, folds, chosen.seed)]
    print(study(consortium, recipe, wanted, chosen.folds, chosen.out, chosen.device, chosen.masks))

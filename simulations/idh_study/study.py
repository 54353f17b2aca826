"""IDH status of lower-grade gliomas from images alone, k folds by patient, pooled and without privacy.

    python -m simulations.idh_study SITES --folds 5 --seeds 3 --out FOLDER

`SITES` holds site folders with T1, FLAIR and T1c, lesion masks, and the labels IDH-mutant and IDH-wildtype. Three ways,
none trained on the patients that it is tested on. The signs are the literature's, but these three were kept out of
nineteen measures after a look at all patients under true masks: their figures are on the kind side.

- `signs`: a U-Net (`segment`) that begins with phantom heads, as in the segmentation study, learns masks from the
  training patients and finds the lesion of each test patient; a logistic regression reads the three signs of `signs`
  there. Training patients' signs are read under their masks.
- `network`: `classify`, whose heat map learns from the training patients' masks.
- `both`: the mean of the two log-odds.

`signs, true masks` reads the test patients' signs under masks that someone drew: not images alone, a reference only.
An AUC is of all patients' out-of-fold scores, for each seed, and the interval, over patients, is of the scores averaged
over seeds. Folds that `FOLDER` holds are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan, Plan, PrivacyPlan, Stage
from fedspine.evaluation.bootstrap import DRAWS, Estimate, interval_of
from fedspine.evaluation.folds import patient_folds
from fedspine.tasks._federation import start, train
from fedspine.tasks._task import make
from fedspine.tasks.classify import Classify
from fedspine.tasks.segment import Segment
from simulations.idh_study.signs import CONTRASTS, likely, signs
from simulations.loop import kept_start, same_recipe
from simulations.segmentation_study.recipe import Recipe as Brains
from simulations.segmentation_study.recipe import axial_brain

Scores = NDArray[np.float64]
Patients = Sequence[PatientTensors]

CLASSES = ("IDH-mutant", "IDH-wildtype")
RIDGE = 0.1
"""scikit-learn's C of the logistic regression on standardised signs."""


@dataclass(frozen=True)
class Recipe:
    """What is trained and for how long, fixed beforehand.

    Args:
        size, slices: pixels a side, and slices of a patient, that `network` sees.
        brains: the U-Net's grid and its public start, that of the segmentation study.
        segment: the U-Net's stage.
        classify: the other network's.
    """

    size: int
    slices: int
    brains: Brains
    segment: Stage
    classify: Stage

    def plan(self, way: str) -> Plan:
        """Return the plan of one of `WAYS`, whose patients lie on its grid."""
        fine, coarse = self.brains.data, DataPlan(contrasts=CONTRASTS, size=self.size, slices=self.slices)
        data = replace(fine if way == "signs" else coarse, classes=CLASSES)
        stage = self.segment if way == "signs" else self.classify
        return Plan("idh", data=data, privacy=PrivacyPlan("none"), stage=(stage,))


def recipe(rounds: int) -> Recipe:
    """Return the recipe of the published figure at `rounds` 12: fewer are for tests."""
    shared: dict[str, Any] = {
        "rounds": rounds,
        "steps": 25,
        "sample_rate": 0.12,
        "learning_rate": 3e-3,
        "trained": "all",
        "augment": "traditional",
        "average": 0.6,
    }
    brains = axial_brain()
    segment = replace(brains.plain, rounds=rounds, steps=25, sample_rate=0.09)
    classify = Stage("classify", "classify", options={"class_weights": [1.0, 2.5]}, **shared)
    return Recipe(64, 12, brains, segment, classify)


def read_sites(folder: Path, plan: Plan) -> list[PatientTensors]:
    """Return the patients of all site folders below `folder`, on the plan's grid."""
    cohorts = [load_cohort(site) for site in sorted(folder.iterdir()) if (site / "patients.csv").exists()]
    return [to_tensors(p, cohort.omics_columns, plan.data) for cohort in cohorts for p in cohort.patients]


def out_of_fold(
    patients: Sequence[PatientTensors], chosen: Recipe, folds: int, seed: int, way: str, kept: Path, device: str = "cpu"
) -> dict[str, Scores]:
    """Return what `WAYS[way]` gives for each patient (patient,), each from a fold that did not train on them.

    Args:
        patients: all with images; those without a class train the masks and are scored too, and not counted.
        chosen: the recipe.
        folds: how many.
        seed: of folds and sampling, and of the weights of `network`.
        way: one of `WAYS`.
        kept: folder of folds that are done, and of the U-Net's start.
        device: where the networks train.
    """
    scores: dict[str, Scores] = {}
    for fold in patient_folds([p.label for p in patients], folds, seed=seed):
        known, asked = [patients[i] for i in fold.train], [patients[i] for i in fold.test]
        file = kept / f"{way}-seed{seed}-fold{fold.name}of{folds}.json"
        if file.exists():
            found = {arm: np.array(values) for arm, values in json.loads(file.read_text()).items()}
        else:
            found = WAYS[way](known, asked, chosen, seed, kept, device)
            file.write_text(json.dumps({arm: values.tolist() for arm, values in found.items()}))
        for arm, values in found.items():
            scores.setdefault(arm, np.full(len(patients), np.nan))[list(fold.test)] = values
    return scores


def by_signs(
    known: Patients, asked: Patients, chosen: Recipe, seed: int, kept: Path, device: str = "cpu"
) -> dict[str, Scores]:
    """Return the log-odds of wild type of the patients `asked`, by the signs where a U-Net finds the lesion.

    The U-Net begins with phantom heads, the same whatever the seed.
    """
    plan, stage = chosen.plan("signs"), chosen.segment
    task = make(plan, stage, {})
    assert isinstance(task, Segment)
    weights = kept_start(task, plan, stage, lambda: chosen.brains.public(plan), chosen.brains.drawn, 0, kept)
    model = train(task, plan, stage, [known], weights, seed=seed, device=device)
    labelled = [p for p in known if p.label >= 0 and p.mask is not None]
    regression = make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        LogisticRegression(C=RIDGE, class_weight="balanced", max_iter=1000),
    )
    regression.fit([signs(p, p.mask) for p in labelled if p.mask is not None], [p.label for p in labelled])
    with torch.no_grad():
        masks = [likely(task.predict(model, p)) for p in asked]
    read = regression.decision_function([signs(p, mask) for p, mask in zip(asked, masks, strict=True)])
    drawn = regression.decision_function([signs(p, p.mask if p.mask is not None else p.images[:, :1]) for p in asked])
    return {"signs": read, "signs, true masks": drawn}


def by_network(
    known: Patients, asked: Patients, chosen: Recipe, seed: int, kept: Path, device: str = "cpu"
) -> dict[str, Scores]:
    """Return the log-odds of wild type of the patients `asked`, by the classification network."""
    plan, stage = chosen.plan("network"), chosen.classify
    task = make(plan, stage, {})
    assert isinstance(task, Classify)
    model = train(task, plan, stage, [known], start(task, stage, [], seed), seed=seed, device=device)
    with torch.no_grad():
        logits = [task.predict(model, p) for p in asked]
    return {"network": np.array([float(one[1] - one[0]) for one in logits])}


WAYS = {"signs": by_signs, "network": by_network}


@dataclass(frozen=True)
class Area:
    """AUC of one way.

    Args:
        seeds: of every seed.
        averaged: of the scores averaged over seeds, and its interval over patients.
    """

    seeds: tuple[float, ...]
    averaged: Estimate


def summary(truth: NDArray[np.int64], by_seed: Sequence[Mapping[str, Scores]], draws: int = DRAWS) -> dict[str, Area]:
    """Return the AUC of each way that was scored, and of the mean of both; patients without a class do not count."""
    known = truth >= 0
    wild = (truth[known] == 1).astype(np.float64)
    if all({*WAYS} <= set(scores) for scores in by_seed):
        by_seed = [{**scores, "both": (scores["signs"] + scores["network"]) / 2} for scores in by_seed]
    result = {}
    for arm in by_seed[0]:
        found = [scores[arm][known] for scores in by_seed]
        averaged = interval_of(_area, wild, np.mean(found, axis=0), draws=draws)
        result[arm] = Area(tuple(_area(wild, values) for values in found), averaged)
    return result


def _area(wild: Scores, scores: Scores) -> float:
    return float(roc_auc_score(wild, scores)) if 0 < wild.sum() < len(wild) else math.nan


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--device", default="cpu", help="where networks train, such as cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scores of every fold")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = recipe(asked.rounds)
    patients = {way: read_sites(asked.sites, chosen.plan(way)) for way in asked.ways}
    asked.out.mkdir(parents=True, exist_ok=True)
    same_recipe(asked.out / "recipe.txt", chosen)
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    by_seed = []
    for seed in seeds:
        every = [
            out_of_fold(patients[way], chosen, asked.folds, seed, way, asked.out, asked.device) for way in asked.ways
        ]
        by_seed.append({arm: values for scores in every for arm, values in scores.items()})
    found = summary(np.array([p.label for p in patients[asked.ways[0]]]), by_seed)
    print("| way | AUC, mean of seeds (each) | AUC of the mean score (95 %) |\n|---|---|---|")
    for arm, row in found.items():
        each = ", ".join(f"{area:.3f}" for area in row.seeds)
        estimate = f"{row.averaged.value:.3f} ({row.averaged.low:.2f} to {row.averaged.high:.2f})"
        print(f"| {arm} | {np.mean(row.seeds):.3f} ({each}) | {estimate} |")

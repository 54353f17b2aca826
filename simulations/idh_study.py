"""IDH status of lower-grade gliomas from images alone, k folds by patient, pooled and without privacy.

    python -m simulations.idh_study SITES --folds 5 --seeds 3 --out idh.json

`SITES` holds site folders with T1, FLAIR and T1c, lesion masks, and the labels IDH-mutant and IDH-wildtype. Three ways,
all written down before they are scored, none chosen on the patients that it is tested on:

- `network`: `classify`, whose heat map learns from the training patients' masks.
- `signs`: a logistic regression reads the three signs of `idh_signs` where that heat map says the lesion is. Training
  patients' signs are read under their own masks.
- `both`: the mean of the two log-odds.

`signs, true masks` reads the test patients' signs under masks that someone drew: not images alone, a reference only.
An AUC is of all patients' out-of-fold scores, for each seed (of folds, weights and sampling), and the interval, over
patients, is of the scores averaged over seeds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan, Plan, PrivacyPlan, Stage
from fedspine.evaluation.bootstrap import DRAWS, interval_of
from fedspine.evaluation.folds import patient_folds
from fedspine.tasks._task import make
from fedspine.tasks.classify import Classify
from simulations.idh_signs import CONTRASTS, hot, signs
from simulations.loop import start, train

Scores = NDArray[np.float64]

CLASSES = ("IDH-mutant", "IDH-wildtype")
ARMS = ("network", "signs", "both", "signs, true masks")
RIDGE = 0.1
"""scikit-learn's C of the logistic regression on standardised signs."""


@dataclass(frozen=True)
class Recipe:
    """What is trained and for how long, fixed beforehand.

    Args:
        size: pixels a side.
        slices: used per patient.
        classify: the stage.
    """

    size: int
    slices: int
    classify: Stage

    def plan(self) -> Plan:
        """Return the plan that the stage belongs to."""
        data = DataPlan(contrasts=CONTRASTS, classes=CLASSES, size=self.size, slices=self.slices)
        return Plan("idh", data=data, privacy=PrivacyPlan("none"), stage=(self.classify,))


def recipe(rounds: int) -> Recipe:
    """Return the recipe of the published figure at `rounds` 12: fewer are for tests."""
    stage = Stage(
        "classify",
        "classify",
        rounds=rounds,
        steps=25,
        sample_rate=0.15,
        learning_rate=3e-3,
        trained="all",
        augment="traditional",
        average=0.6,
        options={"class_weights": [1.0, 2.5]},
    )
    return Recipe(size=64, slices=12, classify=stage)


def read_sites(folder: Path, plan: Plan) -> list[PatientTensors]:
    """Return the patients of all site folders below `folder`, on the plan's grid."""
    cohorts = [load_cohort(site) for site in sorted(folder.iterdir()) if (site / "patients.csv").exists()]
    return [to_tensors(p, cohort.omics_columns, plan.data) for cohort in cohorts for p in cohort.patients]


def out_of_fold(patients: Sequence[PatientTensors], chosen: Recipe, folds: int, seed: int) -> dict[str, Scores]:
    """Return for each of `ARMS` the log-odds of wild type (patient,), each from a fold that did not train on them.

    Args:
        patients: all with images; those without a class train the masks and are scored too, and not counted.
        chosen: the recipe.
        folds: how many.
        seed: of folds, weights and sampling.
    """
    scores = {arm: np.full(len(patients), np.nan) for arm in ARMS}
    for fold in patient_folds([p.label for p in patients], folds, seed=seed):
        known, asked = [patients[i] for i in fold.train], [patients[i] for i in fold.test]
        found = fold_scores(known, asked, chosen, seed)
        for arm, values in found.items():
            scores[arm][list(fold.test)] = values
    return scores


def fold_scores(
    known: Sequence[PatientTensors], asked: Sequence[PatientTensors], chosen: Recipe, seed: int
) -> dict[str, Scores]:
    """Return the log-odds of wild type of the patients `asked` by arm, from those `known`."""
    plan, stage = chosen.plan(), chosen.classify
    task = make(plan, stage, {})
    assert isinstance(task, Classify)
    model = train(task, plan, stage, [known], start(task, stage, [], seed), seed=seed)
    labelled = [p for p in known if p.label >= 0 and p.mask is not None]
    regression = make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        LogisticRegression(C=RIDGE, class_weight="balanced", max_iter=1000),
    )
    regression.fit([signs(p, p.mask) for p in labelled if p.mask is not None], [p.label for p in labelled])
    with torch.no_grad():
        seen = [task.look(model, p) for p in asked]
    masks = [hot(F.interpolate(one.heat, (chosen.size, chosen.size), mode="bilinear")) for one in seen]
    read = regression.decision_function([signs(p, mask) for p, mask in zip(asked, masks, strict=True)])
    drawn = regression.decision_function([signs(p, p.mask if p.mask is not None else p.images[:, :1]) for p in asked])
    network = np.array([float(one.logits[1] - one.logits[0]) for one in seen])
    return {"signs": read, "network": network, "both": (read + network) / 2, "signs, true masks": drawn}


def summary(
    truth: NDArray[np.int64], by_seed: Sequence[Mapping[str, Scores]], draws: int = DRAWS
) -> dict[str, dict[str, object]]:
    """Return for each arm the AUC of every seed, their mean, and of the mean score with its interval over patients."""
    known = truth >= 0
    wild = (truth[known] == 1).astype(np.float64)
    result: dict[str, dict[str, object]] = {}
    for arm in ARMS:
        found = [scores[arm][known] for scores in by_seed]
        areas = [_area(wild, values) for values in found]
        averaged = interval_of(_area, wild, np.mean(found, axis=0), draws=draws)
        result[arm] = {"seeds": areas, "mean": float(np.mean(areas)), "averaged": averaged.as_dict()}
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
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = recipe(asked.rounds)
    patients = read_sites(asked.sites, chosen.plan())
    by_seed = []
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        by_seed.append(out_of_fold(patients, chosen, asked.folds, seed))
        print(f"seed {seed} done", flush=True)
    truth = np.array([p.label for p in patients])
    found = summary(truth, by_seed)
    print("| way | AUC by seed, mean | AUC of the mean score (95 %) |\n|---|---|---|")
    for arm, row in found.items():
        print(f"| {arm} | {row['mean']:.3f} | {row['averaged']} |")
    if asked.out:
        scores = [{arm: values.tolist() for arm, values in one.items()} for one in by_seed]
        asked.out.write_text(json.dumps({"arms": found, "truth": truth.tolist(), "scores": scores}, indent=1))


if __name__ == "__main__":
    main()

"""What the encoder keeps of scanners and of tumours: probes fitted on training patients and applied to held-out ones.

    python -m simulations.embedding_study [--patients 150] [--folds 5] [--seeds 1] [--out FOLDER]

Four hospitals, a scanner each, with the same case mix, so that nothing but the scanner tells them apart. In every fold,
harmoniser and encoder see training patients alone; a linear and a forest probe are fitted to what these patients'
rows are then, and asked for the hospital and the class of the held-out ones. Held-out patients are examined on two
further scanners as well, which nobody has seen: these join with frozen values and the sums of other patients.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, PrivacyPlan
from fedspine.evaluation.folds import patient_folds
from fedspine.harmony.apply import coordinates, harmonised
from fedspine.plans.default import default_plan
from simulations.embedding_study.fitting import ARMS, STAGES, Arm, Fitted, fit
from simulations.embedding_study.people import SEEN, Array, Labels, People, people


def rows_before_encoder(fitted: Fitted, patients: Sequence[PatientTensors], where: Labels) -> Array:
    """Return image features as the encoder reads them, (patient, 2·feature)."""
    rows = []
    for patient, site in zip(patients, where, strict=True):
        values, known = fitted.task.rows(harmonised(patient, fitted.shared[site]))
        rows.append(fitted.task.image_rows(values, known)[0].numpy())
    return np.stack(rows).astype(np.float64)


def in_space(fitted: Fitted, patients: Sequence[PatientTensors], where: Labels) -> Array | None:
    """Return places in the harmonisation space, (patient, axis), `None` for an arm that did not harmonise."""
    found = []
    for patient, site in zip(patients, where, strict=True):
        place = coordinates(harmonised(patient, fitted.shared[site]), fitted.shared[site])
        if place is None:
            return None
        found.append(place)
    return np.stack(found)


def embedded(fitted: Fitted, patients: Sequence[PatientTensors], where: Labels) -> tuple[Array, Array]:
    """Return embeddings (patient, latent), and pseudo-genomic scores (patient,) as images alone tell them."""
    with torch.no_grad():
        found = [
            fitted.task.embed(fitted.model, harmonised(patient, fitted.shared[site]))
            for patient, site in zip(patients, where, strict=True)
        ]
        score = fitted.model.pseudo_genomic(torch.stack(found))[:, 0]
    return torch.stack(found).double().numpy(), score.double().numpy()


def probes(train: Array, wanted: Labels, test: Array, seed: int) -> tuple[Labels, Labels]:
    """Return what a linear and a forest probe, fitted to `train`, say of `test`."""
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)).fit(train, wanted)
    forest = RandomForestClassifier(300, min_samples_leaf=2, random_state=seed, n_jobs=1).fit(train, wanted)
    return linear.predict(test), forest.predict(test)


def _residualised(places: Array, site: Labels, learned: Labels) -> Array:
    """Return embeddings less the mean of their hospital's training patients: what linear residualisation would add."""
    result = places.copy()
    for number in range(len(SEEN)):
        mine = learned[site[learned] == number]
        result[site == number] -= places[mine].mean(0)
    return result


COLUMNS = (
    *("features: scanner, linear", "forest"),
    *("space: scanner, linear", "forest"),
    *("embedding: scanner, linear", "forest"),
    *("embedding, residualised: scanner, linear", "forest"),
    *("class, linear", "forest"),
    *("class on unseen scanners, linear", "forest"),
    "score",
)
"""Balanced accuracies of probes on held-out patients; rank correlation of the score that images tell with the truth."""


def one_fold(plan: Plan, arm: Arm, group: People, train: Sequence[int], test: Sequence[int], seed: int) -> list[float]:
    """Return `COLUMNS` for one fold."""
    sites = [[group.seen[i] for i in train if group.site[i] == s] for s in range(len(SEEN))]
    fitted = fit(plan, arm, sites, group.joining)
    own, there = group.site, np.full(len(group.site), len(SEEN))
    learned, asked = np.array(train), np.array(test)
    rows = rows_before_encoder(fitted, group.seen, own)
    space = in_space(fitted, group.seen, own)
    places, score = embedded(fitted, group.seen, own)
    unseen, _ = embedded(fitted, [group.unseen[i] for i in test], there[asked])

    def found(values: Array, wanted: Labels, elsewhere: Array | None = None) -> list[float]:
        said = probes(values[learned], wanted[learned], values[asked] if elsewhere is None else elsewhere, seed)
        return [float(balanced_accuracy_score(wanted[asked], one)) for one in said]

    told = float(spearmanr(score[asked], group.truth[asked]).statistic)
    return [
        *found(rows, own),
        *(found(space, own) if space is not None else (math.nan, math.nan)),
        *found(places, own),
        *found(_residualised(places, own, learned), own),
        *found(places, group.label),
        *found(places, group.label, unseen),
        told,
    ]


def study(patients: int, folds: int, seeds: int) -> str:
    """Return the table, a row an arm: means over folds and seeds."""
    rows: dict[str, list[list[float]]] = {arm.name: [] for arm in ARMS}
    for seed in range(seeds):
        plan = replace(default_plan(), seed=seed, privacy=PrivacyPlan("none"), stage=STAGES)
        group = people(plan, patients, seed)
        keys = [f"{s} {c}" for s, c in zip(group.site, group.label, strict=True)]
        for fold in patient_folds(keys, folds, seed=seed):
            for arm in ARMS:
                rows[arm.name].append(one_fold(plan, arm, group, fold.train, fold.test, seed))
                print(arm.name, " ".join(f"{value:.2f}" for value in rows[arm.name][-1]), flush=True)
    lines = [f"| arm | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, found in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in np.mean(found, axis=0))} |")
    return "\n".join(lines)


def main() -> None:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=150, help="a hospital")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    table = study(chosen.patients, chosen.folds, chosen.seeds)
    print(table)
    if chosen.out:
        chosen.out.write_text(table, encoding="utf-8")

"""How far phantoms are from real spines: a classifier two-sample test (Lopez-Paz and Oquab 2017, ICLR).

    python -m simulations.realism REAL.npz

Classifiers learn to tell real slices from phantom slices, drawn on the same grid; how well they do on patients they
have not seen is the distance: 0.5 is indistinguishable, 1.0 is told at once. `REAL.npz` holds `images`, uint8 (slice,
row, column) of sagittal lumbar T2, and `patient`, (slice,). It is read and never copied.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedspine.phantom.patient import draw
from fedspine.phantom.scanner import SCANNERS
from simulations.realism.features import measured, scaled

FIELD_MM = (285.0, 325.0)
"""Side of the field of view of the real slices, judged by the height of their vertebrae."""
FOLDS, TREES, RESAMPLES = 6, 200, 400

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of several patients.

    Args:
        images: uint8 (slice, row, column), scaled per patient.
        patient: (slice,) a number per patient.
    """

    images: NDArray[np.uint8] = field(repr=False)
    patient: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True)
class Verdict:
    """How well a classifier tells two kinds of slices apart, on patients it has not seen.

    Args:
        accuracy: balanced, slice by slice.
        auc: slice by slice.
        low, high: 95 % interval of `auc`, patients resampled.
        by_patient: AUC of the mean over a patient's slices.
    """

    accuracy: float
    auc: float
    low: float
    high: float
    by_patient: float


def read_real(file: Path) -> Slices:
    """Return the real slices."""
    with np.load(file, allow_pickle=False) as data:
        images, names = data["images"], data["patient"]
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return Slices(_each_scaled(images, numbers), numbers)


def draw_phantoms(patients: int, slices: int, size: int, seed: int) -> Slices:
    """Return slices of lumbar phantoms on a grid of `size` pixels a side."""
    stacks = []
    for index in range(patients):
        generator = np.random.default_rng([seed, index])
        field_mm = float(generator.uniform(*FIELD_MM))
        phantom = draw(generator, label="normal", shape=(slices, size, size), levels="L4", field_mm=field_mm)
        scanner = SCANNERS[int(generator.integers(len(SCANNERS)))]
        stacks.append(phantom.scan(scanner, contrasts=("T2",))["T2"].voxels)
    numbers = np.repeat(np.arange(patients, dtype=np.int64), slices)
    return Slices(_each_scaled(np.concatenate(stacks), numbers), numbers)


def _each_scaled(images: NDArray[np.generic], patient: NDArray[np.int64]) -> NDArray[np.uint8]:
    found = np.empty(images.shape, dtype=np.uint8)
    for number in np.unique(patient):
        found[patient == number] = scaled(images[patient == number])
    return found


def tell_apart(features: Table, truth: NDArray[np.bool_], groups: NDArray[np.int64], how: str, seed: int) -> Verdict:
    """Return how well `how` ("forest" or "logistic") tells `truth`, trained on other patients."""
    scores = np.empty(len(truth))
    folds = StratifiedGroupKFold(min(FOLDS, len(np.unique(groups)) // 2), shuffle=True, random_state=seed)
    for train, test in folds.split(features, truth, groups):
        if how == "forest":
            model = RandomForestClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
        else:
            logistic = LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced")
            model = make_pipeline(StandardScaler(), logistic)
        model.fit(features[train], truth[train])
        scores[test] = model.predict_proba(features[test])[:, 1]
    return judged(scores, truth, groups, seed)


def judged(scores: Table, truth: NDArray[np.bool_], groups: NDArray[np.int64], seed: int) -> Verdict:
    """Return the verdict on scores between 0 and 1; the interval resamples patients of either kind."""
    generator = np.random.default_rng(seed)
    patients = [np.flatnonzero(groups == number) for number in np.unique(groups)]
    kinds = np.array([truth[rows[0]] for rows in patients])
    drawn = []
    for _ in range(RESAMPLES):
        chosen = [generator.choice(np.flatnonzero(kinds == kind), int((kinds == kind).sum())) for kind in (False, True)]
        rows = np.concatenate([patients[index] for index in np.concatenate(chosen)])
        drawn.append(roc_auc_score(truth[rows], scores[rows]))
    right = [float(((scores > 0.5) == truth)[truth == kind].mean()) for kind in (False, True)]
    return Verdict(
        accuracy=sum(right) / 2,
        auc=float(roc_auc_score(truth, scores)),
        low=float(np.percentile(drawn, 2.5)),
        high=float(np.percentile(drawn, 97.5)),
        by_patient=float(roc_auc_score(kinds, [scores[rows].mean() for rows in patients])),
    )


def compare(one: Slices, other: Slices, seed: int = 0) -> tuple[dict[str, Verdict], list[tuple[str, float]]]:
    """Return the verdicts by measures and classifier, and the measures that give most away with their importance."""
    truth = np.repeat([False, True], [len(one.images), len(other.images)])
    groups = np.concatenate([one.patient, other.patient + one.patient.max() + 1])
    families = measured(np.concatenate([one.images, other.images]))
    names = [name for labels, _ in families.values() for name in labels]
    tables = {"all": np.hstack([values for _, values in families.values()])}
    tables |= {family: values for family, (_, values) in families.items()}
    verdicts = {
        f"{family}, {how}": tell_apart(table, truth, groups, how, seed)
        for family, table in tables.items()
        for how in ("forest", "logistic")
    }
    forest = RandomForestClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
    forest.fit(tables["all"], truth)
    order = np.argsort(forest.feature_importances_)[::-1]
    return verdicts, [(names[index], float(forest.feature_importances_[index])) for index in order[:10]]


def control(real: Slices, seed: int = 0) -> Verdict:
    """Return what the same test says of real patients against other real patients: 0.5, as far as so few can tell."""
    numbers = np.random.default_rng(seed).permutation(np.unique(real.patient))
    truth = np.isin(real.patient, numbers[: len(numbers) // 2])
    table = np.hstack([values for _, values in measured(real.images).values()])
    return tell_apart(table, truth, real.patient, "forest", seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("--patients", type=int, default=12, help="phantoms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", action="store_true", help="also train a small network on patches")
    asked = parser.parse_args(arguments)
    real = read_real(asked.real)
    slices = round(len(real.images) / len(np.unique(real.patient)))
    phantoms = draw_phantoms(asked.patients, slices, real.images.shape[1], asked.seed)
    verdicts, telling = compare(real, phantoms, asked.seed)
    verdicts["control: real against real, forest"] = control(real, asked.seed)
    if asked.network:
        from simulations.realism.network import tell_apart_by_patches

        verdicts["patches of 48 pixels, network"] = tell_apart_by_patches(real, phantoms, asked.seed)
    print("| measures, classifier | accuracy | AUC (95 %) | AUC by patient |\n|---|---|---|---|")
    for name, verdict in verdicts.items():
        interval = f"{verdict.auc:.3f} ({verdict.low:.2f} to {verdict.high:.2f})"
        print(f"| {name} | {verdict.accuracy:.2f} | {interval} | {verdict.by_patient:.2f} |")
    print("gives most away:", "; ".join(f"{name} {share:.3f}" for name, share in telling))

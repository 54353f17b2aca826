"""Four real hospitals: is a hospital recognised after harmonising, and does IDH status remain?

    python -m simulations.harmony_on_gliomas SITES --repeats 10 --out FILE
    python -m simulations.harmony_on_gliomas SITES --masks FOLDER --arm pooled

`SITES` holds site folders with T1, FLAIR and T1c, drawn lesion masks and the labels IDH-mutant and IDH-wildtype; a
hospital is the batch, for these images have no headers. Nothing is fitted on a patient who is tested: neither the
harmoniser nor a probe, a scale or a ridge. The label is never a covariate of the harmoniser. A hospital that is left
out is a new scanner: what the others pooled is frozen, and its own sums, of images without labels, give its effect.

The variants of `VARIANTS` were declared before any of them was run, `committee` as the one to judge by, and all are
reported. Yet place, size and enhancement were known to tell these very patients apart (`idh_study` chose its signs on
them), so figures of variants that hold them are on the kind side.

Masks are drawn, or with `--masks` found: by the networks of `segmentation_study`, each in patients it did not train on,
and those who train the regression are read where a network found their tumour, too. So a network that found a training
patient's tumour may have learned from a tested patient's drawn mask, never from anybody's label; `--arm public` are
networks that no patient taught.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedspine.evaluation.bootstrap import DRAWS
from fedspine.evaluation.folds import Fold, patient_folds, site_folds
from fedspine.harmony.combat import BatchEffect, Pooled, adjust, batch_effect, pool
from fedspine.harmony.moments import sums
from fedspine.harmony.space import Space, fit_space, projected, space_sums, space_term
from simulations.harmony_on_gliomas.cases import Cases, cases_of
from simulations.harmony_on_gliomas.measures import Array
from simulations.idh_study.study import summary
from simulations.segmentation_study.found import read_masks

Scores = dict[str, Array]

AXES = 6
"""Principal axes of the second step; hospitals are recognised about as little with 2 axes as with all."""


@dataclass(frozen=True)
class Variant:
    """One way from images to IDH status.

    Args:
        name: in the table.
        harmonised: blocks of `measures.BLOCKS` that ComBat adjusts.
        plain: blocks that are used as they are.
        model: `ridge`, `axes` (ridge on principal axes) or `forest`.
        mean_of: names of variants whose standardised scores are averaged instead.
    """

    name: str
    harmonised: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    model: str = "ridge"
    mean_of: tuple[str, ...] = ()


VARIANTS = (
    Variant("lesion statistics, raw", plain=("lesion",)),
    Variant("lesion statistics", harmonised=("lesion",)),
    Variant("three signs", harmonised=("signs",)),
    Variant("relation to own tissue", harmonised=("relation",)),
    Variant("form and place", plain=("form",)),
    Variant("relation, form and place", harmonised=("relation",), plain=("form",)),
    Variant("all and radiomics, principal axes", harmonised=("relation", "radiomics"), plain=("form",), model="axes"),
    Variant("committee", mean_of=("three signs", "relation to own tissue", "form and place")),
)


@dataclass(frozen=True, eq=False)
class Harmoniser:
    """What the consortium pooled, and each hospital's effect."""

    pooled: Pooled
    effects: dict[str, BatchEffect]

    def apply(self, values: Array, sites: NDArray[np.str_]) -> Array:
        """Return harmonised rows (patient, feature) about 0 in pooled deviations; NaN stays NaN."""
        rows = [adjust(v, np.zeros(0), self.pooled, self.effects[s]) for v, s in zip(values, sites, strict=True)]
        return np.asarray((np.array(rows) - self.pooled.alpha) / self.pooled.sigma)


def harmoniser(values: Array, sites: NDArray[np.str_], train: Sequence[int], new: Sequence[int] = ()) -> Harmoniser:
    """Fit ComBat on the patients `train`.

    Args:
        values: (patient, feature); only the rows of `train` and `new` are read.
        sites: (patient,).
        train: indices.
        new: indices of a hospital that joins: nothing is pooled of it, its sums give its own effect alone.
    """
    batches = {
        site: sums(own, np.zeros((len(own), 0)))
        for site in sorted(set(sites.tolist()))
        if len(own := values[[i for i in (*train, *new) if sites[i] == site]])
    }
    pooled = pool([batches[site] for site in sorted({str(sites[i]) for i in train})])
    nobody = sums(values[:0], np.zeros((0, 0)))
    effects = {site: batch_effect(batches.get(site, nobody), pooled) for site in sorted(set(sites.tolist()))}
    return Harmoniser(pooled, effects)


def in_space(values: Array, sites: NDArray[np.str_], train: Sequence[int], axes: int = AXES) -> Array:
    """Return all patients in the harmonisation space (patient, axis): ComBat, principal axes, ComBat on those.

    Means and variances alone leave each hospital its own correlations, by which a forest knows it; the second step
    evens out variances along shared axes too (CovBat; Chen et al. 2022, Hum Brain Mapp 43:1179).
    """
    first = harmoniser(values, sites, train).apply(values, sites)
    coordinates = projected(np.nan_to_num(first), _space(first, sites, train, axes))
    return harmoniser(coordinates, sites, train).apply(coordinates, sites)


def _space(values: Array, sites: NDArray[np.str_], train: Sequence[int], axes: int) -> Space:
    batches = []
    for site in sorted({str(sites[i]) for i in train}):
        own = values[[i for i in train if sites[i] == site]]
        terms = [space_term(np.nan_to_num(row), np.isfinite(row), bounded=False) for row in own]
        batches.append(space_sums({key: np.sum([t[key] for t in terms], axis=0) for key in terms[0]}, len(own)))
    return fit_space(batches, axes)


PROBES: dict[str, Callable[[], Any]] = {
    "linear": lambda: LogisticRegression(class_weight="balanced", max_iter=3000),
    "forest": lambda: RandomForestClassifier(300, class_weight="balanced", random_state=0),
}

STEPS: dict[str, Callable[[Array, NDArray[np.str_], Sequence[int]], Array]] = {
    "raw": lambda values, sites, train: values,
    "ComBat": lambda values, sites, train: harmoniser(values, sites, train).apply(values, sites),
    "ComBat in the harmonisation space": in_space,
}


def recognised(cases: Cases, repeats: int, folds: int = 5) -> list[dict[str, Any]]:
    """Return, for each step and probe, how well a held-out patient's hospital is told from intensity statistics."""
    values, sites, found = cases.blocks["intensity"], cases.sites, []
    for step, change in STEPS.items():
        for probe, made in PROBES.items():
            balanced, plain = [], []
            for seed in range(repeats):
                told = np.empty(len(sites), dtype=sites.dtype)
                for fold in patient_folds(sites.tolist(), folds, seed=seed):
                    changed, train, test = change(values, sites, fold.train), list(fold.train), list(fold.test)
                    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), made())
                    told[test] = model.fit(changed[train], sites[train]).predict(changed[test])
                balanced.append(float(balanced_accuracy_score(sites, told)))
                plain.append(float(accuracy_score(sites, told)))
            found.append({"step": step, "probe": probe, "balanced": balanced, "plain": plain})
    return found


def out_of_fold(cases: Cases, folds: Sequence[Fold], seed: int, *, joins: bool = False) -> Scores:
    """Return each variant's log-odds of wild type for every patient, from a fold that did not train on them.

    Args:
        cases: with a known label.
        folds: of patients, or of hospitals.
        seed: of the inner folds.
        joins: whether a test hospital is new: its own unlabelled sums give its effect.
    """
    scores = {variant.name: np.full(len(cases.labels), np.nan) for variant in VARIANTS}
    for fold in folds:
        train, test = list(fold.train), list(fold.test)
        for variant in VARIANTS:
            if variant.mean_of:
                scores[variant.name][test] = np.mean([scores[name][test] for name in variant.mean_of], axis=0)
                continue
            parts = [cases.blocks[name] for name in variant.plain]
            for name in variant.harmonised:
                made = harmoniser(cases.blocks[name], cases.sites, train, test if joins else ())
                parts.append(made.apply(cases.blocks[name], cases.sites))
            values = np.hstack(parts)
            model = _model(variant.model, seed).fit(values[train], cases.labels[train])
            trained = model.decision_function(values[train])
            scores[variant.name][test] = (model.decision_function(values[test]) - trained.mean()) / trained.std()
    return scores


def _model(kind: str, seed: int) -> GridSearchCV:
    """Return the model, whose ridge (and number of axes) is chosen by folds of the training patients alone."""
    reduced = (PCA(random_state=0),) if kind == "axes" else ()
    regression = LogisticRegression(class_weight="balanced", max_iter=3000)
    steps = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), *reduced, regression)
    grid: dict[str, list[Any]] = {"logisticregression__C": [0.01, 0.1, 1.0]}
    if kind == "axes":
        grid["pca__n_components"] = [4, 8]
    return GridSearchCV(steps, grid, scoring="roc_auc", cv=StratifiedKFold(5, shuffle=True, random_state=seed))


def idh(cases: Cases, repeats: int, folds: int = 5) -> dict[str, list[Scores]]:
    """Return the scores of all variants: `patients` of each repeat of the folds, `hospitals` with each left out.

    Args:
        cases: with a known label.
        repeats: of the folds by patient, and of the inner folds of those by hospital.
        folds: by patient.
    """
    by_patient, by_hospital = [], []
    for seed in range(repeats):
        by_patient.append(out_of_fold(cases, patient_folds(cases.labels.tolist(), folds, seed=seed), seed))
        by_hospital.append(out_of_fold(cases, site_folds(cases.sites.tolist()), seed, joins=True))
    return {"patients": by_patient, "hospitals": by_hospital}


def recognition_table(found: Sequence[dict[str, Any]]) -> str:
    """Return what `recognised` found: the mean over repeats, and the range."""
    lines = ["| intensity statistics | probe | balanced accuracy | accuracy |", "|---|---|---|---|"]
    for row in found:
        cells = [f"{np.mean(row[k]):.3f} ({min(row[k]):.2f} to {max(row[k]):.2f})" for k in ("balanced", "plain")]
        lines.append(f"| {row['step']} | {row['probe']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def idh_table(cases: Cases, scores: dict[str, list[Scores]], draws: int = DRAWS) -> str:
    """Return each variant's AUC: mean over repeats, and of the mean score with its interval over patients."""
    lines = [
        "| variant | folds by | AUC, mean of repeats (range) | AUC of the mean score (95 %) |",
        "|---|---|---|---|",
    ]
    for way, by_seed in scores.items():
        for name, area in summary(cases.labels, by_seed, draws).items():
            seeds, kept = area.seeds, area.averaged
            shown = f"{np.mean(seeds):.3f} ({min(seeds):.2f} to {max(seeds):.2f})"
            lines.append(f"| {name} | {way} | {shown} | {kept.value:.3f} ({kept.low:.2f} to {kept.high:.2f}) |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path, metavar="SITES")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, help="file for every repeat's figures and scores, outside of the project")
    parser.add_argument("--masks", type=Path, help="folder of found masks; drawn ones if left out")
    parser.add_argument("--arm", choices=("public", "pooled", "federated"), default="pooled", help="that found them")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = cases_of(asked.sites, None if asked.masks is None else read_masks(asked.masks, asked.arm))
    hospitals = recognised(cases, asked.repeats)
    print(recognition_table(hospitals), flush=True)
    known = cases.rows(cases.labels >= 0)
    scores = idh(known, asked.repeats)
    print(idh_table(known, scores))
    if asked.out is not None:
        kept = {way: [{k: v.tolist() for k, v in one.items()} for one in found] for way, found in scores.items()}
        asked.out.write_text(json.dumps({"hospitals": hospitals, "scores": kept}), encoding="utf-8")

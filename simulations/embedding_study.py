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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fedspine.atlas.anchors import on_grid, phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.evaluation.folds import patient_folds
from fedspine.harmony.apply import coordinates, harmonised
from fedspine.networks.towers import Towers
from fedspine.phantom.genome import CLASSES, expected_expression
from fedspine.phantom.patient import Phantom, draw, to_patient
from fedspine.phantom.scanner import SCANNERS, ScannerModel
from fedspine.plans.default import default_plan
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured, Site, make, public_values
from fedspine.tasks.encode import Encode
from simulations.loop import start, train

SEEN, UNSEEN = (0, 1, 2, 5), (3, 4)
"""Which of `phantom.scanner.SCANNERS` the hospitals have, and which join later."""

JOINING = 20
"""Patients by whose sums a scanner joins."""

STAGES = (
    Stage("standardise", "standardise"),
    Stage("harmonise", "harmonise", rounds=2, options={"axes": 6}),
    Stage("encode", "encode", rounds=6, steps=5, sample_rate=0.5, pretrain_steps=250, pretrain_rate=3e-3),
)

TEACHERS = 160

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Arm:
    """One way from examinations to embeddings.

    Args:
        name: of the row.
        harmonised: whether scanners' effects are taken off.
        twins: weight of the anchors' two examinations.
        pooled: whether all patients lie in one place.
    """

    name: str
    harmonised: bool
    twins: float
    pooled: bool = False


ARMS = (
    Arm("pooled, not harmonised", False, 0.0, pooled=True),
    Arm("federated, not harmonised", False, 0.0),
    Arm("federated, twins alone", False, 1.0),
    Arm("federated, harmonised alone", True, 0.0),
    Arm("federated, harmonised and twins", True, 1.0),
)


@dataclass(frozen=True, eq=False)
class People:
    """Phantoms and their examinations.

    Args:
        site: (person,) which of `SEEN`'s hospitals each goes to.
        label: (person,) index of the class.
        truth: (person,) the markers' mean as an assay without error would measure them.
        seen: each at the own hospital.
        unseen: each on one of `UNSEEN`.
        joining: other people, `JOINING` on each of `UNSEEN`.
    """

    site: Labels = field(repr=False)
    label: Labels = field(repr=False)
    truth: Array = field(repr=False)
    seen: list[PatientTensors] = field(repr=False)
    unseen: list[PatientTensors] = field(repr=False)
    joining: list[PatientTensors] = field(repr=False)


def people(plan: Plan, patients: int, seed: int) -> People:
    """Return `patients` a hospital, classes in turn at each."""
    count = patients * len(SEEN)
    drawn = [_person(plan, index, seed) for index in range(count)]
    site = np.arange(count) // len(CLASSES) % len(SEEN)
    others = [_person(plan, count + index, seed) for index in range(JOINING * len(UNSEEN))]
    expected = np.stack([expected_expression(one.tumour, one.pathways)[:5] for one in drawn])
    shown = np.arcsinh(expected)
    return People(
        site,
        np.array([CLASSES.index(one.label) for one in drawn]),
        ((shown - shown.mean(0)) / shown.std(0)).mean(1),
        [_examined(plan, one, SCANNERS[SEEN[s]], 0) for one, s in zip(drawn, site, strict=True)],
        [_examined(plan, one, SCANNERS[UNSEEN[i % 2]], i % 2) for i, one in enumerate(drawn)],
        [_examined(plan, one, SCANNERS[UNSEEN[i % 2]], i % 2) for i, one in enumerate(others)],
    )


def _person(plan: Plan, index: int, seed: int) -> Phantom:
    data = plan.data
    shape = (data.slices, data.size, data.size)
    random = np.random.default_rng([seed, 31, index])
    return draw(random, label=CLASSES[index % len(CLASSES)], shape=shape, levels=data.levels)


def _examined(plan: Plan, person: Phantom, scanner: ScannerModel, batch: int) -> PatientTensors:
    patient = to_patient(person, "phantom", scanner, contrasts=plan.data.contrasts)
    return replace(on_grid(plan, [patient], 31)[0], batch=batch)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What training patients left behind.

    Args:
        shared: released and public values, per hospital; the last two are the scanners that joined.
        task, model: the encoder.
    """

    shared: Sequence[Mapping[str, Tensor]]
    task: Encode
    model: Towers


def fit(plan: Plan, arm: Arm, sites: Sequence[Sequence[PatientTensors]], joining: Sequence[PatientTensors]) -> Fitted:
    """Run the arm's stages on training patients."""
    shared: dict[str, Tensor] = {}
    own: list[dict[str, Tensor]] = [{} for _ in sites]
    new: dict[str, Tensor] = {}
    for stage in plan.stage[:2]:
        if stage.task == "harmonise" and not arm.harmonised:
            continue
        shared |= public_values(plan, stage, shared)
        task = make(plan, stage, shared)
        assert isinstance(task, Measured)
        released = {f"site-{index}": _released(task, patients) for index, patients in enumerate(sites)}
        outcome = task.finish(released, 0.0)
        shared |= {f"{stage.task}.{key}": value for key, value in outcome.common.items()}
        for index, values in enumerate(own):
            values |= {f"{stage.task}.{key}": value for key, value in outcome.own.get(f"site-{index}", {}).items()}
        if stage.task == "harmonise":
            late = replace(stage, initial="of these hospitals")
            frozen = {f"frozen.harmonise.{key}": value for key, value in outcome.common.items()}
            joins = make(
                plan, late, {"prior.mean": shared["prior.mean"], "prior.deviation": shared["prior.deviation"], **frozen}
            )
            assert isinstance(joins, Measured)
            effects = joins.finish({"new": _released(joins, joining)}, 0.0).own["new"]
            new = {f"harmonise.{key}": value for key, value in effects.items()}
    if arm.harmonised:
        _find_space(plan, sites, shared, own)
    stage = replace(plan.stage[2], options={"twin_weight": arm.twins})
    shared |= public_values(plan, stage, shared)
    encode = make(plan, stage, shared)
    assert isinstance(encode, Encode)
    every = [{**shared, **values} for values in own]
    after = [[harmonised(one, values) for one in patients] for patients, values in zip(sites, every, strict=True)]
    after = [[one for patients in after for one in patients]] if arm.pooled else after
    model = train(encode, plan, stage, after, start(encode, stage, _teachers(plan), plan.seed), seed=plan.seed)
    assert isinstance(model, Towers)
    return Fitted([*every, {**shared, **new}], encode, model)


def _find_space(
    plan: Plan, sites: Sequence[Sequence[PatientTensors]], shared: dict[str, Tensor], own: Sequence[dict[str, Tensor]]
) -> None:
    """Do the second round of `harmonise`; `shared` and `own` are added to."""
    task = make(plan, plan.stage[1], shared)
    assert isinstance(task, Measured)
    released = {
        f"site-{index}": _released(task, [harmonised(one, {**shared, **own[index]}) for one in patients])
        for index, patients in enumerate(sites)
    }
    outcome = task.finish(released, 0.0)
    shared |= {f"harmonise.{key}": value for key, value in outcome.common.items()}
    for index, values in enumerate(own):
        values |= {f"harmonise.{key}": value for key, value in outcome.own[f"site-{index}"].items()}


def _released(task: Measured, patients: Sequence[PatientTensors]) -> Site:
    sums = measure(task, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
    return Site(sums, len(patients), tuple(sum(one.batch == number for one in patients) for number in range(4)))


def _teachers(plan: Plan) -> list[PatientTensors]:
    return phantoms(plan, TEACHERS, purpose=1)


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
    *(
        "features: scanner, linear",
        "features: scanner, forest",
        "embedding: scanner, linear",
        "embedding: scanner, forest",
    ),
    *(
        "class, linear",
        "class, forest",
        "class on unseen scanners, linear",
        "class on unseen scanners, forest",
        "score",
    ),
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


if __name__ == "__main__":
    main()

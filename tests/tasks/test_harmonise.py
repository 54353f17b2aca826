"""Scanners' effects from released sums: the reference's numbers without noise, whoever holds which scanner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedspine.cohort.patient import Scanner
from fedspine.cohort.tensors import PatientTensors, Person
from fedspine.config import DataPlan, Plan, PrivacyPlan, Stage
from fedspine.errors import ConfigError
from fedspine.harmony import apply
from fedspine.harmony.apply import coordinates, effect_of, harmonised, pooled_of
from fedspine.harmony.combat import adjust
from fedspine.harmony.covariates import covariate_row
from fedspine.harmony.features import BODY, features
from fedspine.tasks import harmonise
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured, Site, make

FIXTURE = Path(__file__).parent.parent / "data" / "combat_fixture.npz"
CONTRASTS = ("T1", "T2", "T1c", "STIR", "ADC", "DWI", "FLAIR", "T1 axial", "T2 axial", "T1c axial")
COVARIATES = ("sex", "level", "age")
NO_NOISE = Strength(math.inf, 0.0)


def _plan(contrasts: Sequence[str], rounds: int = 1, mechanism: str = "none") -> Plan:
    stage = Stage("harmonise", "harmonise", rounds=rounds, options={"covariates": list(COVARIATES)})
    return Plan("p", data=DataPlan(contrasts=tuple(contrasts), size=32), privacy=PrivacyPlan(mechanism), stage=(stage,))


def _patient(person: Person, batch: int, images: Tensor | None = None) -> PatientTensors:
    shown = torch.ones(1, 1, 1, 1) if images is None else images
    return PatientTensors(
        shown, torch.ones(shown.shape[1]), None, -1, torch.zeros(0), torch.zeros(0), None, person, batch=batch
    )


def _shared(size: int) -> dict[str, Tensor]:
    return {"prior.mean": torch.zeros(size), "prior.deviation": torch.ones(size)}


def _finished(
    plan: Plan, shared: dict[str, Tensor], sites: dict[str, list[PatientTensors]]
) -> dict[str, dict[str, Tensor]]:
    """Return what every site holds after one round of the plan's stage."""
    task = make(plan, plan.stage[0], shared)
    assert isinstance(task, Measured)
    released = {
        name: Site(
            measure(task, patients, NO_NOISE, np.random.default_rng(0)),
            len(patients),
            tuple(sum(one.batch == number for one in patients) for number in range(4)),
        )
        for name, patients in sites.items()
    }
    outcome = task.finish(released, 0.0)
    common = {f"harmonise.{key}": value for key, value in outcome.common.items()}
    return {
        name: {**shared, **common, **{f"harmonise.{key}": value for key, value in outcome.own.get(name, {}).items()}}
        for name in sites
    }


@pytest.fixture
def fixture_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[NDArray[np.float64], list[PatientTensors], NDArray[np.int64]]:
    """Return the reference's input as patients whose features are its rows."""
    data = np.load(FIXTURE)
    rows, batch, cov = data["Y"], data["batch"].astype(int), data["cov"].astype(np.float64)
    age = cov[:, 1].astype(np.float32)  # the reference rounds continuous covariates
    people = [
        Person(float(a), "F" if sex else "M", float(level))
        for a, sex, level in zip(age, cov[:, 2], cov[:, 3], strict=True)
    ]
    patients = [_patient(person, 0) for person in people]
    row_of = {id(patient): torch.from_numpy(row) for patient, row in zip(patients, rows, strict=True)}
    monkeypatch.setattr(harmonise, "features", lambda patient: (row_of[id(patient)], torch.ones(rows.shape[1])))
    return data["harmonised"], patients, batch


def test_sites_that_each_hold_a_scanner_get_the_references_numbers(
    fixture_rows: tuple[NDArray[np.float64], list[PatientTensors], NDArray[np.int64]],
) -> None:
    wanted, patients, batch = fixture_rows
    raw = np.load(FIXTURE)["Y"]
    sites = {f"site-{b}": [one for one, own in zip(patients, batch, strict=True) if own == b] for b in range(4)}
    held = _finished(_plan(CONTRASTS), _shared(raw.shape[1]), sites)
    for index, patient in enumerate(patients):
        shared = held[f"site-{batch[index]}"]
        pooled, names = pooled_of(shared)
        assert names == COVARIATES
        found = adjust(raw[index], covariate_row(patient.person, names), pooled, effect_of(shared, 0))
        assert np.abs(found - wanted[index]).max() < 1e-10


def test_two_scanners_at_one_site_count_as_two_batches(
    fixture_rows: tuple[NDArray[np.float64], list[PatientTensors], NDArray[np.int64]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, patients, batch = fixture_rows
    apart = {f"site-{b}": [one for one, own in zip(patients, batch, strict=True) if own == b] for b in range(4)}
    each = _finished(_plan(CONTRASTS), _shared(40), apart)
    row_of = vars(harmonise)["features"]
    moved = [replace(one, batch=int(own)) for one, own in zip(patients, batch, strict=True)]
    origin = {id(new): old for new, old in zip(moved, patients, strict=True)}
    monkeypatch.setattr(harmonise, "features", lambda patient: row_of(origin[id(patient)]))
    together = _finished(_plan(CONTRASTS), _shared(40), {"one": moved})["one"]
    for b in range(4):
        found, wanted = effect_of(together, b), effect_of(each[f"site-{b}"], 0)
        assert np.allclose(found.gamma, wanted.gamma, atol=1e-12)
        assert np.allclose(found.delta, wanted.delta, atol=1e-12)


def _scanned(gain: float, offset: float, seed: int, batch: int) -> PatientTensors:
    random = np.random.default_rng(seed)
    body = random.uniform(0.5, 0.7) + random.normal(0, 0.1, (2, 2, 32, 32))
    images = torch.from_numpy((gain * body + offset).clip(0.06, 1.5)).float()
    return _patient(Person(float(random.uniform(30, 80))), batch, images)


def test_images_and_features_of_two_scanners_meet_and_air_stays_air() -> None:
    patients = [_scanned(1.0, 0.0, seed, 0) for seed in range(30)] + [
        _scanned(0.6, 0.2, seed, 1) for seed in range(30, 60)
    ]
    plan = _plan(("T1", "T2"), rounds=2)
    shared = _finished(plan, _shared(8), {"one": patients})["one"]
    patients[0].images[:, :, :4] = 0.01
    after = [harmonised(one, shared) for one in patients]
    assert torch.equal(after[0].images[:, :, :4], patients[0].images[:, :, :4])

    def apart(rows: list[Tensor]) -> float:
        both = torch.stack(rows)
        return float((both[1:30].mean(0) - both[30:].mean(0))[:2].abs().max())

    before = apart([features(one)[0] for one in patients])
    assert before > 0.03
    assert apart([features(one)[0] for one in after]) < 0.2 * before
    rows = [one.harmonised for one in after]
    assert all(row is not None for row in rows)
    assert apart([row[0] for row in rows if row is not None]) < 0.2 * before
    assert all(float(row[1][2:4].sum()) == 0 for row in rows if row is not None)  # no mask: no feature of a lesion
    space = _finished(plan, shared, {"one": after})["one"]
    axes = space["harmonise.axes"]
    assert 1 <= len(axes) <= 8
    assert torch.allclose(axes @ axes.T, torch.eye(len(axes), dtype=torch.float64), atol=1e-6)
    assert after[0].images[after[0].images > BODY].min() >= 0
    places = np.stack([place for one in after if (place := coordinates(one, space)) is not None])
    assert places.shape == (60, len(axes))
    assert np.abs(places[:30].mean(0) - places[30:].mean(0)).max() < 0.2 * places.std(0).max()
    assert coordinates(after[0], shared) is None  # before the second round there is no space


def test_a_patient_without_a_scanner_says_nothing_and_stays_as_it_is() -> None:
    shared = _finished(_plan(("T1", "T2")), _shared(8), {"one": [_scanned(1, 0, seed, 0) for seed in range(4)]})["one"]
    bare = replace(_scanned(1.0, 0.0, 9, 0), batch=-1)
    assert harmonised(bare, shared) is bare
    task = make(_plan(("T1", "T2")), _plan(("T1", "T2")).stage[0], _shared(8))
    assert isinstance(task, Measured)
    assert task.term(bare) is None
    assert apply.harmonised(bare, {}) is bare


def test_the_label_is_no_covariate() -> None:
    plan = _plan(("T1",))
    stage = replace(plan.stage[0], options={"covariates": ["label"]})
    with pytest.raises(ConfigError, match=r"must be of a person, never a label; found 'label'"):
        make(plan, stage, _shared(4))


def _site_of(gains: Sequence[float], field: Sequence[float], each: int, seed: int) -> list[PatientTensors]:
    found = []
    for batch, (gain, tesla) in enumerate(zip(gains, field, strict=True)):
        scanner = Scanner("Siemens", "Aera", tesla, echo_time_ms=20.0, repetition_time_ms=500.0)
        for index in range(each):
            one = _scanned(gain, 0.0, seed + 100 * batch + index, batch)
            found.append(replace(one, scanners=(scanner, scanner)))
    return found


def test_a_scanner_that_nobody_lay_on_is_told_by_its_settings() -> None:
    """Gain rises with the field; the fourth scanner of the second site has a field between, and no patient."""
    plan = _plan(("T1", "T2"))
    first = _site_of((0.5, 0.6, 0.9, 1.0), (0.5, 1.0, 2.5, 3.0), 25, 0)
    second = _site_of((0.55, 0.65, 0.95), (0.75, 1.25, 2.75), 25, 5000)
    held = _finished(plan, _shared(8), {"one": first, "two": second})
    new = replace(_site_of((0.95,), (2.75,), 1, 9000)[0], batch=3)
    assert new.scanner is not None
    told = harmonised(new, held["two"])
    known = harmonised(replace(new, batch=2), held["two"])
    blind = harmonised(replace(new, scanners=(None, None)), held["two"])
    assert told.harmonised is not None
    assert known.harmonised is not None
    assert blind.harmonised is not None
    wanted = known.harmonised[0][:2]
    missed = float((told.harmonised[0][:2] - wanted).abs().max())
    assert missed < 0.3 * float((blind.harmonised[0][:2] - wanted).abs().max())


def test_who_joins_late_changes_nobody_elses_features() -> None:
    plan = _plan(("T1", "T2"))
    first = _site_of((0.6, 1.0), (1.5, 3.0), 25, 0)
    shared = _finished(plan, _shared(8), {"one": first})["one"]
    frozen = {f"frozen.{key}": value for key, value in shared.items() if "harmonise." in key}
    late = replace(plan, stage=(replace(plan.stage[0], initial="harmonise.safetensors"),))
    joined = _finished(late, {**_shared(8), **frozen}, {"new": _site_of((0.8,), (1.5,), 20, 7000)})["new"]
    for key in ("alpha", "beta", "sigma"):
        assert torch.allclose(joined[f"harmonise.{key}"], shared[f"harmonise.{key}"], atol=1e-9)
    after = [harmonised(one, joined).harmonised for one in _site_of((0.8,), (1.5,), 30, 8000)]
    others = [harmonised(one, shared).harmonised for one in first]

    def mean(rows: Sequence[tuple[Tensor, Tensor] | None]) -> Tensor:
        return torch.stack([row[0][:2] for row in rows if row is not None]).mean(0)

    assert float((mean(after) - mean(others)).abs().max()) < 0.03
    with pytest.raises(ConfigError, match="must be of a plan with the same contrasts and covariates"):
        make(replace(late, data=replace(plan.data, contrasts=("T1",))), late.stage[0], {**_shared(4), **frozen})

"""The harmony study: measures mean what they say, and nothing is fitted on a patient who is tested."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from fedspine.cohort.tensors import PatientTensors
from fedspine.errors import InputError
from fedspine.evaluation.folds import patient_folds, site_folds
from simulations.harmony_on_gliomas import cases as cases_module
from simulations.harmony_on_gliomas import study
from simulations.harmony_on_gliomas.cases import Cases, cases_of
from simulations.harmony_on_gliomas.measures import BLOCKS
from simulations.harmony_on_gliomas.study import (
    VARIANTS,
    Variant,
    harmoniser,
    idh,
    idh_table,
    in_space,
    out_of_fold,
    recognised,
    recognition_table,
)

QUICK = (
    Variant("one", harmonised=("signs",)),
    Variant("two", harmonised=("relation",), plain=("form",), model="axes"),
    Variant("both", mean_of=("one", "two")),
)
"""One variant of each kind."""

SIZES = {"intensity": 21, "lesion": 14, "signs": 3, "relation": 11, "form": 9, "radiomics": 72}


def head(seed: int = 0, *, uptake: float = 0.0, row: int = 14, core: float = 0.0) -> PatientTensors:
    """Return a round head of 3 slices of 48² with a round lesion, bright in FLAIR and dark in T1."""
    draws = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    inside = ((rows - 24) ** 2 + (columns - 24) ** 2 < 20**2).float()
    distance = ((rows - row) ** 2 + (columns - 24) ** 2).sqrt()
    mask, middle = (distance < 6).float(), (distance < 3).float()
    images = (0.4 + 0.05 * torch.rand(3, 3, 48, 48, generator=draws)) * inside
    images[:, 0] -= 0.1 * mask
    images[:, 1] += 0.3 * mask - core * middle
    images[:, 2] += (uptake - 0.1) * mask
    lesion = mask.expand(3, 1, 48, 48).clone()
    return PatientTensors(images, torch.ones(3), lesion, 0, torch.zeros(0), torch.zeros(0))


def measured(block: str, patient: PatientTensors) -> np.ndarray:
    return BLOCKS[block](patient)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_its_size_and_is_known_for_a_whole_patient(block: str) -> None:
    found = measured(block, head())
    assert found.shape == (SIZES[block],)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_missing_is_unknown_and_nothing_fails(block: str) -> None:
    one = head()
    without = dataclasses.replace(one, present=torch.tensor([0.0, 1.0, 0.0]), images=one.images.clone())
    without.images[:, [0, 2]] = 0
    bare = dataclasses.replace(one, mask=None)
    assert measured(block, without).shape == measured(block, bare).shape == (SIZES[block],)
    assert np.isnan(measured(block, without)).any() == (block != "form")
    assert np.isnan(measured(block, bare)).all() == (block != "intensity")


def test_relation_follows_uptake_and_a_dark_core_whatever_the_scanners_scale() -> None:
    plain, bright, dark = (measured("relation", one) for one in (head(), head(uptake=0.3), head(core=0.2)))
    assert (bright - plain)[[2, 5, 6]].min() > 2
    assert np.allclose(np.delete(bright - plain, [2, 5, 6]), 0, atol=1e-6)
    assert dark[7] < plain[7] - 2
    scaled = dataclasses.replace(head(), images=1.3 * head().images)
    assert np.allclose(measured("relation", scaled), plain, rtol=1e-3, atol=1e-3)


def test_form_follows_the_place_of_the_lesion_alone() -> None:
    front, behind = measured("form", head(row=14)), measured("form", head(row=24))
    assert behind[0] == pytest.approx(front[0] + 10 / 38, abs=0.02)
    assert np.allclose(front[1:], behind[1:], atol=0.02)
    assert front[5] > 0.8


def cases(seed: int = 0, patients: int = 72, effect: float = 1.5) -> Cases:
    """Return random measures of three hospitals that differ in scale, and the label in one column of each block."""
    random = np.random.default_rng(seed)
    sites = np.array(["a", "b", "c"])[np.arange(patients) % 3]
    labels = (random.random(patients) < 0.4).astype(np.int64)
    shift, scale = random.normal(0, effect, (3, 30)), np.exp(random.normal(0, 0.3, (3, 30)))
    at = np.arange(patients) % 3
    blocks = {}
    for block, size in SIZES.items():
        width = min(size, 30)
        values = random.normal(size=(patients, width))
        values[:, 0] += 3.0 * labels
        blocks[block] = values * scale[at, :width] + shift[at, :width]
    return Cases(sites, labels, blocks)


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(study.PROBES, "forest", lambda: RandomForestClassifier(30, random_state=0))


@pytest.mark.usefixtures("few_trees")
def test_hospitals_are_recognised_from_raw_measures_and_not_in_the_harmonisation_space() -> None:
    found = {(row["step"], row["probe"]): row["balanced"][0] for row in recognised(cases(patients=240), 1)}
    assert min(found["raw", "linear"], found["raw", "forest"]) > 0.8
    last = "ComBat in the harmonisation space"
    assert max(found[last, "linear"], found[last, "forest"]) < 1 / 3 + 0.1


def test_a_tested_patient_moves_neither_the_harmoniser_nor_another_patient() -> None:
    one = cases()
    changed = one.blocks["intensity"].copy()
    changed[70] += 100.0
    train = range(60)
    before, after = (in_space(values, one.sites, train) for values in (one.blocks["intensity"], changed))
    assert np.array_equal(np.delete(before, 70, 0), np.delete(after, 70, 0))
    assert not np.array_equal(before[70], after[70])


def test_a_hospital_that_joins_pools_nothing_and_gets_its_own_effect() -> None:
    one = cases()
    values, sites = one.blocks["intensity"], one.sites
    others, joins = np.flatnonzero(sites != "c").tolist(), np.flatnonzero(sites == "c").tolist()
    alone, joined = harmoniser(values, sites, others), harmoniser(values, sites, others, joins)
    assert np.array_equal(alone.pooled.alpha, joined.pooled.alpha)
    assert np.array_equal(alone.effects["a"].gamma, joined.effects["a"].gamma)
    raw, aligned = alone.apply(values, sites), joined.apply(values, sites)
    assert np.abs(aligned[joins].mean(0)).mean() < 0.2 * np.abs(raw[joins].mean(0)).mean()


@pytest.mark.parametrize("joins", [False, True])
def test_the_labels_of_tested_patients_change_nothing(joins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "VARIANTS", QUICK)
    one = cases()
    folds = site_folds(one.sites.tolist()) if joins else patient_folds(one.labels.tolist(), 4, seed=0)
    fold = folds[0]
    other = one.labels.copy()
    other[list(fold.test)] = 1 - other[list(fold.test)]
    scores = [out_of_fold(c, [fold], 0, joins=joins) for c in (one, dataclasses.replace(one, labels=other))]
    for name in scores[0]:
        assert np.array_equal(scores[0][name], scores[1][name], equal_nan=True)
        assert np.isfinite(scores[0][name][list(fold.test)]).all()


def test_a_variant_that_holds_the_label_finds_it_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "VARIANTS", QUICK)
    one = cases(patients=48)
    scores = idh(one, 1, folds=2)
    assert list(scores) == ["patients", "hospitals"]
    for (by_seed,) in scores.values():
        assert roc_auc_score(one.labels, by_seed["one"]) > 0.8
        assert np.allclose(by_seed["both"], (by_seed["one"] + by_seed["two"]) / 2)


def test_every_declared_variant_is_reported_both_ways() -> None:
    assert len(VARIANTS) == 8
    assert {block for v in VARIANTS for block in (*v.harmonised, *v.plain)} <= set(BLOCKS)
    one, random = cases(patients=12), np.random.default_rng(0)
    drawn = {variant.name: random.normal(size=12) for variant in VARIANTS}
    lines = idh_table(one, {"patients": [drawn], "hospitals": [drawn]}, draws=9).splitlines()
    assert len(lines) == 2 + 2 * len(VARIANTS)
    assert all(sum(f"| {variant.name} |" in line for line in lines) == 2 for variant in VARIANTS)


def test_found_masks_take_the_place_of_drawn_ones_and_all_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = {"a": [head(0), head(1)], "b": [head(2, row=20)]}
    monkeypatch.setattr(cases_module, "read_sites", lambda folder, data: sites)
    elsewhere = head(row=24).lesion
    assert elsewhere is not None
    masks = {(site, index): elsewhere for site, patients in sites.items() for index in range(len(patients))}
    drawn, found = cases_of(Path()), cases_of(Path(), masks)
    assert np.array_equal(found.blocks["intensity"], drawn.blocks["intensity"])
    assert np.ptp(drawn.blocks["form"][:, 0]) > 0.1
    assert np.ptp(found.blocks["form"][:, 0]) < 0.01
    with pytest.raises(InputError, match="1 missing"):
        cases_of(Path(), {key: mask for key, mask in masks.items() if key != ("a", 1)})


def test_recognition_is_reported_with_its_range() -> None:
    row = {"step": "raw", "probe": "forest", "balanced": [0.5, 0.7], "plain": [0.6, 0.8]}
    assert "| raw | forest | 0.600 (0.50 to 0.70) | 0.700 (0.60 to 0.80) |" in recognition_table([row])

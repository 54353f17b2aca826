"""Phantom heads: the template, one body where a plan asks for it, masks that say what FLAIR shows."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from fedspine.atlas.anchors import phantoms
from fedspine.cli import app
from fedspine.cohort.patient import Patient
from fedspine.config import DataPlan, Plan, Stage, check_plan, load_plan
from fedspine.errors import ConfigError, InputError
from fedspine.phantom.brain.anatomy import draw_head, draw_view
from fedspine.phantom.brain.template import template
from fedspine.phantom.brain.tumour import Place, pushed
from fedspine.phantom.public import public_patients
from fedspine.phantom.variation import NAMES, Recipe, crossed, fresh, grown_from, varied
from fedspine.plans.shipped import find_plan
from fedspine.tasks._task import make

CONTRASTS = ("T1", "FLAIR", "STIR")
SHAPE = (5, 64, 64)


def heads(count: int, seed: int = 0) -> tuple[Patient, ...]:
    return public_patients(count, seed, contrasts=CONTRASTS, shape=SHAPE, body="brain")


def test_the_template_is_a_brain() -> None:
    brain = template()
    inside = brain.depth_mm < 0
    litres = inside.sum() * 8 / 1e6
    assert 1.5 < litres < 2.2  # with ventricles and the fluid between folds, as the template's authors draw it
    assert float(brain.white[inside].sum() / brain.grey[inside].sum()) == pytest.approx(0.65, abs=0.25)
    middle = np.argwhere(inside).mean(0)
    assert abs(middle[0] - inside.shape[0] / 2) < 3  # left and right are alike


def test_the_same_seed_gives_the_same_heads_and_another_one_others() -> None:
    one, same, other = heads(2)[1], heads(3)[1], heads(2, seed=1)[1]
    assert np.array_equal(one.volumes["FLAIR"].voxels, same.volumes["FLAIR"].voxels)
    assert not np.array_equal(one.volumes["FLAIR"].voxels, other.volumes["FLAIR"].voxels)


def test_heads_are_axial_and_lack_what_nobody_scans_of_a_head() -> None:
    (head,) = heads(1)
    assert set(head.volumes) == {"T1", "FLAIR"}
    assert head.volumes["T1"].plane == "axial"
    assert head.omics is None
    slice_mm, row_mm, column_mm = head.volumes["T1"].spacing_mm
    assert row_mm == pytest.approx(column_mm)
    assert 190 < 64 * row_mm < 280
    assert 100 < 5 * slice_mm < 140


def test_a_normal_head_has_no_tumour_and_the_others_one_that_is_brighter_in_flair() -> None:
    differences, unseen = [], 0
    for head in heads(30):
        assert head.mask is not None
        inside = np.asarray(head.mask.voxels) > 0
        if head.label == "normal":
            assert not inside.any()
            continue
        unseen += not inside.any()
        if inside.sum() > 20:
            flair = head.volumes["FLAIR"].voxels.astype(np.float64)
            brain = (flair > np.percentile(flair, 60)) & ~inside
            differences.append(flair[inside].mean() / flair[brain].mean())
    assert unseen <= 3  # between two slices
    assert len(differences) >= 12
    assert np.median(differences) > 1.15


def test_a_contrast_looks_the_same_whatever_else_is_scanned() -> None:
    alone, among = (
        public_patients(2, 0, contrasts=names, shape=SHAPE, body="brain")[1] for names in (("FLAIR",), ("T1", "FLAIR"))
    )
    assert np.array_equal(alone.volumes["FLAIR"].voxels, among.volumes["FLAIR"].voxels)


def test_a_tumour_pushes_the_brain_and_not_the_skull() -> None:
    places, affine = draw_view(np.random.default_rng(0), SHAPE)
    place = Place((50.0, 0.0, 20.0), (25.0, 25.0, 25.0), 0.45)
    with_it, without = (
        draw_head(np.random.default_rng(1), places, affine, at) for at in (pushed(place, places), places)
    )
    assert np.array_equal(with_it.bone, without.bone)
    assert np.array_equal(with_it.depth_mm, without.depth_mm)
    assert np.abs(with_it.white - without.white).max() > 0.5


def test_heads_with_a_tumour_take_the_places_of_foreign_classes() -> None:
    data = DataPlan(contrasts=("FLAIR",), classes=("one", "other"), size=32, slices=2, body="brain")
    labels = [one.label for one in phantoms(Plan("p", data=data, stage=(Stage("segment", "s"),)), 6, purpose=1)]
    assert labels == [-1, 0, 1, -1, 0, 1]


def test_heads_have_no_vertebrae_to_learn_from() -> None:
    stage = Stage("levels", "levels")
    with pytest.raises(ConfigError, match="levels need spines"):
        make(Plan("p", data=DataPlan(contrasts=("T1",), body="brain"), stage=(stage,)), stage, {})


def test_rows_run_from_front_to_back_columns_to_the_left_and_slices_upwards() -> None:
    places, affine = draw_view(np.random.default_rng(0), SHAPE)
    assert (np.diff(places[1], axis=1) < 0).mean() > 0.99  # the template's y points to the front
    assert (np.diff(places[2], axis=0) > 0).all()
    assert (np.diff(places[0], axis=2) < 0).mean() > 0.99  # the template's x points to the right
    assert affine[1, 1] > 0  # DICOM's y points to the back
    assert affine[2, 0] > 0
    assert affine[0, 2] > 0  # and its x to the left
    middle = affine @ (SHAPE[0] / 2, SHAPE[1] / 2, SHAPE[2] / 2, 1)
    assert np.abs(middle[:2]).max() < 40


def test_a_recipe_of_a_head_keeps_the_parts_that_are_not_drawn_anew() -> None:
    generator = np.random.default_rng(0)
    recipe = fresh("malignant", generator)

    def grown(one: Recipe) -> np.ndarray:
        head = grown_from(one, "made", contrasts=("T1", "FLAIR"), shape=SHAPE, levels="C1-S1", body="brain")
        assert head.mask is not None
        return np.stack([head.mask.voxels, head.volumes["FLAIR"].voxels])

    first, other_scanner = grown(recipe), grown(varied(recipe, ["scanner"], generator))
    assert np.array_equal(first[0], other_scanner[0])
    assert not np.array_equal(first[1], other_scanner[1])
    assert not np.array_equal(first[0], grown(varied(recipe, ["lesion"], generator))[0])


def test_a_tumour_is_inherited_whole() -> None:
    generator = np.random.default_rng(0)
    one, other = fresh("malignant", generator), fresh("malignant", generator)
    disease = [NAMES.index(name) for name in ("tumour", "place", "lesion")]
    for _ in range(8):
        child = crossed(one, other, generator)
        assert [child.seeds[i] for i in disease] in [[p.seeds[i] for i in disease] for p in (one, other)]


def test_a_plan_that_asks_for_another_body_is_refused() -> None:
    plan = Plan("p", data=DataPlan(contrasts=("T1",), body="brian"), stage=(Stage("segment", "s"),))
    with pytest.raises(ConfigError, match="brain"):
        check_plan(plan)


def test_the_shipped_plan_is_sound_and_asks_for_site_folders() -> None:
    plan = check_plan(load_plan(find_plan("brain")))
    assert plan.data.body == "brain"
    found = CliRunner().invoke(app, ["simulate", "--plan", "brain"])
    assert isinstance(found.exception, InputError)
    assert "--data" in str(found.exception)

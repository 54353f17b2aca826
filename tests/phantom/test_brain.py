"""Phantom heads: the template, one body where a plan asks for it, masks that say what FLAIR shows."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from fedspine.cli import app
from fedspine.cohort.patient import Patient
from fedspine.config import DataPlan, Plan, Stage, check_plan, load_plan
from fedspine.errors import ConfigError, InputError
from fedspine.phantom.brain.anatomy import draw_view
from fedspine.phantom.brain.template import template
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.public import public_patients
from fedspine.phantom.variation import Recipe, crossed, fresh, grown_from, varied
from fedspine.plans.shipped import find_plan

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
    differences = []
    for head in heads(30):
        assert head.mask is not None
        inside = np.asarray(head.mask.voxels) > 0
        assert inside.any() or head.label in ("normal", "benign", "malignant")
        if head.label == "normal":
            assert not inside.any()
        elif inside.sum() > 20:
            flair = head.volumes["FLAIR"].voxels.astype(np.float64)
            brain = (flair > np.percentile(flair, 60)) & ~inside
            differences.append(flair[inside].mean() / flair[brain].mean())
    assert len(differences) >= 12
    assert np.median(differences) > 1.15


def test_rows_run_from_front_to_back_and_slices_upwards() -> None:
    places, affine = draw_view(np.random.default_rng(0), SHAPE)
    assert (np.diff(places[1], axis=1) < 0).mean() > 0.99  # the template's y points to the front
    assert (np.diff(places[2], axis=0) > 0).all()
    assert affine[1, 1] > 0  # DICOM's y points to the back
    assert affine[2, 0] > 0


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
    assert crossed(recipe, fresh("malignant", generator), generator).label in CLASSES


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

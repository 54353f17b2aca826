"""A recipe changes what it says it changes, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from fedspine.cohort.patient import Patient
from fedspine.phantom.variation import NAMES, Recipe, crossed, fresh, grown_from, recipe_of, varied

RANDOM = np.random.default_rng(0)


def grown(recipe: Recipe, contrasts: tuple[str, ...] = ("T2",)) -> Patient:
    return grown_from(recipe, "made", contrasts=contrasts, shape=(4, 32, 32), levels="L1-L5")


def test_another_scanner_leaves_the_person_as_they_are() -> None:
    recipe = fresh("malignant", np.random.default_rng(3))
    others = [grown(varied(recipe, ("scanner",), np.random.default_rng(i))) for i in range(4)]
    first = grown(recipe)
    assert first.mask is not None
    for other in others:
        assert other.mask is not None
        assert np.array_equal(first.mask.voxels, other.mask.voxels)
        assert np.array_equal(np.asarray(first.omics), np.asarray(other.omics))
    assert len({other.volumes["T2"].scanner.model for other in others}) > 1


def test_another_lesion_leaves_the_spine_and_the_scanner() -> None:
    recipe = fresh("malignant", np.random.default_rng(4))
    first, other = grown(recipe), grown(varied(recipe, ("lesion",), RANDOM))
    assert first.mask is not None
    assert other.mask is not None
    assert not np.array_equal(first.mask.voxels, other.mask.voxels)
    assert first.volumes["T2"].scanner == other.volumes["T2"].scanner
    assert np.array_equal(first.volumes["T2"].affine, other.volumes["T2"].affine)
    assert first.level == other.level


@pytest.mark.parametrize("contrasts", [("T1", "STIR"), ("CT",)])
def test_a_recipe_gives_the_same_voxels_every_time(contrasts: tuple[str, ...]) -> None:
    recipe = fresh("benign", np.random.default_rng(5))
    again = recipe_of(recipe.numbers())
    assert again == recipe
    first, second = grown(recipe, contrasts), grown(again, contrasts)
    assert all(np.array_equal(first.volumes[c].voxels, second.volumes[c].voxels) for c in contrasts)


def test_a_cross_takes_a_tumour_whole_and_only_from_the_same_class() -> None:
    generator = np.random.default_rng(6)
    one, same, other = (fresh(label, generator) for label in ("benign", "benign", "malignant"))
    disease = [NAMES.index(name) for name in ("tumour", "place", "lesion", "wear")]
    for _ in range(20):
        child = crossed(one, same, generator)
        assert len({child.seeds[i] == one.seeds[i] for i in disease}) == 1
        mixed = crossed(one, other, generator)
        assert mixed.label == "benign"
        assert all(mixed.seeds[i] == one.seeds[i] for i in disease)
        assert all(
            seed in pair for seed, pair in zip(mixed.seeds, zip(one.seeds, other.seeds, strict=True), strict=True)
        )

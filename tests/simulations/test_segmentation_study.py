"""The study of segmentation: same folds for every arm, results kept, and one public start."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import simulations.segmentation_study.study as study_module
from fedspine.config import DataPlan
from fedspine.errors import InputError
from fedspine.tasks._federation import train as loop_train
from simulations.segmentation_study.found import read_masks
from simulations.segmentation_study.recipe import Recipe, axial_brain
from simulations.segmentation_study.study import Consortium, Run, _dice, consortium_of, runs, study, table

TINY = {"features": [4, 8], "sampled_slices": 1}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    whole = Recipe()
    short: dict[str, Any] = {"rounds": 1, "steps": 2, "pretrain_steps": 1, "options": TINY}
    data = DataPlan(contrasts=("T1", "FLAIR"), size=32, slices=2)
    return replace(
        whole, data=data, plain=replace(whole.plain, **short), private=replace(whole.private, **short), phantoms=12
    )


@pytest.fixture(scope="module")
def consortium(recipe: Recipe) -> Consortium:
    return consortium_of(recipe, None, phantoms=6, sites=2, seed=0)


def test_every_patient_is_tested_once_and_never_trained_on_in_that_fold(consortium: Consortium) -> None:
    tested: list[tuple[str, int]] = []
    for fold in (1, 2, 3):
        training, held_out = consortium.split(3, fold)
        for site, index in held_out:
            assert not any(one is consortium.sites[site][index] for one in training[site])
        assert sum(map(len, training.values())) + len(held_out) == 12
        tested += held_out
    assert sorted(tested) == sorted((site, index) for site in consortium.sites for index in range(6))


def test_a_study_goes_on_where_it_was_left(
    recipe: Recipe, consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table.json"
    names = list(consortium.sites)
    wanted = [run for arm in study_module.ARMS for run in runs(arm, names, [8.0], [1], 0)]
    text = study(consortium, recipe, wanted, 3, out)
    assert [line.split(" |")[0] for line in text.splitlines()[4:]] == [
        "| federated",
        *(f"| local {name}{' (best local)' if f'local {name} (best' in text else ''}" for name in names),
        "| pooled",
        "| private epsilon 8",
        "| public",
    ]
    assert text.count("(best local)") == 1
    assert len(list(tmp_path.glob("start-*.safetensors"))) == 1

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(study_module, "scores", never)
    assert study(consortium, recipe, wanted, 3, out) == text
    longer = replace(recipe, plain=replace(recipe.plain, rounds=2))
    with pytest.raises(InputError, match="one recipe"):
        study(consortium, longer, wanted, 3, out)


def test_what_was_found_is_kept_for_every_tested_patient_and_read_again(
    recipe: Recipe, consortium: Consortium, tmp_path: Path
) -> None:
    out, kept = tmp_path / "table.json", tmp_path / "masks"
    wanted = [Run("pooled", fold, 0) for fold in (1, 2, 3)]
    study(consortium, recipe, wanted[:1], 3, out)  # whose masks are asked for later
    study(consortium, recipe, wanted, 3, out, masks=kept)
    found = read_masks(kept, "pooled")
    assert sorted(found) == [(site, index) for site in consortium.sites for index in range(6)]
    dices: dict[str, list[float]] = {}
    for site, dice in itertools.chain.from_iterable(json.loads(out.read_text("utf-8")).values()):
        dices.setdefault(site, []).append(dice)
    for site, patients in consortium.sites.items():
        again = [_dice(found[site, index], patient) for index, patient in enumerate(patients)]
        assert sorted(again) == sorted(dices[site])
    with pytest.raises(InputError, match="the federated arm"):
        read_masks(kept, "federated")


def test_the_table_puts_sites_side_by_side_and_names_the_worst() -> None:
    results = {
        "pooled, seed 0, fold 1": [("A", 0.8), ("B", 0.4)],
        "pooled, seed 0, fold 2": [("A", 0.6), ("B", 0.6)],
        "local A, seed 0, fold 1": [("A", 0.5), ("B", 0.1)],
        "local B, seed 0, fold 1": [("A", 0.5), ("B", 0.2)],
    }
    seed, _, *lines = table(results).splitlines()
    assert seed == "seed 0"
    assert lines[0] == "| arm | folds | patients | Dice | A | B | worst site | less pooled | less federated |"
    assert lines[2].startswith("| local A | 1 | 2 | 0.300 (")
    assert lines[3].startswith("| local B (best local) | 1 | 2 | 0.350 (")
    assert lines[4].startswith("| pooled | 2 | 4 | 0.600 (")
    assert lines[4].endswith("| 0.700 | 0.500 | 0.500 | - | - |")
    assert "| -0.300 (" in lines[2], "of fold 1 alone, which both have: 0.5 - 0.8 and 0.1 - 0.4"


def test_another_seed_is_another_table_and_not_as_many_patients_more() -> None:
    found = [("A", 0.8), ("B", 0.4)]
    first, second = "pooled, seed 0, fold 1", "pooled, seed 1, fold 1"
    both = table({first: found, second: found})
    assert both == f"{table({first: found})}\n\n{table({second: found})}"
    assert both.count("| pooled | 1 | 2 | 0.600 (") == 2


def test_the_recipe_for_brains_asks_for_heads_and_keeps_the_private_arm_frugal() -> None:
    recipe = axial_brain()
    assert recipe.data.body == "brain"
    assert recipe.private.trained == "head"
    assert recipe.private.rounds * recipe.private.steps <= 400
    assert recipe.plain.options["features"] == recipe.private.options["features"]
    assert recipe.federated is not None, (
        "hospitals meet more often than the pooled arm keeps an average, for no more steps"
    )
    assert recipe.federated.rounds * recipe.federated.steps == recipe.plain.rounds * recipe.plain.steps


def test_only_the_federated_arm_trains_by_its_own_stage(
    recipe: Recipe, consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    whole = loop_train

    def watched(task: Any, plan: Any, stage: Any, *rest: Any, **named: Any) -> Any:
        rounds.append(stage.rounds)
        return whole(task, plan, stage, *rest, **named)

    monkeypatch.setattr(study_module, "train", watched)
    often = replace(recipe, federated=replace(recipe.plain, rounds=2, steps=1))
    wanted = [Run("pooled", 1, 0), Run("federated", 1, 0), Run("private", 1, 0, epsilon=8.0)]
    study(consortium, often, wanted, 3, tmp_path / "table.json")
    assert rounds == [1, 2, 1]

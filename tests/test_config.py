"""A plan or site file is right, or one sentence says what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedspine.config import TASKS, load_plan, plan_text
from fedspine.errors import ConfigError
from fedspine.plans.default import TEXT, default_plan
from fedspine.site_file import Site, load_site
from fedspine.tasks._checks import check_tasks

MINIMAL = 'name = "p"\n[[stage]]\ntask = "segment"\n'


def test_the_default_plan_is_checked_and_survives_the_round_trip() -> None:
    plan = default_plan()
    check_tasks(plan)
    assert load_plan(plan_text(plan)) == plan
    assert load_plan(plan_text(plan)).digest() == plan.digest()
    shown = {"standardise", "harmonise", "gan", "segment", "classify", "encode", "tokens", "evaluate"}
    assert shown <= {stage.task for stage in plan.stage} <= set(TASKS)


def test_names_are_filled_in_and_dashes_are_as_good_as_underscores() -> None:
    plan = load_plan(MINIMAL + 'sample-rate = 0.5\n[[stage]]\ntask = "evaluate"\nof = "segment"\n')
    assert [stage.name for stage in plan.stage] == ["segment", "segment-test"]
    assert plan.stage[0].sample_rate == 0.5
    assert plan.stage[1].fold == "held-out"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "epsilom = 1\n", "unknown setting 'epsilom'"),
        ('name = "p"\n[privacy]\nepsilom = 1.0\n[[stage]]\ntask = "segment"\n', "did you mean 'epsilon'?"),
        ('name = "p"\n[privacy]\nepsilon = 0\n[[stage]]\ntask = "segment"\n', "epsilon must be positive; found 0.0"),
        ('name = "p"\n[privacy]\nepsilon = -1.0\n[[stage]]\ntask = "segment"\n', "epsilon must be positive"),
        ('name = "p"\n[privacy]\nepsilon = nan\n[[stage]]\ntask = "segment"\n', "finite number"),
        ('name = "p"\n[privacy]\nepsilon = "8"\n[[stage]]\ntask = "segment"\n', "must be of type float"),
        ('name = "p"\n[privacy]\ndelta = 1.0\n[[stage]]\ntask = "segment"\n', "delta must lie between 0 and 1"),
        ('name = "p"\n[privacy]\nsums = "secur"\n[[stage]]\ntask = "segment"\n', "did you mean 'secure'?"),
        ('name = "p"\n[privacy]\non_dropout = "recover"\n[[stage]]\ntask = "segment"\n', "on_dropout must be 'retry'"),
        ('name = "p"\n[privacy]\nleast_sites = 1\n[[stage]]\ntask = "segment"\n', "least_sites must be 2 or more"),
        ('name = "p"\n[privacy]\ncolluding = 3\n[[stage]]\ntask = "segment"\n', "less than least_sites"),
        ('name = "p"\n[privacy]\ncolluding = -1\n[[stage]]\ntask = "segment"\n', "colluding must be 0 or more"),
        (
            'name = "p"\n[privacy]\nmechanism = "none"\nsums = "secure"\n[[stage]]\ntask = "segment"\n',
            "secure sums must have noise",
        ),
        ('name = "p"\n[data]\nclasses = ["one"]\n[[stage]]\ntask = "segment"\n', "at least two labels"),
        ('name = "p"\n[data]\ncontrasts = ["T1", "T1"]\n[[stage]]\ntask = "segment"\n', "must differ"),
        ('name = "p"\n[data]\nsize = 50\n[[stage]]\ntask = "segment"\n', "multiple of 16"),
        ('name = "p"\n', "must have a stage"),
        ('[[stage]]\ntask = "segment"\n', "must hold 'name'"),
        ('name = "p"\n[[stage]]\ntask = "segmnt"\n', "did you mean 'segment'?"),
        (MINIMAL + "rounds = 0\n", "rounds and steps"),
        (MINIMAL + "sample_rate = 1.5\n", "sample_rate"),
        (MINIMAL + "clip = 0.0\n", "clip"),
        (MINIMAL + 'trained = "hed"\n', "did you mean 'head'?"),
        (MINIMAL + 'augment = "traditonal"\n', "did you mean 'traditional'?"),
        (MINIMAL + 'server = "sgd"\n', "server of stage 'segment' must be known"),
        (MINIMAL + "views = 0\n", "views"),
        (MINIMAL + "public_steps = -1\n", "public_steps"),
        (MINIMAL + "server_rate = 0.0\n", "server_rate"),
        (MINIMAL + "average = 1.0\n", "average"),
        (MINIMAL + 'synthetic = "nobody"\n', "must name an earlier stage"),
        (MINIMAL + 'initial = "../other.safetensors"\n', "below the plan's folder"),
        (MINIMAL + 'initial = "/other.safetensors"\n', "below the plan's folder"),
        (MINIMAL + '[[stage]]\ntask = "segment"\n', "stage names must differ"),
        (MINIMAL + '[[stage]]\ntask = "evaluate"\nof = "nobody"\n', "must name an earlier stage"),
        ("name = ", "must be TOML"),
    ],
)
def test_a_bad_plan_is_one_sentence_with_a_remedy(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plan(text)
    message = str(caught.value)
    assert said in message
    assert message.count("; ") >= 2, "rule; found …; remedy"
    assert "\n" not in message


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("[stage.options]\nfeaturs = [8]\n", "did you mean 'features'?"),
        ('of = "other"\n', "must name an earlier stage"),
        ('[[stage]]\ntask = "gan"\ntrained = "adapters"\n', "must be a part that its network has"),
        ('[[stage]]\ntask = "stylegan"\ntrained = "norms and head"\n', "must be a part that its network has"),
        ('[[stage]]\ntask = "levels"\ntrained = "adapters"\n', "must be a part that its network has"),
        ('[[stage]]\ntask = "encode"\ntrained = "head"\n', "must be a part that its network has"),
        ('[[stage]]\ntask = "tokens"\nof = "segment"\n', "of kind encode"),
        ('[[stage]]\ntask = "evaluate"\nof = "segment"\n[stage.options]\nx = 1\n', "must have no options"),
        ('[[stage]]\ntask = "harmonise"\nsample_rate = 0.1\n', "measures every patient once a round"),
        ('[[stage]]\ntask = "harmonise"\nclip = 0.5\n', "measures every patient once a round"),
        (
            '[data]\ncontrasts = ["T1"]\n[[stage]]\ntask = "gan"\n[[stage]]\ntask = "classify"\nsynthetic = "gan"\n',
            "for pretrain_steps or public_steps",
        ),
        ('[[stage]]\ntask = "harmonise"\nviews = 4\n', "trains nothing, so it must have no views"),
        ('[[stage]]\ntask = "evaluate"\nof = "segment"\npretrain_steps = 9\n', "must have no pretrain_steps"),
        ('[data]\ncontrasts = ["T1"]\n[[stage]]\ntask = "phantom_votes"\n[stage.options]\nnearest = 0\n', "nearest"),
        ('[data]\ncontrasts = ["T1"]\n[[stage]]\ntask = "phantom_votes"\n[stage.options]\nchange = 5.0\n', "change"),
        (
            '[data]\ncontrasts = ["T1"]\n[[stage]]\ntask = "phantom_votes"\n[stage.options]\ncandidates = 2\n',
            "3 or more",
        ),
        ('[data]\ncontrasts = ["T9"]\n', "contrasts must be known"),
        ('[data]\ncontrasts = ["T2 oblique"]\n', "contrasts must be known"),
        ('[data]\ncontrasts = ["other"]\n', "contrasts must be known"),
        ('[[stage]]\ntask = "evaluate"\nof = "segment"\nrounds = 3\n', "measures every patient once a round"),
    ],
)
def test_options_and_links_of_a_stage_are_checked_as_strictly(stage: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        check_tasks(load_plan(MINIMAL + stage))


def test_a_plan_may_name_a_contrast_with_its_plane() -> None:
    plan = load_plan(MINIMAL + '[data]\ncontrasts = ["T2", "T2 axial"]\n')
    check_tasks(plan)
    assert plan.data.contrasts == ("T2", "T2 axial")


def test_a_site_file_is_strict_and_optional(tmp_path: Path) -> None:
    assert load_site(tmp_path) == Site()
    (tmp_path / "site.toml").write_text('max_epsilon = 3\ntasks = ["segment", "evaluate"]\nminimum_cohort = 20\n')
    assert load_site(tmp_path) == Site(tasks=("segment", "evaluate"), max_epsilon=3.0, minimum_cohort=20)
    (tmp_path / "site.toml").write_text("max-epsilom = 3\n")
    with pytest.raises(ConfigError, match="did you mean 'max_epsilon'"):
        load_site(tmp_path)
    (tmp_path / "site.toml").write_text('tasks = ["everything"]\n')
    with pytest.raises(ConfigError, match=r"tasks in site\.toml"):
        load_site(tmp_path)
    (tmp_path / "site.toml").write_text('device = "gpu"\n')
    with pytest.raises(ConfigError, match="cpu, cuda or cuda:NUMBER"):
        load_site(tmp_path)
    (tmp_path / "site.toml").write_text('device = "cuda:1"\n')
    assert load_site(tmp_path).device == "cuda:1"
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_site(tmp_path)


def test_a_seed_in_a_site_file_is_refused_unless_the_site_is_a_rehearsal(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("seed = 3\n")
    with pytest.raises(ConfigError, match=r"seed in site\.toml must stand beside rehearsal = true"):
        load_site(tmp_path)
    (tmp_path / "site.toml").write_text("rehearsal = true\nseed = 3\n")
    assert load_site(tmp_path) == Site(rehearsal=True, seed=3)


def test_two_plans_that_differ_in_one_number_have_different_digests() -> None:
    assert load_plan(TEXT).digest() != load_plan(TEXT.replace("epsilon = 8.0", "epsilon = 8.1")).digest()

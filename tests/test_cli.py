"""What a person types: exit codes, one sentence for bad input, never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID

from fedspine.phantom.writer import write_consortium

from .conftest import Run

PLAN = """
name = "small"
[data]
size = 32
slices = 2
[[stage]]
task = "harmonise"
"""


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "sites"
    write_consortium(folder, sites=2, patients=5, shape=(2, 32, 32))
    return folder


@pytest.fixture
def site(consortium: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "hospital"
    shutil.copytree(consortium / "site-1", copy, ignore=shutil.ignore_patterns("cache"))
    return copy


def refused(result: tuple[int, str, str], *said: str) -> None:
    """Assert exit code 2 and one sentence without a traceback."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1
    for words in said:
        assert words in err


def test_phantoms_are_written_checked_and_never_overwritten(fedspine: Run, tmp_path: Path) -> None:
    code, out, _ = fedspine("phantom", "out", "--sites", 1, "--patients", 4, "--size", 32, "--slices", 2)
    assert code == 0
    assert "fedspine check" in out
    code, out, _ = fedspine("check", "out/site-1")
    assert code == 0
    for word in ("T1c", "STIR", "Siemens", "MKI67", "benign", "usable"):
        assert word in out
    refused(fedspine("phantom", "out"), "empty folder")


def test_what_a_site_carries_is_listed_and_a_copy_carries_nothing(
    fedspine: Run, consortium: Path, tmp_path: Path
) -> None:
    code, out, _ = fedspine("check", consortium / "site-1", "--identifiers")
    assert code == 0
    for word in ("PatientName", "SOPInstanceUID", "patients' own ids", "in names of files"):
        assert word.lower() in out.lower()
    code, out, _ = fedspine("deidentify", consortium / "site-1", "copy")
    assert code == 0
    assert "fedspine check copy --identifiers" in out
    code, out, _ = fedspine("check", "copy", "--identifiers")
    assert code == 0
    assert "Nothing was found that identifies" in out
    refused(fedspine("deidentify", consortium / "site-1", "copy"), "empty folder")
    refused(fedspine("check", tmp_path / "nowhere", "--identifiers"), "a site must be a folder")


def test_a_simulation_writes_its_run_folder_and_names_the_report(
    fedspine: Run, consortium: Path, tmp_path: Path
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    code, out, err = fedspine("simulate", "--data", consortium, "--plan", "plan.toml", "--out", "run")
    assert code == 0, err
    assert "epsilon" in out
    assert "run/report.html" in out
    for name in ("plan.toml", "metrics.json", "report.html", "sites/site-1/ledger.jsonl", "sites/site-2/egress.jsonl"):
        assert (tmp_path / "run" / name).exists(), name


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (PLAN.replace("[data]", "[data]\nsizes = 3"), "did you mean 'size'?"),
        (PLAN + "[privacy]\nepsilon = 0.0\n", "epsilon must be positive"),
        (PLAN + "[privacy]\nepsilon = -2\n", "epsilon must be positive"),
        ("name = 3", "must be of type str"),
        (PLAN + '[[stage]]\ntask = "classify"\n[stage.options]\nwide = [4]\n', "did you mean 'widths'?"),
    ],
)
def test_a_bad_plan_is_refused(fedspine: Run, consortium: Path, tmp_path: Path, plan: str, said: str) -> None:
    (tmp_path / "plan.toml").write_text(plan)
    refused(fedspine("simulate", "--data", consortium, "--plan", "plan.toml"), said)


def test_missing_things_are_refused(fedspine: Run, tmp_path: Path, consortium: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(fedspine("check", "empty"), "patients.csv")
    refused(fedspine("check", "nowhere"), "must be a folder")
    refused(fedspine("simulate", "--data", "nowhere"), "--data must be a folder")
    refused(fedspine("simulate", "--data", "empty"), "a folder per site")
    refused(fedspine("simulate", "--data", consortium, "--plan", "none.toml"), "the plan must be a readable")


def test_a_consortium_with_one_class_has_nothing_to_classify(fedspine: Run, site: Path, tmp_path: Path) -> None:
    rows = (site / "patients.csv").read_text().splitlines()
    for number, row in enumerate(rows[1:], 1):
        cells = row.split(",")
        rows[number] = ",".join([cells[0], "benign", *cells[2:]])
    (site / "patients.csv").write_text("\n".join(rows) + "\n")
    refused(fedspine("check", site), "one")
    (tmp_path / "sites").mkdir()
    shutil.move(site, tmp_path / "sites" / "a")
    (tmp_path / "plan.toml").write_text(PLAN + '[[stage]]\ntask = "classify"\n')
    refused(fedspine("simulate", "--data", "sites", "--plan", "plan.toml"), "two classes")


def test_a_site_below_its_minimum_is_refused(fedspine: Run, site: Path) -> None:
    (site / "site.toml").write_text("minimum_cohort = 50\n")
    refused(fedspine("check", site), "at least 50 patients", "found 5")
    (site / "site.toml").write_text("minimum_cohrot = 50\n")
    refused(fedspine("check", site), "did you mean 'minimum_cohort'?")


def test_a_site_that_cannot_take_part_is_named_before_anything_runs(fedspine: Run, site: Path, tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    shutil.move(site, tmp_path / "sites" / "north")
    (tmp_path / "plan.toml").write_text(PLAN)
    for text, said in (("minimum_cohort = 50\n", "at least 50"), ("max_epsilom = 1\n", "did you mean"), ("=", "TOML")):
        (tmp_path / "sites" / "north" / "site.toml").write_text(text)
        refused(fedspine("simulate", "--data", "sites", "--plan", "plan.toml"), "site north", said)


def test_a_site_that_leaves_is_told_at_the_end(fedspine: Run, site: Path, consortium: Path, tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    shutil.move(site, tmp_path / "sites" / "north")
    shutil.copytree(consortium / "site-2", tmp_path / "sites" / "south", ignore=shutil.ignore_patterns("cache"))
    (tmp_path / "sites" / "north" / "site.toml").write_text("max_epsilon = 0.1\n")
    (tmp_path / "plan.toml").write_text(PLAN)
    code, _, err = fedspine("simulate", "--data", "sites", "--plan", "plan.toml", "--out", "run")
    assert code == 0
    assert "north did not take part: epsilon-too-large" in err


def test_an_out_that_is_a_file_or_another_run_is_refused(fedspine: Run, consortium: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "file").write_text("")
    refused(
        fedspine("simulate", "--data", consortium, "--plan", "plan.toml", "--out", "file"), "--out must be a folder"
    )
    assert fedspine("simulate", "--data", consortium, "--plan", "plan.toml", "--out", "run")[0] == 0
    (tmp_path / "plan.toml").write_text(PLAN.replace("small", "other"))
    refused(fedspine("simulate", "--data", consortium, "--plan", "plan.toml", "--out", "run"), "one plan's run")
    (tmp_path / "run" / "checkpoints" / "progress.json").write_text("{")
    (tmp_path / "plan.toml").write_text(PLAN)
    refused(fedspine("simulate", "--data", consortium, "--plan", "plan.toml", "--out", "run"), "last checkpoint")


@pytest.mark.parametrize("options", ["features = [3, 3]", "features = [4]"])
def test_options_that_make_no_network_are_refused(
    fedspine: Run, consortium: Path, tmp_path: Path, options: str
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN + f'[[stage]]\ntask = "segment"\n[stage.options]\n{options}\n')
    refused(fedspine("simulate", "--data", consortium, "--plan", "plan.toml"))


def test_two_patients_with_one_id_are_refused(fedspine: Run, site: Path) -> None:
    text = (site / "patients.csv").read_text()
    (site / "patients.csv").write_text(text + text.splitlines()[1] + "\n")
    refused(fedspine("check", site), "one row")


def test_one_bad_thing_stops_nobody_else_and_is_named_locally(fedspine: Run, site: Path) -> None:
    files = sorted(f for f in (site / "dicom").rglob("*") if f.is_file())
    files[0].write_bytes(files[0].read_bytes()[:900])
    (site / "dicom" / "notes.txt").write_text("not an image")
    strange = dcmread(files[-1])
    strange.file_meta.TransferSyntaxUID = UID("1.2.3.4.5")
    strange.save_as(files[-1])
    omics = (site / "omics.csv").read_text().splitlines()
    cells = omics[1].split(",")
    omics[1] = ",".join([cells[0], "many", "nan", *cells[3:]])
    (site / "omics.csv").write_text("\n".join(omics) + "\n")
    mask = next((site / "masks").iterdir())
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), mask)
    code, out, _ = fedspine("check", site)
    assert code == 0, out
    for word in ("notes.txt", "omics.csv", mask.name, "usable"):
        assert word in out, word


def test_only_bad_files_make_a_site_unusable(fedspine: Run, site: Path) -> None:
    for file in (site / "dicom").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:300])
    refused(fedspine("check", site), "usable image")


def test_a_wrong_option_is_a_usage_error(fedspine: Run) -> None:
    code, _, err = fedspine("simulate", "--engine", "cloud")
    assert code == 2
    assert "inprocess" in err
    assert "Traceback" not in err

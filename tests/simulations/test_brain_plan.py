"""The plan for gliomas, over two hospitals with BIDS data sets of heads: from files to networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from safetensors.torch import load_file

from fedspine.config import Stage, check_plan, load_plan
from fedspine.phantom.public import public_patients
from fedspine.plans.shipped import find_plan
from simulations.consortium import Simulation, open_consortium, simulate

from .conftest import Silent

NAMES = {"T1": "T1w", "T1c": "ce-gad_T1w", "FLAIR": "FLAIR"}
LABELS = {"benign": "IDH-mutant", "malignant": "IDH-wildtype"}


def write_site(site: Path, seed: int) -> None:
    """Write the heads that have a tumour, one of them without T1c."""
    rows = ["participant_id\tpathology"]
    for index, head in enumerate(public_patients(9, seed, contrasts=tuple(NAMES), shape=(4, 32, 32), body="brain")):
        if head.label not in LABELS:
            continue
        assert head.mask is not None
        name = f"sub-{index:02d}"
        rows.append(f"{name}\t{LABELS[head.label]}")
        files = {
            f"{name}/anat/{name}_{suffix}": head.volumes[c] for c, suffix in NAMES.items() if c != "T1c" or index > 1
        }
        files[f"derivatives/manual/{name}/anat/{name}_label-lesion_mask"] = head.mask
        for place, volume in files.items():
            # (slice, row, column) in LPS to (column, row, slice) in RAS
            affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine[:, [2, 1, 0, 3]]
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), affine), site / f"{place}.nii.gz")
    (site / "participants.tsv").write_text("\n".join(rows) + "\n")


def shorter(stage: Stage) -> Stage:
    features = {"features": [4, 8], "sampled_slices": 2, "unshuffle": 2} if stage.task == "segment" else stage.options
    return replace(stage, rounds=1, steps=1, pretrain_steps=min(stage.pretrain_steps, 2), options=features)


@pytest.mark.slow
def test_hospitals_with_gliomas_run_the_plan_for_heads(tmp_path: Path) -> None:
    for number in (1, 2):
        write_site(tmp_path / "sites" / f"hospital-{number}", number)
    plan = load_plan(find_plan("brain"))
    small = replace(plan, data=replace(plan.data, size=32, slices=2), stage=tuple(map(shorter, plan.stage)))
    complete, folders = open_consortium(tmp_path / "sites", check_plan(small))
    assert complete.data.classes == ("IDH-mutant", "IDH-wildtype")
    assert set(complete.data.contrasts) == set(NAMES)
    run = Simulation(complete, folders, tmp_path / "run", "inprocess", "site folders")
    simulate(run, Silent())
    networks = {file.stem for file in (run.out / "models").glob("*.safetensors")}
    assert networks == {"gan", "segment", "classify"}
    assert all(bool(value.isfinite().all()) for value in load_file(run.out / "models" / "segment.safetensors").values())

"""The gallery shows made patients with a lesion first, as it shows phantoms with one."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from fedspine.config import DataPlan, Plan, Stage
from fedspine.tasks._task import Trained, make, public_values
from server.results import EXAMPLES, write_gallery
from server.vault import Progress

DATA = DataPlan(contrasts=("T1", "T2"), classes=("normal", "benign", "malignant"), size=32, slices=2)


def test_made_patients_with_a_lesion_come_first(tmp_path: Path) -> None:
    stage = Stage("phantom_gan", "gan", options={"size": 32, "width": 4, "critic_width": 4})
    seen: set[bool] = set()
    for seed in range(3):  # the generator, untrained, returns phantoms, of which a third is normal
        plan = Plan("small", seed=seed, data=DATA, stage=(stage,))
        shared = public_values(plan, stage, {})
        task = make(plan, stage, shared)
        assert isinstance(task, Trained)
        progress = Progress(stage=1, models={"gan": dict(task.build().state_dict())}, shared=shared)
        write_gallery(plan, progress, tmp_path / "gallery.safetensors")
        pictures = load_file(tmp_path / "gallery.safetensors")
        assert len(pictures["synthetic.masks"]) == len(pictures["phantom.masks"]) == EXAMPLES
        assert bool(pictures["phantom.masks"].flatten(1).any(1).all())
        lesions = pictures["synthetic.masks"].flatten(1).any(1).tolist()
        assert lesions == sorted(lesions, reverse=True), "with a lesion first"
        seen |= set(lesions)
    assert seen == {True, False}, "normal ones are there too"

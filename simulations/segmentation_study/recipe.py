"""What `segmentation_study` trains: data, network and steps, for phantoms and for axial brain images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan, Stage

DELTA = 1e-4
"""At which every epsilon of the study is stated."""

LEAST = 30
"""Pixels of lesion that a phantom to begin with shows."""

SMALL: Mapping[str, Any] = {"features": [16, 32, 64, 64], "unshuffle": 2, "dropped": 0.1}


@dataclass(frozen=True)
class Recipe:
    """Of one kind of image; the default is for phantoms of the spine.

    Args:
        data: the grid.
        plain: the stage without privacy.
        private: the stage with it: fewer steps, for each costs, and more patients in each.
        federated: the stage without privacy over several sites, where it is another than `plain`.
        phantoms: to begin with.
        shown: slices of each phantom.
    """

    data: DataPlan = field(default_factory=lambda: DataPlan(contrasts=("T1", "T2", "STIR"), size=64, slices=6))
    plain: Stage = field(
        default_factory=lambda: Stage(
            "segment",
            "segment",
            rounds=10,
            steps=20,
            sample_rate=0.05,
            learning_rate=2e-3,
            schedule="cosine",
            trained="all",
            pretrain_steps=1500,
            pretrain_rate=4e-3,
            options=SMALL,
        )
    )
    private: Stage = field(
        default_factory=lambda: Stage(
            "segment",
            "segment",
            rounds=10,
            steps=4,
            sample_rate=0.25,
            learning_rate=1e-3,
            clip=0.1,
            schedule="cosine",
            trained="norms and head",
            average=0.7,
            options=SMALL,
        )
    )
    federated: Stage | None = None
    phantoms: int = 800
    shown: int = 6

    @property
    def drawn(self) -> tuple[int, int, int]:
        """What tells the phantoms to begin with from those of another recipe."""
        return self.phantoms, self.shown, LEAST

    def public(self, plan: Plan) -> list[PatientTensors]:
        """Return what both stages begin with: phantoms that show a lesion.

        Where nothing is to be found, a Dice loss asks for nothing more than silence: with a third of phantoms normal,
        networks found too little of every tumour.
        """
        drawn = phantoms(replace(plan, data=replace(plan.data, slices=self.shown)), self.phantoms, purpose=1)
        return [one for one in drawn if one.mask is not None and float(one.mask.sum()) >= LEAST]


def phantom_consortium(plan: Plan, sites: int, patients: int) -> dict[str, list[PatientTensors]]:
    """Return sites of phantoms; none of them is among the public ones."""
    everyone = phantoms(plan, sites * patients, purpose=3)
    return {f"site-{i + 1}": everyone[i * patients : (i + 1) * patients] for i in range(sites)}


BRAIN: Mapping[str, Any] = {
    "features": [16, 32, 64, 128, 128],
    "unshuffle": 2,
    "dropped": 0.25,
    "sampled_slices": 4,
    "mirrored": True,
    "largest": True,
    "precision": "bfloat16",
}


def axial_brain() -> Recipe:
    """Return the recipe for axial brain slices of 128² with a tumour: FLAIR, and T1 with and without contrast agent.

    The finest level is left out by sub-pixel convolution, which makes a step about four times as quick; a step sees
    four slices of about a tenth of the patients, or with privacy eight of all. Every arm begins with phantom heads.
    """
    data = DataPlan(contrasts=("T1", "FLAIR", "T1c"), size=128, slices=64, body="brain")
    begun = Stage(
        "segment",
        "segment",
        schedule="cosine",
        pretrain_steps=2500,
        pretrain_rate=2e-3,
        trained="all",
        augment="traditional",
        options=BRAIN,
    )
    plain = replace(begun, rounds=80, steps=50, sample_rate=0.09, learning_rate=1.5e-3, average=0.5)
    federated = replace(plain, rounds=400, steps=10, average=0.9)  # as many steps, met more often
    private = replace(
        begun,
        rounds=5,
        steps=4,
        sample_rate=1.0,
        learning_rate=0.05,
        clip=0.1,
        average=0.6,
        pretrain_steps=0,
        trained="head",  # 68 weights: with the norms 2,500, more than sites of 5 to 18 patients can carry
        options={**BRAIN, "dropped": 0.0, "sampled_slices": 8},
    )
    return Recipe(data, plain, private, federated, phantoms=1350)

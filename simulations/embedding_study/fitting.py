"""The ways from examinations to embeddings that are compared, and what training patients leave behind in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.harmony.apply import harmonised
from fedspine.networks.towers import Towers
from fedspine.plans.default import default_plan
from fedspine.tasks._federation import start, train
from fedspine.tasks._rounds import Strength, measure
from fedspine.tasks._task import Measured, Site, Trained, make, public_values
from fedspine.tasks.encode import Encode

_SEGMENT = next(stage for stage in default_plan().stage if stage.task == "segment")
NETWORK = replace(_SEGMENT, name="segment", options={**_SEGMENT.options, "dropped": 0.0})
"""What the last arm's encoder reads: as the default plan has it, all contrasts seen in every step."""

STAGES = (
    Stage("standardise", "standardise"),
    Stage("harmonise", "harmonise", rounds=2, options={"axes": 6}),
    Stage("encode", "encode", rounds=6, steps=5, sample_rate=0.5, pretrain_steps=250, pretrain_rate=3e-3),
    NETWORK,
)

TEACHERS = 160


@dataclass(frozen=True)
class Arm:
    """One way from examinations to embeddings.

    Args:
        name: of the row.
        harmonised: whether scanners' effects are taken off.
        twins: weight of the anchors' two examinations.
        pooled: whether all patients lie in one place.
        network: the stage whose network the image tower reads, beside measured features; none if empty.
    """

    name: str
    harmonised: bool
    twins: float
    pooled: bool = False
    network: str = ""


ARMS = (
    Arm("pooled, not harmonised", False, 0.0, pooled=True),
    Arm("federated, not harmonised", False, 0.0),
    Arm("federated, twins alone", False, 1.0),
    Arm("federated, harmonised alone", True, 0.0),
    Arm("federated, harmonised and twins", True, 1.0),
    Arm("the same, and what a segmenter sees", True, 1.0, network=NETWORK.name),
)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What training patients left behind.

    Args:
        shared: released and public values, per hospital; the last two are the scanners that joined.
        task, model: the encoder.
    """

    shared: Sequence[Mapping[str, Tensor]]
    task: Encode
    model: Towers


def fit(plan: Plan, arm: Arm, sites: Sequence[Sequence[PatientTensors]], joining: Sequence[PatientTensors]) -> Fitted:
    """Run the arm's stages on training patients."""
    shared: dict[str, Tensor] = {}
    own: list[dict[str, Tensor]] = [{} for _ in sites]
    new: dict[str, Tensor] = {}
    for stage in plan.stage[:2]:
        if stage.task == "harmonise" and not arm.harmonised:
            continue
        shared |= public_values(plan, stage, shared)
        task = make(plan, stage, shared)
        assert isinstance(task, Measured)
        released = {f"site-{index}": _released(task, patients) for index, patients in enumerate(sites)}
        outcome = task.finish(released, 0.0)
        shared |= {f"{stage.task}.{key}": value for key, value in outcome.common.items()}
        for index, values in enumerate(own):
            values |= {f"{stage.task}.{key}": value for key, value in outcome.own.get(f"site-{index}", {}).items()}
        if stage.task == "harmonise":
            late = replace(stage, initial="of these hospitals")
            frozen = {f"frozen.harmonise.{key}": value for key, value in outcome.common.items()}
            joins = make(
                plan, late, {"prior.mean": shared["prior.mean"], "prior.deviation": shared["prior.deviation"], **frozen}
            )
            assert isinstance(joins, Measured)
            effects = joins.finish({"new": _released(joins, joining)}, 0.0).own["new"]
            new = {f"harmonise.{key}": value for key, value in effects.items()}
    if arm.harmonised:
        _find_space(plan, sites, shared, own)
    every = [{**shared, **values} for values in own]
    after = [[harmonised(one, values) for one in patients] for patients, values in zip(sites, every, strict=True)]
    after = [[one for patients in after for one in patients]] if arm.pooled else after
    stage = replace(plan.stage[2], of=arm.network, options={"twin_weight": arm.twins})
    shared |= public_values(plan, stage, shared, _network(plan, arm, after) if arm.network else None)
    encode = make(plan, stage, shared)
    assert isinstance(encode, Encode)
    model = train(encode, plan, stage, after, start(encode, stage, _teachers(plan), plan.seed), seed=plan.seed)
    assert isinstance(model, Towers)
    return Fitted([*every, {**shared, **new}], encode, model)


def _network(plan: Plan, arm: Arm, sites: Sequence[Sequence[PatientTensors]]) -> Mapping[str, Tensor]:
    """Return the weights of the network that the arm's encoder reads, trained on harmonised training patients."""
    stage = plan.find(arm.network)
    task = make(plan, stage, {})
    assert isinstance(task, Trained)
    begin = start(task, stage, _teachers(plan), plan.seed)
    return train(task, plan, stage, sites, begin, seed=plan.seed).state_dict()


def _find_space(
    plan: Plan, sites: Sequence[Sequence[PatientTensors]], shared: dict[str, Tensor], own: Sequence[dict[str, Tensor]]
) -> None:
    """Do the second round of `harmonise`; `shared` and `own` are added to."""
    task = make(plan, plan.stage[1], shared)
    assert isinstance(task, Measured)
    released = {
        f"site-{index}": _released(task, [harmonised(one, {**shared, **own[index]}) for one in patients])
        for index, patients in enumerate(sites)
    }
    outcome = task.finish(released, 0.0)
    shared |= {f"harmonise.{key}": value for key, value in outcome.common.items()}
    for index, values in enumerate(own):
        values |= {f"harmonise.{key}": value for key, value in outcome.own[f"site-{index}"].items()}


def _released(task: Measured, patients: Sequence[PatientTensors]) -> Site:
    sums = measure(task, patients, Strength(math.inf, 0.0), np.random.default_rng(0))
    return Site(sums, len(patients), tuple(sum(one.batch == number for one in patients) for number in range(4)))


def _teachers(plan: Plan) -> list[PatientTensors]:
    return phantoms(plan, TEACHERS, purpose=1)

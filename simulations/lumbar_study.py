"""Real lumbar spines: vertebra, disc and canal segmented, vertebrae found and named, cross-validated by patient.

    python -m simulations.lumbar_study slices_256.npz --part levels --size 96 --steps 350 --rate 4e-3 --out levels.json
    python -m simulations.lumbar_study slices_256.npz --part structures --size 256 --steps 1500 --out structures.json

The file holds sagittal T2 slices: `images` (slice, row, column) uint8, `masks` with 1 vertebra, 2 disc, 3 canal, and
`patient` (slice,). Everything is trained without privacy and pooled on one machine: it asks what the networks can do.
Networks see the plan's grid; what they say is judged at the file's own resolution, on every slice of a patient who was
not trained on.

The truth of the vertebrae follows from the masks: bodies are the pieces of the vertebra mask in front of the canal, cut
off at pedicles as the slice cuts them. Pieces of under half or over 1.7 times the slice's median area (cut by the
image's border, or grown together) are no body whose middle is known: neither missed nor wrong. The lowest body is L5,
as in this file, where the sacrum is not drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, label
from torch import Tensor
from torch.nn import functional as F

from fedspine.cohort.levels import VERTEBRAE
from fedspine.cohort.patient import Patient, Volume
from fedspine.cohort.tensors import PatientTensors, to_tensors
from fedspine.config import DataPlan, Plan, PrivacyPlan, Stage
from fedspine.evaluation.bootstrap import mean_interval
from fedspine.evaluation.folds import patient_folds
from fedspine.networks.chain import Found
from fedspine.privacy.patient_sum import public_generator
from fedspine.tasks._rounds import pretrain
from fedspine.tasks._task import make
from fedspine.tasks.levels import FindLevels
from fedspine.tasks.segment import Segment

STRUCTURES = ("vertebra", "disc", "canal")
CLOSE = 5.0
"""Pixels of the file's own grid within which a middle is found."""
LEAST_AREA, SMALL, LARGE = 150, 0.5, 1.7
LOWEST = VERTEBRAE.index("L5")

Places = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spine:
    """One patient of the file.

    Args:
        name: in the file.
        images: (slice, row, column).
        masks: (slice, row, column), see `STRUCTURES`.
        bodies: of each slice (body, 3): row, column, level.
        unclear: of each slice (piece, 2): middles of pieces that are no whole body.
    """

    name: str
    images: NDArray[np.uint8] = field(repr=False)
    masks: NDArray[np.uint8] = field(repr=False)
    bodies: tuple[Places, ...] = field(repr=False)
    unclear: tuple[Places, ...] = field(repr=False)


def read(file: Path) -> list[Spine]:
    """Return the patients of the file, in the order of their names."""
    with np.load(file) as data:
        images, masks, patients = data["images"], data["masks"], data["patient"]
    spines = []
    for name in np.unique(patients):
        own = masks[patients == name]
        found = [pieces(mask) for mask in own]
        bodies = named([one for one, _ in found])
        spines.append(Spine(str(name), images[patients == name], own, bodies, tuple(rest for _, rest in found)))
    return spines


def pieces(mask: NDArray[np.uint8]) -> tuple[Places, Places]:
    """Return the middles (body, 2) of the vertebral bodies in one slice, downwards, and of pieces of some."""
    rows = np.flatnonzero((mask == 3).any(1))
    if len(rows) < mask.shape[0] // 8:
        return np.zeros((0, 2)), np.zeros((0, 2))
    canal = np.interp(np.arange(len(mask)), rows, [np.flatnonzero(mask[row] == 3).mean() for row in rows])
    parts, count = label(mask == 1)
    middles = np.array(center_of_mass(mask == 1, parts, range(1, count + 1))).reshape(count, 2)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    ahead = middles[:, 1] < canal[middles[:, 0].astype(int)]
    typical = np.median(areas[ahead & (areas >= LEAST_AREA)]) if (ahead & (areas >= LEAST_AREA)).any() else np.inf
    whole = ahead & (areas >= SMALL * typical) & (areas <= LARGE * typical)
    order = np.argsort(middles[whole, 0])
    return middles[whole][order], middles[ahead & ~whole]


def named(slices: Sequence[Places]) -> tuple[Places, ...]:
    """Return each slice's bodies with their level, (body, 3), counted upwards in the slice that shows most of them."""
    most = max(slices, key=len)
    result = []
    for bodies in slices:
        nearest = np.linalg.norm(bodies[:, None] - most[None], axis=-1).argmin(1) if len(bodies) else np.zeros(0)
        result.append(np.column_stack([bodies, LOWEST - (len(most) - 1 - nearest)]))
    return tuple(result)


def on_grid(spine: Spine, data: DataPlan) -> list[PatientTensors]:
    """Return the slices of a patient, each as a patient of one slice on the plan's grid, scaled as one volume."""
    affine = np.eye(4)
    affine[:3, :3] = [[-4.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]  # sagittal as a radiologist sees it: nothing is turned
    mask = Volume(spine.masks, affine, "other")
    whole = to_tensors(Patient(spine.name, {"T2": Volume(spine.images, affine, "T2")}, mask), (), data)
    assert whole.mask is not None
    slices = []
    for index, bodies in enumerate(spine.bodies):
        levels = torch.full((len(VERTEBRAE), 3), torch.nan)
        for row, column, level in bodies:
            share = data.size / spine.images.shape[1]
            levels[int(level)] = torch.tensor([0.0, (row + 0.5) * share - 0.5, (column + 0.5) * share - 0.5])
        one = whole.with_images(whole.images[index : index + 1], whole.mask[index : index + 1])
        slices.append(replace(one, levels=levels))
    return slices


def found_in(seen: Found, spine: Spine, index: int, size: int) -> dict[str, float]:
    """Return how many bodies of a slice were found close by, found and named, and how many finds are none."""
    scale = spine.images.shape[1] / size
    places = (seen.places.double().numpy() + 0.5) * scale - 0.5
    bodies, unclear = spine.bodies[index], spine.unclear[index]
    distance = np.linalg.norm(bodies[:, None, :2] - places[None], axis=-1)
    close = distance <= CLOSE
    named_too = close & (bodies[:, 2:3] == seen.names.numpy()[None])
    known = np.concatenate([bodies[:, :2], unclear])
    far = np.linalg.norm(places[:, None] - known[None], axis=-1).min(1) > 2 * CLOSE if len(known) else places[:, 0] > -1
    return {
        "bodies": len(bodies),
        "close": int(close.any(1).sum()),
        "named": int(named_too.any(1).sum()),
        "none": int(far.sum()),
        "finds": len(places),
    }


def dice_of(likely: Tensor, masks: NDArray[np.uint8]) -> dict[str, float]:
    """Return the Dice of each structure over all slices of a patient at the file's own resolution.

    Args:
        likely: probabilities (slice, structure, row, column) on the plan's grid.
        masks: (slice, row, column) of the file.
    """
    fine = F.interpolate(likely, masks.shape[1:], mode="bilinear", align_corners=False)
    best = torch.cat([1 - fine.sum(1, keepdim=True), fine], dim=1).argmax(1)
    result = {}
    for number, name in enumerate(STRUCTURES, 1):
        truth, said = torch.from_numpy(masks == number), best == number
        result[name] = float(2 * (truth & said).sum() / (truth.sum() + said.sum()).clamp(min=1))
    return result


def plan_of(part: str, size: int, steps: int, rate: float, *, unshuffle: int = 2, augment: str = "traditional") -> Plan:
    """Return the plan of one part of the study; `unshuffle` is that of the segmenting network."""
    options = (
        {"judged": False}
        if part == "levels"
        else {"features": [16, 32, 64, 96, 128], "unshuffle": unshuffle, "dropped": 0.0, "precision": "bfloat16"}
    )
    stage = Stage(
        "levels" if part == "levels" else "segment",
        part,
        trained="all",
        augment=augment,
        pretrain_steps=steps,
        pretrain_rate=rate,
        options=options,
    )
    data = DataPlan(contrasts=("T2",), size=size, slices=512, structures=STRUCTURES, levels="T10-S1")
    return Plan("lumbar", data=data, privacy=PrivacyPlan("none"), stage=(stage,))


def figures_of_fold(
    spines: Sequence[Spine], tested: Sequence[int], plan: Plan, seed: int
) -> dict[str, dict[str, float]]:
    """Return the figures of the patients `tested`, by name, after training on all others."""
    (stage,) = plan.stage
    task = make(plan, stage, {})
    assert isinstance(task, Segment | FindLevels)
    torch.manual_seed(seed)
    model = task.build()
    train = [s for i, spine in enumerate(spines) if i not in tested for s in on_grid(spine, plan.data)]
    pretrain(task, model, train, stage, public_generator(seed, "lumbar"))
    model.eval()
    figures = {}
    with torch.no_grad():
        for spine in (spines[i] for i in tested):
            slices = on_grid(spine, plan.data)
            if isinstance(task, Segment):
                figures[spine.name] = dice_of(torch.cat([task.predict(model, one) for one in slices]), spine.masks)
                continue
            each = [found_in(task.find(model, one), spine, i, plan.data.size) for i, one in enumerate(slices)]
            figures[spine.name] = {key: sum(one[key] for one in each) for key in each[0]}
    return figures


def summary(figures: dict[str, dict[str, float]], part: str) -> dict[str, object]:
    """Return means over patients with their intervals (bootstrap over patients), and shares of all bodies."""
    patients = [figures[name] for name in sorted(figures)]
    if part == "structures":
        values = {name: [one[name] for one in patients] for name in STRUCTURES}
        values["mean"] = [sum(one.values()) / len(one) for one in patients]
    else:
        values = {key: [one[key] / max(one["bodies"], 1) for one in patients] for key in ("close", "named")}
        values["precision"] = [1 - one["none"] / one["finds"] if one["finds"] else float("nan") for one in patients]
    result: dict[str, object] = {}
    for key, each in values.items():
        estimate = mean_interval(np.array(each))
        result[key] = {"mean": estimate.value, "low": estimate.low, "high": estimate.high, "worst": min(each)}
    if part == "levels":
        bodies = sum(one["bodies"] for one in patients)
        result["of all bodies"] = {key: sum(one[key] for one in patients) / bodies for key in ("close", "named")}
        result["bodies"] = bodies
    return result


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description="Segment and label lumbar spines, cross-validated by patient.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--part", choices=("structures", "levels"), required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--only", type=int, nargs="*", help="these folds only, from 1")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--unshuffle", type=int, default=2, help="of the segmenting network")
    parser.add_argument("--augment", choices=("none", "traditional"), default="traditional")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="figures are added to what this file holds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spines = read(arguments.file)
    plan = plan_of(
        arguments.part,
        arguments.size,
        arguments.steps,
        arguments.rate,
        unshuffle=arguments.unshuffle,
        augment=arguments.augment,
    )
    kept = arguments.out is not None and arguments.out.exists()
    figures = json.loads(arguments.out.read_text())["patients"] if kept else {}
    for number, fold in enumerate(patient_folds([0] * len(spines), arguments.folds, seed=0), 1):
        if not arguments.only or number in arguments.only:
            figures |= figures_of_fold(spines, fold.test, plan, arguments.seed)
            result = {"patients": figures, "summary": summary(figures, arguments.part)}
            print(json.dumps(result["summary"], indent=1), flush=True)
            if arguments.out is not None:
                arguments.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

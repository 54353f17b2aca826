"""What a run released, as `metrics.json`, and pictures that no patient is in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.cohort.tensors import PatientTensors, largest_lesion_slices
from fedspine.config import HELD_OUT, TRAIN, Plan
from fedspine.privacy.accounting import ASSUMPTION, SKELLAM, Event, epsilon_pld, epsilon_rdp
from fedspine.privacy.integer_sum import steps_for
from fedspine.privacy.patient_sum import public_generator
from fedspine.tasks._task import Generative, rebuilt
from fedspine.tasks.segment import Segment
from fedspine.wire import SECURE
from server.sites import Enrolled
from server.vault import Progress

EXAMPLES = 12
"""Pictures of each kind in the gallery."""

FORMAT = 1

SEEN_BY = "the coordinator sees each site's releases, or their sum where that is secure; every site sees the results"
"""Who sees what: the audit asks for it."""


def metrics(
    plan: Plan, progress: Progress, sites: Sequence[Enrolled], refused: Mapping[str, str], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the contents of `metrics.json`.

    Args:
        plan: as run.
        progress: the final state.
        sites: who took part.
        refused: sites that did not enrol, and their codes.
        run: `engine`, `simulation`, `source`, `noise`, `rehearsing`, `seconds`.
    """
    private = plan.privacy.mechanism != "none"
    stages = progress.numbers.get("stages", [])
    return {
        "format": FORMAT,
        "plan": {"name": plan.name, "digest": plan.digest(), "seed": plan.seed},
        **run,
        "privacy": {
            "mechanism": plan.privacy.mechanism,
            "epsilon": plan.privacy.epsilon if private else None,
            "delta": plan.privacy.delta,
            "unit": "patient",
            "assumption": ASSUMPTION,
            "accountant": f"PLD and RDP of dp-accounting {version('dp-accounting')}",
            "seen_by": SEEN_BY,
        },
        "data": {
            "contrasts": list(plan.data.contrasts),
            "classes": list(plan.data.classes),
            "omics": list(plan.data.omics),
            "markers": list(plan.data.markers),
            "size": plan.data.size,
            "slices": plan.data.slices,
        },
        "sites": {s.name: {"train": s.patients[TRAIN], "held_out": s.patients[HELD_OUT]} for s in sites},
        "not_enrolled": dict(refused),
        "epsilon": {site.name: _cost(plan, stages, site.name) for site in sites},
        "metrics": {},
        **progress.numbers,
    }


MAYBE_BOOKED = ("no-answer", "failed", "egress-blocked", "unreadable")
"""Codes that may come after a site has booked its release."""


def _cost(plan: Plan, stages: Sequence[Mapping[str, Any]], site: str) -> dict[str, Any]:
    """Return what the rounds that a site was asked for may have cost its patients, by fold and by stage.

    A round that was asked for counts though no usable answer came: the site may have booked it. Only where a code says
    that it did not get so far, it does not count.
    """
    spent: dict[str, list[Event]] = {TRAIN: [], HELD_OUT: []}
    single = {}
    for entry in stages:
        booked = entry["refused"].get(site, MAYBE_BOOKED[0]) in MAYBE_BOOKED
        rounds = entry["asked" if booked else "answered"].get(site, 0)
        if not rounds:
            continue
        noise = entry["noise_multiplier"] if plan.privacy.mechanism != "none" else 0.0
        event = Event(noise, entry["sample_rate"], rounds * entry["steps"])
        if entry.get("sums") == SECURE:
            size = entry["dimension"]
            event = replace(event, mechanism=SKELLAM, dimension=size, scale=steps_for(size))
        spent[entry["fold"]].append(event)
        single[entry["name"]] = _finite(epsilon_pld([event], plan.privacy.delta))
    return {
        **{
            fold: {
                "pld": _finite(epsilon_pld(events, plan.privacy.delta)),
                "rdp": _finite(epsilon_rdp(events, plan.privacy.delta)),
            }
            for fold, events in spent.items()
        },
        "stages": single,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _is_normal(patient: PatientTensors) -> bool:
    return patient.mask is None or not bool(patient.mask.any())


def write_gallery(plan: Plan, progress: Progress, file: Path) -> None:
    """Write phantoms, synthetic images and segmentations of phantoms; see docs/reference/run-folder.md for the keys.

    Phantoms have a lesion; of made patients, who are as many as they come, those with one stand first.
    """
    examples = [p for p in phantoms(plan, 2 * EXAMPLES, purpose=2) if not _is_normal(p)][:EXAMPLES]
    pictures: dict[str, Tensor] = {}
    rows: list[int] = []
    if examples:
        shown, lesions, rows = largest_lesion_slices(examples)
        pictures |= {"phantom.images": shown, "phantom.masks": lesions}
    for stage in plan.stage:
        task, model = rebuilt(plan, stage, progress.shared, progress.models)
        with torch.no_grad():
            if isinstance(task, Generative):
                made = task.synthetic(model, EXAMPLES, public_generator(plan.seed, "gallery"))
                images, masks, _ = largest_lesion_slices(sorted(made, key=_is_normal))
                pictures |= {"synthetic.images": images, "synthetic.masks": masks}
            elif isinstance(task, Segment) and model is not None and examples:
                predicted = [task.segmented(model, p) for p in examples]
                pictures |= {
                    "segmentation.images": pictures["phantom.images"],
                    "segmentation.masks": pictures["phantom.masks"],
                    "segmentation.predicted": torch.stack([m[r].amax(0) for m, r in zip(predicted, rows, strict=True)]),
                }
    save_file({key: value.contiguous().clone() for key, value in pictures.items()}, file)

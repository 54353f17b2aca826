"""A site's own numbers and pictures, computed and kept at the site: exact, un-noised, never sent.

STATE/metrics.json           exact metrics on held-out patients, places on the token map
STATE/gallery.safetensors    real images and masks, segmentations of held-out patients
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from client.aligning import maps_of
from client.hospital import Hospital
from client.lesions import saliencies, uncertainty
from fedspine.atlas.surrogate import NORMAL_90
from fedspine.cohort.prepared import Lazily, joined, mapped
from fedspine.cohort.tensors import PatientTensors, largest_lesion_slices
from fedspine.config import HELD_OUT, TRAIN, Plan
from fedspine.harmony.apply import harmonised
from fedspine.harmony.features import features, intensity_names
from fedspine.networks.towers import Towers
from fedspine.tasks._task import Scored, Trained, load_weights, make
from fedspine.tasks.segment import Segment
from fedspine.tasks.tokens import Tokens, as_numbers

EXAMPLES = 12


def write_local_results(
    hospital: Hospital, plan: Plan, models: Mapping[str, Mapping[str, Tensor]], shared: Mapping[str, Tensor]
) -> None:
    """Write the site's own metrics and gallery next to its ledger, mode 0600.

    Args:
        hospital: whose patients.
        plan: as run.
        models: stage to the global weights.
        shared: released values, the site's own effects among them.
    """
    sides = {fold: _readable(hospital, members) for fold, members in hospital.patients(plan).items()}
    raw = joined(sides[TRAIN], sides[HELD_OUT])
    maps = maps_of(hospital, plan, shared)
    held_out = mapped(sides[HELD_OUT], lambda patient: harmonised(patient, shared, maps))
    everyone = mapped(raw, lambda patient: harmonised(patient, shared, maps))
    result: dict[str, Any] = {
        "name": hospital.name,
        "patients": len(raw),
        "labels": _labels(raw, plan),
        "contrasts": {c: int(sum(float(p.present[i]) for p in raw)) for i, c in enumerate(plan.data.contrasts)},
        "metrics": {},
        "tokens": [],
        "harmonisation": _harmonisation(raw, everyone, plan, shared),
        "uncertainty": uncertainty(plan, shared),
    }
    segmenter: tuple[Segment, torch.nn.Module] | None = None
    pictures: dict[str, Tensor] = {}
    examples = _examples(everyone)
    if examples:
        images, masks, _ = largest_lesion_slices(examples)
        pictures |= {"real.images": images, "real.masks": masks}
    for stage in plan.stage:
        if stage.name not in models:
            continue
        task = make(plan, stage, shared)
        assert isinstance(task, Trained)
        model = task.build()
        load_weights(model, models[stage.name])
        model.eval()
        if hasattr(task, "evaluate"):
            result["metrics"][f"{stage.name}-test"] = exact_metrics(cast(Scored, task), model, held_out)
        if isinstance(task, Segment):
            pictures |= _segmentations(task, model, held_out)
            segmenter = task, model
    names = [*plan.data.classes, "no label"]
    result["saliency"] = saliencies(everyone, names, shared, segmenter)
    for stage in plan.stage:
        if stage.task == "tokens" and stage.of in models and "atlas.references" in shared:
            tokens = make(plan, stage, shared, models[stage.of])
            assert isinstance(tokens, Tokens)
            result["tokens"] = _places(tokens, tokens.model, everyone, names)
    hospital.state.mkdir(parents=True, exist_ok=True)
    hospital.state.chmod(0o700)
    _write_private(hospital.state / "metrics.json", json.dumps(result).encode())
    if pictures:
        file = hospital.state / "gallery.safetensors"
        save_file({key: value.contiguous().clone() for key, value in pictures.items()}, file)
        os.chmod(file, 0o600)


def _readable(hospital: Hospital, patients: Lazily) -> Lazily:
    """Return the patients who can be opened; a broken one must not take the others' page along."""
    good = []
    for index in range(len(patients)):
        try:
            patients[index]
            good.append(partial(patients.__getitem__, index))
        except Exception as error:
            hospital.note_error("", "patient-skipped", error)
    return Lazily(good)


def exact_metrics(task: Scored, model: torch.nn.Module, patients: Sequence[PatientTensors]) -> dict[str, float | None]:
    """Return the metrics that the same counts give without noise."""
    total = task.counts()
    with torch.no_grad():
        for patient in patients:
            counts = task.evaluate(model, patient)
            for key, value in (counts or {}).items():
                total[key] += value
    return {name: None if math.isnan(value) else value for name, value in task.metrics(total).items()}


def _examples(patients: Sequence[PatientTensors]) -> list[PatientTensors]:
    """Return the first patients that have an image and a lesion."""
    shown = (p for p in patients if p.mask is not None and bool(p.mask.any()) and p.has_image)
    return list(islice(shown, EXAMPLES))


def _labels(patients: Sequence[PatientTensors], plan: Plan) -> dict[str, int]:
    names = [*plan.data.classes, "no label"]
    return dict(Counter(names[patient.label] for patient in patients))


def _harmonisation(
    raw: Sequence[PatientTensors], after: Sequence[PatientTensors], plan: Plan, shared: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return where this hospital's mean of every feature lies, in pooled deviations, before and after."""
    if "harmonise.alpha" not in shared:
        return {}
    alpha, sigma = shared["harmonise.alpha"], shared["harmonise.sigma"]
    means = []
    for patients in (raw, after):
        rows = [features(one) if one.harmonised is None else one.harmonised for one in patients]
        total = torch.stack([values * known for values, known in rows]).sum(0)[: len(alpha)]
        count = torch.stack([known for _, known in rows]).sum(0)[: len(alpha)].clamp(min=1)
        means.append(((total / count - alpha) / sigma).tolist())
    return {"features": list(intensity_names(plan.data.contrasts)), "before": means[0], "after": means[1]}


def _segmentations(task: Segment, model: torch.nn.Module, patients: Sequence[PatientTensors]) -> dict[str, Tensor]:
    chosen = _examples(patients)
    if not chosen:
        return {}
    images, masks, rows = largest_lesion_slices(chosen)
    with torch.no_grad():
        predicted = [task.segmented(model, p)[row].amax(0) for p, row in zip(chosen, rows, strict=True)]
    return {
        "segmentation.images": images,
        "segmentation.masks": masks,
        "segmentation.predicted": torch.stack(predicted),
    }


def _places(
    tokens: Tokens, model: Towers, patients: Sequence[PatientTensors], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return every patient's place on the map, its token, and the pseudo-genomic score with its 90 % interval.

    The score is what markers tell; where a patient has none, what the image alone does.
    """
    places = []
    for patient in patients:
        if not patient.has_image:
            continue
        place = {**as_numbers(tokens.placed(patient)), "class": names[patient.label]}
        told, by = tokens.encoder.marker_score(patient), "markers"
        if told is None and tokens.encoder.scored:
            with torch.no_grad():
                told, by = model.pseudo_genomic(tokens.encoder.embed(model, patient)[None])[0], "the image"
        if told is not None:
            score, half = float(told[0]), NORMAL_90 * float(told[1])
            place |= {"score": score, "low": score - half, "high": score + half, "by": by}
        places.append(place)
    return places


def _write_private(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)

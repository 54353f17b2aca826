"""An invented run folder, as `fedspine simulate` writes one: four sites, every optional part present.

Load it with `runpy.run_path`: test files share no package to import it from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fedspine.privacy.chain import FIRST, chained

SITES = ("site-1", "site-2", "site-3", "site-4")
CONTRASTS = ("T1", "T1c", "T2", "STIR", "ADC")
CLASSES = ("normal", "benign", "malignant")
TOKENS = ("token-1", "token-2", "token-3", "token-4", "token-5")
STAGES = (
    # name, task, of, rounds, steps, rate, sigma
    ("standardise", "standardise", "", 1, 1, 1.0, 21.4),
    ("harmonise", "harmonise", "", 1, 1, 1.0, 17.1),
    ("gan", "gan", "", 12, 4, 0.25, 1.9),
    ("segment", "segment", "", 8, 4, 0.25, 1.62),
    ("classify", "classify", "", 8, 4, 0.25, 1.62),
    ("encode", "encode", "", 6, 4, 0.25, 1.7),
    ("tokens", "tokens", "", 1, 1, 1.0, 14.0),
    ("segment-test", "evaluate", "segment", 1, 1, 1.0, 1.2),
    ("classify-test", "evaluate", "classify", 1, 1, 1.0, 1.2),
)
PLAN = '[privacy]\nmechanism = "gaussian"\nepsilon = 8.0\n'
Change = Callable[[dict[str, Any]], object]


def write_run(folder: Path, *, seed: int = 0, change: Change | None = None, size: int = 64, samples: int = 4) -> Path:
    """Write the run into `folder`; `change` may alter the coordinator's metrics before they are written."""
    rng = np.random.default_rng(seed)
    metrics = coordinator_metrics(rng)
    if change is not None:
        change(metrics)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "plan.toml").write_text(PLAN)
    save_file(gallery(rng, ("synthetic", "phantom", "segmentation"), samples, size), folder / "gallery.safetensors")
    for index, site in enumerate(SITES):
        own = folder / "sites" / site
        own.mkdir(parents=True)
        (own / "metrics.json").write_text(json.dumps(site_metrics(rng, metrics, site, index)))
        pictures = gallery(rng, ("real", "segmentation"), samples, size)
        pictures["real.images"][0, -1] = 0  # a contrast that this patient does not have
        save_file(pictures, own / "gallery.safetensors")
        (own / "ledger.jsonl").write_text(chain(ledger_lines()))
        (own / "egress.jsonl").write_text(chain(egress_lines(rng)))
    return folder


def chain(lines: list[dict[str, Any]]) -> str:
    """Return hash-chained JSON lines."""
    written, previous = [], FIRST
    for line in lines:
        whole = chained(line, previous)
        written.append(json.dumps(whole, sort_keys=True))
        previous = whole["hash"]
    return "".join(text + "\n" for text in written)


def ledger_lines() -> list[dict[str, Any]]:
    """Return one entry per stage and round."""
    return [
        {
            "stage": name,
            "round": r + 1,
            "fold": "held-out" if task == "evaluate" else "train",
            "event": {"noise_multiplier": sigma, "sample_rate": rate, "count": steps},
            "clip": 1.0,
            "plan": "c0ffee",
            "noise": "fixed seed",
            "time": "2030-01-01T00:00:00+00:00",
        }
        for name, task, _, rounds, steps, rate, sigma in STAGES
        for r in range(rounds)
    ]


def egress_lines(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return one message per stage and round."""
    return [
        {
            "stage": name,
            "round": r + 1,
            "digest": "d" * 64,
            "bytes": int(rng.integers(4_000, 250_000)),
            "mechanism": "gaussian",
            "cost": {"noise_multiplier": sigma},
            "time": "2030-01-01T00:00:00+00:00",
        }
        for name, _, _, rounds, _, _, sigma in STAGES
        for r in range(rounds)
    ]


def coordinator_metrics(rng: np.random.Generator) -> dict[str, Any]:
    """Return what the coordinator knows."""
    assumption = "patient-level, neighbours add or remove one patient, Poisson sampling over patients"
    names = [f"{c} {what}" for c in CONTRASTS for what in ("mean", "sd", "lesion mean", "lesion sd")]
    drift = {site: rng.normal(0, 0.7, len(names)) for site in SITES}
    return {
        "format": 1,
        "plan": {"name": "spine-consortium", "digest": "c0ffee" * 10, "seed": 7},
        "simulation": True,
        "engine": "inprocess",
        "source": "phantoms",
        "noise": "fixed seed",
        "started": "2030-01-01T00:00:00+00:00",
        "seconds": 192.4,
        "privacy": {
            "mechanism": "gaussian",
            "epsilon": 8.0,
            "delta": 1e-5,
            "unit": "patient",
            "assumption": assumption,
        },
        "data": {"contrasts": CONTRASTS, "classes": CLASSES, "omics": [], "markers": [], "size": 64, "slices": 6},
        "sites": {site: {"train": 30 + 3 * i, "held_out": 10 + i} for i, site in enumerate(SITES)},
        "stages": [stage(rng, *row) for row in STAGES],
        "gan": {
            "critic": list(0.7 + 0.5 * np.exp(-np.arange(12) / 3) + rng.normal(0, 0.03, 12)),
            "generator": list(1.1 - 0.3 * np.exp(-np.arange(12) / 3) + rng.normal(0, 0.05, 12)),
        },
        "epsilon": {site: epsilon() for site in SITES},
        "metrics": {
            "segment-test": measured(rng, {"dice": 0.71, "precision": 0.74, "recall": 0.69}),
            "classify-test": measured(
                rng, {"accuracy": 0.72, "precision": 0.7, "recall": 0.74, "f1": 0.72, "auc": 0.81}
            ),
        },
        "harmonisation": {
            "features": names,
            "before": {site: list(values) for site, values in drift.items()},
            "after": {site: list(0.15 * values + rng.normal(0, 0.05, len(names))) for site, values in drift.items()},
        },
        "tokens": tokens(rng),
    }


def stage(
    rng: np.random.Generator, name: str, task: str, of: str, rounds: int, steps: int, rate: float, sigma: float
) -> dict[str, Any]:
    """Return the record of one stage; site-3 refuses the encoder."""
    trained = task in ("segment", "classify", "encode")
    curve = [0.9 * math.exp(-r / 4) + 0.3 for r in range(rounds)]
    refused = {"site-3": "task-not-allowed"} if task == "encode" else {}
    noisy = {site: [value + float(rng.normal(0, 0.05)) for value in curve] for site in SITES if site not in refused}
    return {
        "name": name,
        "task": task,
        "of": of,
        "fold": "held-out" if task == "evaluate" else "train",
        "rounds": rounds,
        "steps": steps,
        "sample_rate": rate,
        "noise_multiplier": sigma,
        "clip": 1.0,
        "seconds": 12.5,
        "bytes": {site: int(rng.integers(2_000, 900_000)) for site in SITES if site not in refused},
        "answered": {site: 0 if site in refused else rounds for site in SITES},
        "refused": refused,
        "loss": {"pooled": curve, "sites": noisy} if trained else {},
    }


def epsilon() -> dict[str, Any]:
    """Return a site's costs."""
    stages = {name: 1.0 + 0.2 * i for i, (name, *_) in enumerate(STAGES)}
    return {"train": {"pld": 7.31, "rdp": 7.98}, "held-out": {"pld": 7.46, "rdp": 7.99}, "stages": stages}


def measured(rng: np.random.Generator, values: dict[str, float]) -> dict[str, Any]:
    """Return released metrics; site-4 has too few patients for one of them."""

    def one(value: float, width: float) -> dict[str, float | None]:
        here = float(np.clip(value + rng.normal(0, 0.05), 0, 1))
        return {"value": here, "low": max(here - width, 0), "high": min(here + width, 1)}

    sites = {site: {name: one(value, 0.17) for name, value in values.items()} for site in SITES}
    sites["site-4"]["recall"] = {"value": None, "low": None, "high": None}
    return {"pooled": {name: one(value, 0.07) for name, value in values.items()}, "sites": sites}


def tokens(rng: np.random.Generator) -> dict[str, Any]:
    """Return a map of five tokens."""
    anchors = [
        {"x": x, "y": y, "token": token, "class": str(rng.choice(CLASSES))}
        for token in range(len(TOKENS))
        for x, y in rng.normal((4 * math.cos(token * 1.3), 3 * math.sin(token * 1.3)), 0.6, (30, 2)).tolist()
    ]
    counts = {
        site: (rng.poisson(2.5, (len(TOKENS), 3)) + rng.normal(0, 1.2, (len(TOKENS), 3))).tolist() for site in SITES
    }
    score = [-0.8, -0.2, 0.1, 0.6, None]
    points = [{key: one[key] for key in ("x", "y", "token")} for one in anchors[::2]]
    columns = ["T1 mean", "ADC lesion mean", "MKI67", "lesion volume", "level"]
    profiles = np.concatenate([rng.normal(0, 1, (len(TOKENS), 4)), rng.uniform(0, 1, (len(TOKENS), 1))], axis=1)
    return {
        "names": TOKENS,
        "anchors": anchors,
        "points": points,
        "counts": counts,
        "unlike": dict.fromkeys(SITES, 1.2),
        "classes": CLASSES,
        "score": score,
        "columns": columns,
        "profiles": profiles.tolist(),
    }


def site_metrics(rng: np.random.Generator, metrics: dict[str, Any], site: str, index: int) -> dict[str, Any]:
    """Return a site's exact figures."""
    released = metrics.get("harmonisation", {})
    exact = {"dice": 0.68 + 0.01 * index, "precision": 0.7, "recall": 0.66}
    anchors = metrics.get("tokens", {}).get("anchors", [])[::5]
    return {
        "name": site,
        "patients": 40 + 4 * index,
        "labels": {"normal": 12, "benign": 14, "malignant": 14 + 4 * index},
        "contrasts": {"T1": 40, "T1c": 31, "T2": 39, "STIR": 28, "ADC": 17},
        "metrics": {"segment-test": exact, "classify-test": {"accuracy": 0.7, "auc": 0.79}},
        "tokens": [
            {
                **a,
                "x": a["x"] + rng.normal(0, 0.5),
                "y": a["y"] + rng.normal(0, 0.5),
                "certainty": 0.8,
                "unlike": i == 3,
                **{"score": 0.4, "low": -0.3, "high": 1.1, "by": "markers"},
            }
            for i, a in enumerate(anchors)
        ],
        "harmonisation": {
            "features": released.get("features"),
            **{key: released.get(key, {}).get(site) for key in ("before", "after")},
        },
        "uncertainty": {
            "contrasts": ["T1", "T2", "ADC"],
            "patients": [21, 9],
            "body": [[0.2, 0.25, 0.6], [0.3, 0.35, 0.8]],
            "lesion": [[0.3, 0.3, 0.7], [0.4, 0.45, 0.9]],
        },
        "saliency": [
            {
                "class": CLASSES[1 + i % 2],
                "score": 0.3 + 0.02 * i,
                "mask": "the network's" if i % 4 else "the hospital's",
            }
            for i in range(20)
        ],
    }


def gallery(
    rng: np.random.Generator, kinds: tuple[str, ...], samples: int, size: int
) -> dict[str, NDArray[np.float32]]:
    """Return images (n, contrast, row, column) of a bright ellipse in a column of blocks, and its masks."""
    pictures: dict[str, NDArray[np.float32]] = {}
    row, column = np.mgrid[:size, :size] / size
    for kind in kinds:
        images, masks, predicted = [], [], []
        for _ in range(samples):
            at, width, height = rng.uniform(0.3, 0.7), rng.uniform(0.05, 0.09), rng.uniform(0.07, 0.16)
            inside = ((column - 0.52) / width) ** 2 + ((row - at) / height) ** 2 < 1
            drawn = ((column - 0.53) / width) ** 2 + ((row - at - 0.02) / height) ** 2 < 0.95
            blocks = 0.35 * (np.abs(column - 0.34) < 0.09) * (np.sin(row * 45) > -0.6) + 0.5 * (
                np.abs(column - 0.52) < 0.07
            )
            body = 0.16 * (np.abs(column - 0.5) < 0.4)
            channels = [body + blocks * rng.uniform(0.4, 1.2) + inside * rng.uniform(-0.2, 0.5) for _ in CONTRASTS]
            images.append(np.clip(np.stack(channels) + rng.normal(0, 0.03, (len(CONTRASTS), size, size)), 0, 1))
            masks.append(inside)
            predicted.append(drawn)
        pictures[f"{kind}.images"] = np.stack(images).astype(np.float32)
        pictures[f"{kind}.masks"] = np.stack(masks).astype(np.float32)
        if kind == "segmentation":
            pictures["segmentation.predicted"] = np.stack(predicted).astype(np.float32)
    return pictures

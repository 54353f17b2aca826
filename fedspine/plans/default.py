"""The plan that is run when none is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedspine.config import DataPlan, Plan, load_plan
from fedspine.phantom.genome import CLASSES, MARKERS, OMICS_COLUMNS
from fedspine.phantom.scanner import CONTRASTS

TEXT = (Path(__file__).parent / "default.toml").read_text(encoding="utf-8")


def default_plan() -> Plan:
    """Return the default plan, its data section naming what phantoms have."""
    plan = load_plan(TEXT)
    return replace(plan, data=phantom_data(plan.data))


def phantom_data(data: DataPlan) -> DataPlan:
    """Return `data` with every list that is empty filled from the phantoms."""
    return replace(
        data,
        contrasts=data.contrasts or CONTRASTS,
        classes=data.classes or CLASSES,
        omics=data.omics or OMICS_COLUMNS,
        markers=data.markers or (() if data.omics else MARKERS),
    )

"""Public anchors for plans of any contrasts."""

from __future__ import annotations

from fedspine.atlas.anchors import anchor_rows
from fedspine.config import load_plan
from fedspine.harmony.features import feature_names

PLAN = """
name = "planes"
[data]
contrasts = ["T2 sagittal", "T2 axial"]
size = 32
slices = 2
[[stage]]
task = "standardise"
"""


def test_phantoms_serve_as_anchors_in_the_plane_they_are_scanned_in() -> None:
    plan = load_plan(PLAN)
    _, known = anchor_rows(plan)
    columns = feature_names(plan.data.contrasts)
    shown = {name for name, seen in zip(columns, known.any(0).tolist(), strict=False) if seen}
    assert "T2 sagittal mean" in shown
    assert "T2 axial mean" not in shown

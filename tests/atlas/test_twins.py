"""Anchors examined twice: the same omics and shapes, other intensities, which harmonising brings together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedspine.atlas import twins as module
from fedspine.atlas.anchors import drawn, on_grid, rows_of
from fedspine.atlas.twins import anchors
from fedspine.harmony.features import feature_names, intensity_names
from fedspine.plans.default import default_plan


def test_twins_differ_by_their_scanner_alone_and_less_after_harmonising(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNT", 60)
    base = default_plan()
    plan = replace(base, data=replace(base.data, size=32, slices=2))
    both = anchors(plan)
    size, features = len(intensity_names(plan.data.contrasts)), len(feature_names(plan.data.contrasts))
    assert torch.equal(both.values[:, features:], both.twins[:, features:])  # omics
    assert torch.allclose(both.values[:, size:features], both.twins[:, size:features], atol=0.05)  # shape and place
    first = torch.stack([rows_of(one)[0] for one in on_grid(plan, drawn(plan, 60, 0), 0)])
    second = torch.stack([rows_of(one)[0] for one in module._examined_again(plan)])
    deviation = first[:, :size].std(0)
    before = ((first - second)[:, :size] / deviation).square().mean()
    after = ((both.values - both.twins)[:, :size] / deviation).square().mean()
    assert float(after) < 0.8 * float(before)


def test_heads_have_one_scanner_and_are_their_own_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNT", 4)
    base = default_plan()
    data = replace(base.data, body="brain", contrasts=("T1", "FLAIR"), size=32, slices=2)
    both = anchors(replace(base, data=data))
    assert torch.equal(both.values, both.twins)

"""The pseudo-genomic score of phantoms that the network never met: rank, interval, missing and foreign columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from fedspine.atlas import surrogate as module
from fedspine.atlas.surrogate import NORMAL_90, Reading, reading, surrogate
from fedspine.plans.default import default_plan

PLAN = default_plan()
MARKERS = tuple(PLAN.data.omics.index(name) for name in PLAN.data.markers)


@pytest.fixture(scope="module")
def read() -> Reading:
    nothing = torch.zeros(len(PLAN.data.omics))
    return reading(surrogate(PLAN), MARKERS, nothing, nothing + 1)


@pytest.fixture(scope="module")
def others() -> tuple[Tensor, Tensor]:
    """Return omics (phantom, column) of other phantoms and their true score."""
    rows, _, truth = module._genomes(replace(PLAN, seed=77))
    return rows[:1000], truth[:1000]


def test_the_score_ranks_phantoms_better_than_the_markers_mean(read: Reading, others: tuple[Tensor, Tensor]) -> None:
    rows, truth = others
    found = read.of(rows, torch.ones_like(rows))
    plain = ((rows - rows.mean(0)) / rows.std(0))[:, list(MARKERS)].mean(1)
    rank = spearmanr(found[:, 0], truth).statistic
    assert rank > 0.90
    assert rank > spearmanr(plain, truth).statistic + 0.05
    held = ((found[:, 0] - truth).abs() <= NORMAL_90 * found[:, 1]).float().mean()
    assert 0.85 <= float(held) <= 0.95


def test_missing_columns_widen_the_interval_and_no_marker_means_no_score(
    read: Reading, others: tuple[Tensor, Tensor]
) -> None:
    rows, _ = others
    fewer = torch.ones_like(rows)
    fewer[:, list(MARKERS)[:4]] = 0
    assert float(read.of(rows, fewer)[:, 1].mean()) > 1.2 * float(read.of(rows, torch.ones_like(rows))[:, 1].mean())
    fewer[:, list(MARKERS)] = 0
    assert bool(read.of(rows, fewer).isnan().all())


def test_foreign_markers_are_averaged_as_they_are() -> None:
    data = replace(PLAN.data, omics=("ABC1", "XYZ2"), markers=("ABC1", "XYZ2"))
    assert surrogate(replace(PLAN, data=data)) == {}
    plain = reading({}, (0, 1), torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]))
    found = plain.of(torch.tensor([[3.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert found[:, 0].tolist() == pytest.approx([1.5, 1.0])
    assert float(found[0, 1]) == 0
    assert float(found[1, 1]) > 0.5

"""What the server makes of the sites' weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from fedspine.config import Stage
from fedspine.tasks._combine import ADAPTIVITY, BETAS, kept_weights, mean_weights, next_weights, note_average


def test_the_mean_is_that_of_flowers_own_averaging() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = [{"a": torch.randn(3, 4, generator=generator), "b": torch.randn(2, generator=generator)} for _ in range(3)]
    patients = [6.0, 23.0, 9.0]
    records = [
        RecordDict({"arrays": ArrayRecord(dict(site)), "numbers": MetricRecord({"patients": count})})
        for site, count in zip(sites, patients, strict=True)
    ]
    flowers = aggregate_arrayrecords(records, "patients").to_torch_state_dict()
    ours = mean_weights(sites, patients)
    assert all(torch.allclose(ours[key].double(), flowers[key].double(), atol=1e-6) for key in flowers)
    assert ours["a"].dtype == torch.float32


def test_a_site_without_patients_weighs_nothing() -> None:
    mean = mean_weights([{"a": torch.ones(2)}, {"a": torch.full((2,), 5.0)}], [0, 4])
    assert torch.allclose(mean["a"], torch.full((2,), 5.0))


def test_fedadam_follows_the_papers_two_moments() -> None:
    stage = Stage("segment", server="adam", server_rate=0.1)
    random = np.random.default_rng(1)
    weights, memory = {"a": torch.zeros(5)}, dict[str, torch.Tensor]()
    expected, first, second = np.zeros(5), np.zeros(5), np.zeros(5)
    for _ in range(3):
        mean = expected + random.normal(size=5)
        weights = next_weights(stage, weights, {"a": torch.tensor(mean, dtype=torch.float32)}, memory)
        step = mean - expected
        first, second = BETAS[0] * first + (1 - BETAS[0]) * step, BETAS[1] * second + (1 - BETAS[1]) * step**2
        expected = expected + 0.1 * first / (np.sqrt(second) + ADAPTIVITY)
    assert weights["a"].numpy() == pytest.approx(expected, abs=1e-5)


def test_the_plain_rule_takes_the_mean_and_remembers_nothing() -> None:
    memory = dict[str, torch.Tensor]()
    mean = {"a": torch.randn(3)}
    assert torch.equal(next_weights(Stage("segment"), {"a": torch.zeros(3)}, mean, memory)["a"], mean["a"])
    assert not memory


def test_a_running_average_begins_at_the_first_weights_and_is_what_is_kept() -> None:
    stage, memory = Stage("segment", average=0.75), dict[str, torch.Tensor]()
    for value in (4.0, 8.0):
        note_average(stage, {"a": torch.tensor([value])}, memory)
    assert float(kept_weights(stage, {"a": torch.tensor([8.0])}, memory)["a"]) == pytest.approx(5.0)
    assert float(kept_weights(Stage("segment"), {"a": torch.tensor([8.0])}, {})["a"]) == 8.0

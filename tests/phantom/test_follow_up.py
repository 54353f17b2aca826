"""A second study shows the same person, grown; the time to the event follows the hazard and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr

from fedspine.cohort.site import load_cohort
from fedspine.errors import InputError
from fedspine.phantom.genome import MUTATIONS
from fedspine.phantom.graph import run
from fedspine.phantom.outcome import growth
from fedspine.phantom.patient import draw
from fedspine.phantom.person import GRAPH
from fedspine.phantom.tumour import TUMOURS, TumourType
from fedspine.phantom.writer import write_consortium

SHAPE = (6, 64, 64)


def _type(name: str) -> TumourType:
    return next(tumour for tumour in TUMOURS if tumour.name == name)


def _concordance(risk: NDArray[np.float64], time: NDArray[np.float64], event: NDArray[np.float64]) -> float:
    """Return Harrell's concordance: how often, of two patients, the one at more risk has the event first."""
    earlier = (time[:, None] < time[None, :]) & (event[:, None] == 1.0)
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float(right[earlier].mean())


def test_a_later_study_is_the_same_person_with_a_grown_tumour() -> None:
    first = draw(np.random.default_rng(3), label="malignant", shape=SHAPE)
    later = first.follow_up(6.0)
    assert (first.anatomy, first.wear, first.age, first.level) == (later.anatomy, later.wear, later.age, later.level)
    assert np.array_equal(first.omics, later.omics)
    assert np.array_equal(first.table, later.table)
    assert first.outcome == later.outcome
    assert first.view != later.view
    for one, grown in zip(first.size, later.size, strict=True):
        factor = np.prod(grown.radius_mm) / np.prod(one.radius_mm)
        assert factor == pytest.approx(growth(first.doubling, 6.0) ** 3, rel=0.01)
    assert first.follow_up(0.0).mask.tobytes() == first.mask.tobytes()


def test_a_volume_doubles_in_its_doubling_time() -> None:
    assert growth(30.4375 * 4, 4.0) ** 3 == pytest.approx(2.0)
    assert growth(float("inf"), 60.0) == 1.0


def test_dividing_tumours_grow_and_benign_ones_hardly_do() -> None:
    def doubling(name: str) -> float:
        drawn = [run(GRAPH, (5, i), {"tumour": _type(name)}, ("doubling",))["doubling"] for i in range(60)]
        return float(np.median(drawn))

    assert doubling("high-grade astrocytoma") < 120 < 2500 < doubling("schwannoma")


def test_the_event_follows_the_hazard_and_not_an_irrelevant_gene() -> None:
    wanted = ("hazard", "outcome", "mutations")
    people: list[dict[str, Any]] = [run(GRAPH, (9, index), None, wanted) for index in range(600)]
    time, event = np.array([p["outcome"] for p in people]).T
    hazard = np.array([p["hazard"] for p in people])
    found = _concordance(hazard, time, event)
    print(f"concordance of the true hazard {found:.3f}, events {event.mean():.2f}")
    assert found > 0.65
    one_kind = [run(GRAPH, (8, index), {"tumour": _type("renal metastasis")}, wanted) for index in range(600)]
    time, event = np.array([p["outcome"] for p in one_kind]).T
    mutations = np.array([p["mutations"] for p in one_kind])
    assert _concordance(mutations[:, MUTATIONS.index("VHL")], time, event) == pytest.approx(0.5, abs=0.04)
    hazards = np.log([p["hazard"] for p in one_kind])
    relevant = mutations[:, [MUTATIONS.index(gene) for gene in ("TP53", "H3F3A", "TERT", "PTEN")]].sum(axis=1)
    assert pearsonr(relevant, hazards)[0] > 0.08
    assert pearsonr(mutations[:, MUTATIONS.index("VHL")], hazards)[1] > 0.01


def test_a_written_follow_up_is_read_back_with_its_months_and_mask(tmp_path: Path) -> None:
    (folder,) = write_consortium(tmp_path / "out", sites=1, patients=8, seed=1, shape=(3, 32, 32), follow_up=0.5)
    cohort = load_cohort(folder)
    assert cohort.rejected == ()
    seen = [patient for patient in cohort.patients if patient.follow_up]
    assert 0 < len(seen) < 8
    for patient in seen:
        (later,) = patient.follow_up
        assert 2.9 < later.months < 18
        assert set(later.volumes) == {"T1", "T1c", "T2", "STIR", "ADC"}
        assert later.mask is not None
        if patient.mask is not None:
            assert later.mask.voxels.shape == patient.mask.voxels.shape


def test_the_share_of_follow_ups_is_a_share(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        write_consortium(tmp_path / "out", sites=1, patients=1, follow_up=3.0)

"""Signals follow their equations, noise is what physics says, and a scanner changes the image only."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedspine.phantom import signal
from fedspine.phantom.genome import OMICS_COLUMNS
from fedspine.phantom.patient import draw, to_patient
from fedspine.phantom.public import public_patients
from fedspine.phantom.scanner import CONTRASTS, SCANNERS

ONE = np.array([1.0])


def test_a_spin_echo_recovers_with_t1_and_decays_with_t2() -> None:
    found = signal.spin_echo(np.array([0.8]), np.array([900.0]), np.array([80.0]), tr_ms=600.0, te_ms=12.0)
    assert found[0] == pytest.approx(0.8 * (1 - math.exp(-600 / 900)) * math.exp(-12 / 80))
    assert signal.spin_echo(ONE, np.array([900.0]), np.array([80.0]), tr_ms=1e9, te_ms=0.0)[0] == pytest.approx(1.0)


def test_inversion_recovery_is_silent_at_the_null_time_and_negative_before() -> None:
    null = signal.null_time_ms(290.0, 4000.0)

    def at(ti_ms: float) -> float:
        found = signal.inversion_recovery(
            ONE, np.array([290.0]), np.array([80.0]), tr_ms=4000.0, te_ms=0.0, ti_ms=ti_ms
        )
        return float(found[0])

    assert at(null) == pytest.approx(0.0, abs=1e-12)
    assert at(0.5 * null) < 0 < at(2 * null)


def test_contrast_agent_shortens_t1_by_its_relaxivity() -> None:
    t1, t2 = signal.enhanced(np.array([1000.0]), np.array([100.0]), np.array([1.0]))
    assert 1 / t1[0] == pytest.approx(1 / 1000 + signal.RELAXIVITY_T1 * 1e-3)
    assert 1 / t2[0] == pytest.approx(1 / 100 + signal.RELAXIVITY_T2 * 1e-3)


def test_diffusion_and_its_coefficient_are_inverse() -> None:
    adc = np.array([300.0, 1200.0, 3000.0])
    weighted = signal.diffusion_weighted(np.ones(3), adc, b_value=800.0)
    assert signal.diffusion_coefficient(np.ones(3), weighted, b_value=800.0) == pytest.approx(adc)


def test_noise_in_air_is_rayleigh() -> None:
    phantom = draw(np.random.default_rng(3), label="normal", shape=(4, 96, 96))
    image = phantom.scan(SCANNERS[0], np.random.default_rng(4), ("T2",))["T2"].voxels
    air = image[:, :, -4:].astype(float).ravel()  # behind the back
    assert air.mean() > 3, "counts must resolve the noise"
    assert air.mean() / air.std() == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.05)  # 1.913


def test_another_scanner_changes_the_image_and_nothing_else() -> None:
    phantom = draw(np.random.default_rng(1), label="malignant", shape=(4, 48, 48))
    first, other = (to_patient(phantom, "x", SCANNERS[i], np.random.default_rng(2)) for i in (0, 3))
    assert first.omics is not None
    assert other.omics is not None
    assert np.array_equal(first.omics, other.omics)
    assert (first.label, first.level, first.grade, first.time) == (other.label, other.level, other.grade, other.time)
    assert first.mask is not None
    assert other.mask is not None
    assert np.array_equal(first.mask.voxels, other.mask.voxels)
    for contrast in CONTRASTS:
        one, two = first.volumes[contrast], other.volumes[contrast]
        assert not np.array_equal(one.voxels, two.voxels)
        assert np.array_equal(one.affine, two.affine)
        assert one.scanner.vendor != two.scanner.vendor


def test_the_genome_causes_the_markers() -> None:
    patients = public_patients(150, 0, contrasts=(), shape=(2, 16, 16))
    rows = {label: np.array([p.omics for p in patients if p.label == label]) for label in ("normal", "malignant")}
    proliferation = OMICS_COLUMNS.index("MKI67")
    assert rows["malignant"][:, proliferation].mean() > rows["normal"][:, proliferation].mean() + 0.5


def test_the_same_seed_gives_the_same_voxels_whatever_else_is_asked_for() -> None:
    few = public_patients(2, 5, contrasts=("T1", "T2"), shape=(2, 32, 32))
    many = public_patients(4, 5, contrasts=("T1", "T2"), shape=(2, 32, 32))
    for one, two in zip(few, many, strict=False):
        assert np.array_equal(one.volumes["T2"].voxels, two.volumes["T2"].voxels)
    assert not np.array_equal(few[0].volumes["T2"].voxels, few[1].volumes["T2"].voxels)
    assert set(public_patients(1, 0, contrasts=("T1", "unknown"), shape=(2, 32, 32))[0].volumes) == {"T1"}


def test_a_contrast_has_its_own_noise_and_a_rescan_another() -> None:
    phantom = draw(np.random.default_rng(6), label="benign", shape=(3, 32, 32))
    alone, among = phantom.scan(SCANNERS[0], contrasts=("T2",)), phantom.scan(SCANNERS[0])
    assert np.array_equal(alone["T2"].voxels, among["T2"].voxels)
    again = phantom.scan(SCANNERS[0], np.random.default_rng(1), ("T2",))
    assert not np.array_equal(alone["T2"].voxels, again["T2"].voxels)

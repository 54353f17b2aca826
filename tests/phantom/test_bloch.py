"""The signal equations agree with the Bloch equations where they claim to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedspine.phantom import signal

from . import bloch

TISSUES = [(343.0, 68.0), (745.0, 74.0), (1008.0, 44.0), (4000.0, 1500.0)]
"""(T1, T2) of fat, cord, muscle and fluid at 1.5 T, in ms."""


def _one(value: float) -> np.ndarray:
    return np.array([value])


@pytest.mark.parametrize(("t1_ms", "t2_ms"), TISSUES)
@pytest.mark.parametrize("tr_ms", [450.0, 700.0, 2500.0])
def test_a_spin_echo_is_what_bloch_gives(t1_ms: float, t2_ms: float, tr_ms: float) -> None:
    te_ms = 10.0
    (exact,) = bloch.echo_train(t1_ms, t2_ms, tr_ms=tr_ms, spacing_ms=te_ms, echoes=1)
    # the refocusing pulse inverts what has recovered until then: what the equation leaves out
    recovery = 1 - 2 * math.exp(-(tr_ms - te_ms / 2) / t1_ms) + math.exp(-tr_ms / t1_ms)
    assert exact == pytest.approx(recovery * math.exp(-te_ms / t2_ms), rel=1e-9)
    found = signal.spin_echo(_one(1.0), _one(t1_ms), _one(t2_ms), tr_ms=tr_ms, te_ms=te_ms)[0]
    assert found == pytest.approx(exact, rel=1.3 * te_ms / tr_ms)


@pytest.mark.parametrize(("t1_ms", "t2_ms"), TISSUES)
def test_a_turbo_spin_echo_is_the_echo_of_its_train_at_the_effective_time(t1_ms: float, t2_ms: float) -> None:
    spacing_ms, echoes, tr_ms = 10.0, 16, 4000.0
    train = bloch.echo_train(t1_ms, t2_ms, tr_ms=tr_ms, spacing_ms=spacing_ms, echoes=echoes)
    for echo in (4, 9, 12):
        found = signal.turbo_spin_echo(
            _one(1.0), _one(t1_ms), _one(t2_ms), tr_ms=tr_ms, te_ms=echo * spacing_ms, train_ms=echoes * spacing_ms
        )
        assert found[0] == pytest.approx(train[echo - 1], rel=0.02)


@pytest.mark.parametrize(("t1_ms", "t2_ms"), TISSUES)
@pytest.mark.parametrize("ti_ms", [100.0, 150.0, 220.0, 2400.0])
def test_an_inversion_recovery_is_what_bloch_gives(t1_ms: float, t2_ms: float, ti_ms: float) -> None:
    exact = bloch.inversion_recovery(t1_ms, t2_ms, tr_ms=6000.0, te_ms=10.0, ti_ms=ti_ms)
    found = signal.inversion_recovery(_one(1.0), _one(t1_ms), _one(t2_ms), tr_ms=6000.0, te_ms=10.0, ti_ms=ti_ms)[0]
    assert found == pytest.approx(exact, abs=0.01)


def test_fat_is_silent_at_its_null_time_in_both() -> None:
    null = signal.null_time_ms(343.0, 6000.0)
    assert abs(bloch.inversion_recovery(343.0, 68.0, tr_ms=6000.0, te_ms=10.0, ti_ms=null)) < 1e-3


def test_without_refocusing_the_oracles_voxel_would_have_no_signal() -> None:
    spins = bloch.wait(bloch.pulse(bloch.at_rest(), 90.0, "x"), 25.0, 1000.0, 80.0)
    assert abs(-spins[:, 1].mean()) < 0.02


def test_a_train_of_echoes_keeps_fat_bright() -> None:
    def echo(fat: float) -> float:
        found = signal.turbo_spin_echo(
            _one(1.0), _one(343.0), _one(68.0), tr_ms=3500.0, te_ms=100.0, train_ms=180.0, fat=_one(fat)
        )
        return float(found[0])

    assert 1.5 < echo(0.9) / echo(0.0) < 2.5

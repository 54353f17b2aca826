"""An oracle: the Bloch equations for hard pulses, stepped exactly, without any signal equation.

A magnetisation is (x, y, z) per isochromat. Between pulses it turns by its off-resonance and relaxes; pulses turn it at
once; a spoiler removes what is transverse.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Spins = NDArray[np.float64]
"""(isochromat, 3)."""

OFF_RESONANCE_HZ = np.linspace(-40.0, 40.0, 81)
"""Of the isochromats within a voxel: without refocusing they would cancel within some tens of ms."""


def at_rest() -> Spins:
    """Return every isochromat in equilibrium."""
    return np.tile([0.0, 0.0, 1.0], (len(OFF_RESONANCE_HZ), 1))


def pulse(spins: Spins, degrees: float, axis: str) -> Spins:
    """Turn about the x or the y axis."""
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    turn = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis]
    turned: Spins = spins @ np.array(turn, dtype=np.float64).T
    return turned


def wait(spins: Spins, ms: float, t1_ms: float, t2_ms: float) -> Spins:
    """Precess and relax for a while."""
    phase = 2.0 * np.pi * OFF_RESONANCE_HZ * ms / 1000.0
    x = spins[:, 0] * np.cos(phase) - spins[:, 1] * np.sin(phase)
    y = spins[:, 0] * np.sin(phase) + spins[:, 1] * np.cos(phase)
    decay, kept = math.exp(-ms / t2_ms), math.exp(-ms / t1_ms)
    return np.stack([x * decay, y * decay, 1.0 + (spins[:, 2] - 1.0) * kept], axis=1)


def spoiled(spins: Spins) -> Spins:
    """Remove what is transverse."""
    return np.asarray(spins * np.array([0.0, 0.0, 1.0]), dtype=np.float64)


def _signal(spins: Spins) -> float:
    """Return the received signal, along the axis on which the first pulse puts it."""
    return float(-spins[:, 1].mean())


def echo_train(t1_ms: float, t2_ms: float, *, tr_ms: float, spacing_ms: float, echoes: int) -> list[float]:
    """Return the echoes of 90(x) - [180(y)] repeated, in the steady state; one echo is a spin echo."""
    spins = at_rest()
    found: list[float] = []
    for _ in range(40):
        found = []
        spins = pulse(spins, 90.0, "x")
        for _ in range(echoes):
            spins = pulse(wait(spins, spacing_ms / 2, t1_ms, t2_ms), 180.0, "y")
            spins = wait(spins, spacing_ms / 2, t1_ms, t2_ms)
            found.append(_signal(spins))
        spins = wait(spoiled(spins), tr_ms - echoes * spacing_ms, t1_ms, t2_ms)
    return found


def inversion_recovery(t1_ms: float, t2_ms: float, *, tr_ms: float, te_ms: float, ti_ms: float) -> float:
    """Return the spin echo after an inversion, in the steady state; the repetition time runs between inversions."""
    spins, found = at_rest(), 0.0
    for _ in range(40):
        spins = spoiled(pulse(spins, 180.0, "x"))
        spins = pulse(wait(spins, ti_ms, t1_ms, t2_ms), 90.0, "x")
        spins = pulse(wait(spins, te_ms / 2, t1_ms, t2_ms), 180.0, "y")
        spins = wait(spins, te_ms / 2, t1_ms, t2_ms)
        found = _signal(spins)
        spins = wait(spoiled(spins), tr_ms - ti_ms - te_ms, t1_ms, t2_ms)
    return found

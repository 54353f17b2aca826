"""The signal equation of each sequence, per tissue, in units of the proton density of water.

Times in milliseconds, b-values in s/mm², diffusion coefficients in 1e-6 mm²/s. A value may be negative (inversion
recovery): the magnitude is taken after voxels have been averaged, as a scanner does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RELAXIVITY_T1 = 4.5
"""Longitudinal relaxivity of a gadolinium agent, l/(mmol s); typical literature range 4 to 5."""
RELAXIVITY_T2 = 5.5
"""Transverse relaxivity, l/(mmol s); typical literature range 5 to 6."""


def spin_echo(proton_density: Values, t1_ms: Values, t2_ms: Values, *, tr_ms: float, te_ms: float) -> Values:
    """Return PD (1 - exp(-TR/T1)) exp(-TE/T2), for an echo time much shorter than the repetition time."""
    return proton_density * -np.expm1(-tr_ms / t1_ms) * np.exp(-te_ms / t2_ms)


FAT_IN_TRAINS = 0.8
"""By how much a train of echoes lengthens the T2 of pure fat."""


def turbo_spin_echo(
    proton_density: Values,
    t1_ms: Values,
    t2_ms: Values,
    *,
    tr_ms: float,
    te_ms: float,
    train_ms: float,
    fat: Values | float = 0.0,
) -> Values:
    """Return the spin echo signal at the effective echo time; T1 recovers only after the echo train of `train_ms`.

    Rapid refocusing undoes the J-coupling of fat, whose T2 is then longer: fat is bright (Henkelman et al. 1992, J Magn
    Reson Imaging 2:533; T2 of fat and marrow of up to 143 and 160 ms by echo train: Pai et al. 2008, Magn Reson Imaging
    26:1215). `fat` is its share.
    """
    t2_ms = t2_ms * (1.0 + FAT_IN_TRAINS * np.asarray(fat))
    return spin_echo(proton_density, t1_ms, t2_ms, tr_ms=tr_ms - train_ms, te_ms=te_ms)


def inversion_recovery(
    proton_density: Values, t1_ms: Values, t2_ms: Values, *, tr_ms: float, te_ms: float, ti_ms: float
) -> Values:
    """Return PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2), signed: zero at the null time, negative before it."""
    recovery = 1.0 - 2.0 * np.exp(-ti_ms / t1_ms) + np.exp(-tr_ms / t1_ms)
    return np.asarray(proton_density * recovery * np.exp(-te_ms / t2_ms))


def null_time_ms(t1_ms: float, tr_ms: float) -> float:
    """Return the inversion time at which a tissue gives no signal.

    >>> round(null_time_ms(343.0, 1e9) / 343.0, 4)
    0.6931
    """
    return float(t1_ms * np.log(2.0 / (1.0 + np.exp(-tr_ms / t1_ms))))


def enhanced(t1_ms: Values, t2_ms: Values, agent_mm: Values) -> tuple[Values, Values]:
    """Return T1 and T2 shortened by `agent_mm` mmol/l of contrast agent: 1/T = 1/T0 + r C."""
    shorter_t1 = 1.0 / (1.0 / t1_ms + RELAXIVITY_T1 * 1e-3 * agent_mm)
    shorter_t2 = 1.0 / (1.0 / t2_ms + RELAXIVITY_T2 * 1e-3 * agent_mm)
    return shorter_t1, shorter_t2


def diffusion_weighted(signal: Values, adc: Values, *, b_value: float) -> Values:
    """Return S exp(-b ADC)."""
    return np.asarray(signal * np.exp(-b_value * adc * 1e-6))


def diffusion_coefficient(without: Values, weighted: Values, *, b_value: float) -> Values:
    """Return ln(S0/Sb)/b in 1e-6 mm²/s; both magnitudes must be positive."""
    return np.asarray(np.log(without / weighted) / b_value * 1e6)

"""What a pulse sequence shows most: T1, T2 or proton density, from its signal equation.

The question is asked of a reference tissue, the spinal cord: how much does the signal change when its T1 doubles, and
how much when its T2 does? (Change: the logarithm of the signal's ratio, divided by ln 2, so that 1 means the signal
doubles or halves.) The cord's times are those of Stanisz et al. 2005, Magn Reson Med 54:507, T1 745 ms and T2 74 ms at
1.5 T, 993 and 78 ms at 3 T; the mean of both serves for every field, for the answer hardly depends on it. T2* is taken
as half of T2, which is typical and no measurement of ours.

Signals (Bernstein, King, Zhou, Handbook of MRI Pulse Sequences, 2004, 14.1 and 16.4; Haase et al. 1986, J Magn Reson
67:258), with E1 = exp(-TR/T1):

- spin echo after 90 degrees: (1 - E1) exp(-TE/T2);
- spoiled gradient echo of flip angle a: sin a (1 - E1) / (1 - E1 cos a) exp(-TE/T2*).
"""

from __future__ import annotations

import math

T1_MS, T2_MS, T2_STAR_MS = 870.0, 76.0, 38.0
# a doubled T1 that changes the signal by less than this share of a doubling is not what the image shows
SHOWS_T1 = 0.3
# tissues differ more in T2 than in T1, and an echo of 30 ms is still called proton density
SHOWS_T2 = 0.6
# where both show, one must show this much more
MORE = 1.25
# nobody waits this long between excitations this small: the time is the one between preparations
PREPARED_REPETITION_MS, PREPARED_FLIP_DEG = 1000.0, 20.0
# an excitation this small, or repeated this fast, makes no spin echo
SPIN_ECHO_FLIP_DEG, SPIN_ECHO_REPETITION_MS = 60.0, 50.0


def spin_echo(echo_ms: float, repetition_ms: float, *, t1_ms: float = T1_MS, t2_ms: float = T2_MS) -> float:
    """Return the signal of a spin echo, 1 for proton density alone."""
    return -math.expm1(-repetition_ms / t1_ms) * math.exp(-echo_ms / t2_ms)


def gradient_echo(
    echo_ms: float, repetition_ms: float, flip_deg: float, *, t1_ms: float = T1_MS, t2_star_ms: float = T2_STAR_MS
) -> float:
    """Return the signal of a spoiled gradient echo in its steady state, 1 for proton density alone."""
    left, angle = math.exp(-repetition_ms / t1_ms), math.radians(flip_deg)
    return math.sin(angle) * (1 - left) / (1 - left * math.cos(angle)) * math.exp(-echo_ms / t2_star_ms)


def shown_by_spin_echo(echo_ms: float, repetition_ms: float) -> str | None:
    """Return `T1`, `T2` or `density`; `None` where T1 and T2 show about equally.

    >>> shown_by_spin_echo(10, 550), shown_by_spin_echo(100, 4000), shown_by_spin_echo(12, 3000)
    ('T1', 'T2', 'density')
    """
    t1 = _change(
        spin_echo(echo_ms, repetition_ms, t1_ms=T1_MS / 2**0.5), spin_echo(echo_ms, repetition_ms, t1_ms=T1_MS * 2**0.5)
    )
    t2 = _change(
        spin_echo(echo_ms, repetition_ms, t2_ms=T2_MS / 2**0.5), spin_echo(echo_ms, repetition_ms, t2_ms=T2_MS * 2**0.5)
    )
    return _more(t1, t2)


def shown_by_gradient_echo(echo_ms: float, repetition_ms: float, flip_deg: float) -> str | None:
    """Return `T1`, `T2` (that is T2*) or `density`; `None` where T1 and T2* show about equally.

    >>> shown_by_gradient_echo(3, 15, 15), shown_by_gradient_echo(3, 35, 9)
    ('T1', 'density')
    """
    t1 = _change(
        gradient_echo(echo_ms, repetition_ms, flip_deg, t1_ms=T1_MS / 2**0.5),
        gradient_echo(echo_ms, repetition_ms, flip_deg, t1_ms=T1_MS * 2**0.5),
    )
    t2 = _change(
        gradient_echo(echo_ms, repetition_ms, flip_deg, t2_star_ms=T2_STAR_MS / 2**0.5),
        gradient_echo(echo_ms, repetition_ms, flip_deg, t2_star_ms=T2_STAR_MS * 2**0.5),
    )
    return _more(t1, t2)


def is_prepared(repetition_ms: float | None, flip_deg: float | None) -> bool:
    """Tell whether a gradient echo's repetition time must be the one from preparation to preparation (MPRAGE).

    >>> is_prepared(2000, 9), is_prepared(600, 30)
    (True, False)
    """
    if not repetition_ms or not flip_deg:
        return False
    return repetition_ms >= PREPARED_REPETITION_MS and flip_deg <= PREPARED_FLIP_DEG


def makes_spin_echo(repetition_ms: float | None, flip_deg: float | None) -> bool:
    """Tell whether a sequence that does not name itself can be a spin echo."""
    small = flip_deg is not None and 0 < flip_deg < SPIN_ECHO_FLIP_DEG
    fast = repetition_ms is not None and 0 < repetition_ms < SPIN_ECHO_REPETITION_MS
    return not small and not fast


def _change(first: float, second: float) -> float:
    """Return by how many doublings two signals differ; none where there is no signal left to compare."""
    return abs(math.log2(first / second)) if first > 0 and second > 0 else 0.0


def _more(t1: float, t2: float) -> str | None:
    """Return which of the two changes is what the image shows."""
    shows_t1, shows_t2 = t1 >= SHOWS_T1, t2 >= SHOWS_T2
    if not shows_t1 and not shows_t2:
        return "density"
    if shows_t1 and shows_t2:
        return "T1" if t1 > MORE * t2 else "T2" if t2 > MORE * t1 else None
    return "T1" if shows_t1 else "T2"

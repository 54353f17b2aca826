"""What a sequence shows most, by its signal equation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.cohort.contrast import SeriesHeader, identify
from fedspine.cohort.weighting import T1_MS, gradient_echo, shown_by_gradient_echo, shown_by_spin_echo, spin_echo


def test_the_gradient_echo_is_brightest_at_the_ernst_angle() -> None:
    ernst_deg = math.degrees(math.acos(math.exp(-15 / T1_MS)))
    best = gradient_echo(3, 15, ernst_deg)
    assert best > gradient_echo(3, 15, ernst_deg - 1)
    assert best > gradient_echo(3, 15, ernst_deg + 1)


def test_a_gradient_echo_of_ninety_degrees_decays_as_a_spin_echo_recovers() -> None:
    assert gradient_echo(0, 500, 90) == pytest.approx(spin_echo(0, 500))


@pytest.mark.parametrize(
    ("echo_ms", "repetition_ms", "shown"),
    [
        (8, 450, "T1"),
        (12, 700, "T1"),
        (20, 400, "T1"),  # 0.2 tesla
        (10, 1300, "T1"),
        (120, 1500, "T2"),  # SPACE
        (60, 3000, "T2"),
        (100, 6000, "T2"),
        (12, 3000, "density"),
        (30, 2500, "density"),
        (50, 800, None),
    ],
)
def test_spin_echoes_of_the_clinic_show_what_they_are_called(
    echo_ms: float, repetition_ms: float, shown: str | None
) -> None:
    assert shown_by_spin_echo(echo_ms, repetition_ms) == shown


@pytest.mark.parametrize(
    ("echo_ms", "repetition_ms", "flip_deg", "shown"),
    [
        (1.5, 4, 12, "T1"),  # VIBE, LAVA
        (4, 150, 70, "T1"),
        (3.1, 15, 15, "T1"),
        (3.1, 35, 9, "density"),
        (14, 600, 30, "density"),
        (30, 600, 20, "T2"),
    ],
)
def test_gradient_echoes_show_t1_only_beyond_the_ernst_angle(
    echo_ms: float, repetition_ms: float, flip_deg: float, shown: str
) -> None:
    assert shown_by_gradient_echo(echo_ms, repetition_ms, flip_deg) == shown


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6), st.floats(1e-3, 180))
def test_any_times_have_an_answer(echo_ms: float, repetition_ms: float, flip_deg: float) -> None:
    answers = {"T1", "T2", "density", None}
    assert shown_by_spin_echo(echo_ms, repetition_ms) in answers
    assert shown_by_gradient_echo(echo_ms, repetition_ms, flip_deg) in answers


@pytest.mark.parametrize(
    ("header", "contrast"),
    [
        (SeriesHeader(scanning_sequence=("GR",), echo_time_ms=3, repetition_time_ms=35, flip_angle_deg=9), "other"),
        (SeriesHeader(scanning_sequence=("GR",), echo_time_ms=3, repetition_time_ms=15, flip_angle_deg=15), "T1"),
        (SeriesHeader(scanning_sequence=("GR",), echo_time_ms=4, repetition_time_ms=2000, flip_angle_deg=8), "T1"),
        (SeriesHeader(scanning_sequence=("SE",), echo_time_ms=50, repetition_time_ms=800, description="T2"), "T2"),
        (SeriesHeader(scanning_sequence=("SE",), echo_time_ms=50, repetition_time_ms=800), "other"),
        (SeriesHeader(echo_time_ms=90, repetition_time_ms=6000, inversion_time_ms=1300), "FLAIR"),
        (SeriesHeader(echo_time_ms=90, repetition_time_ms=4000, inversion_time_ms=110, description="SPAIR"), "T2"),
    ],
)
def test_physics_decides_where_it_can_and_words_where_it_cannot(header: SeriesHeader, contrast: str) -> None:
    assert identify(header) == contrast

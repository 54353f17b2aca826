"""Which contrast a series shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.cohort.contrast import SeriesHeader, identify
from fedspine.cohort.patient import CONTRASTS


def spin(echo_ms: float, repetition_ms: float, **other: Any) -> SeriesHeader:
    return SeriesHeader(echo_time_ms=echo_ms, repetition_time_ms=repetition_ms, scanning_sequence=("SE",), **other)


def gradient(echo_ms: float, **other: Any) -> SeriesHeader:
    return SeriesHeader(echo_time_ms=echo_ms, repetition_time_ms=20.0, scanning_sequence=("GR",), **other)


@pytest.mark.parametrize(
    ("header", "contrast"),
    [
        (spin(10, 550), "T1"),
        (spin(10, 550, contrast_agent="Gadovist"), "T1c"),
        (spin(10, 550, contrast_agent="NONE"), "T1"),
        (spin(100, 4000), "T2"),
        (spin(100, 4000, contrast_agent="Gadovist"), "T2"),
        (spin(120, 1500), "T2"),
        (spin(12, 3000), "other"),
        (spin(50, 4000, inversion_time_ms=160), "STIR"),
        (spin(50, 4000, inversion_time_ms=220, description="T2 TIRM"), "STIR"),
        (spin(120, 9000, inversion_time_ms=2500), "FLAIR"),
        (spin(20, 2000, inversion_time_ms=860), "T1"),
        (spin(50, 4000, description="SAG STIR"), "STIR"),
        (spin(90, 9000, description="AX T2 FLAIR"), "FLAIR"),
        (spin(20, 2000, description="SAG T1 FLAIR"), "T1"),
        (gradient(2.5, inversion_time_ms=900), "T1"),
        (gradient(3.1, inversion_time_ms=20), "T1"),
        (gradient(14), "other"),
        (gradient(2.1, description="AX T2* multi-echo"), "other"),
        (gradient(2.1, description="ax_merge"), "other"),
        (gradient(2.5, description="CISS"), "other"),
        (SeriesHeader(b_value=800.0), "DWI"),
        (SeriesHeader(image_type=("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW")), "DWI"),
        (SeriesHeader(b_value=0.0, description="ep2d_diff"), "other"),
        (SeriesHeader(image_type=("DERIVED", "PRIMARY", "ADC"), echo_time_ms=70, repetition_time_ms=4000), "ADC"),
        (SeriesHeader(image_type=("DERIVED", "SECONDARY"), description="Apparent Diffusion Coefficient"), "ADC"),
        (SeriesHeader(image_type=("DERIVED", "SECONDARY"), description="eADC"), "other"),
        (SeriesHeader(image_type=("DERIVED", "PRIMARY"), description="DTI_FA"), "other"),
        (SeriesHeader(scanning_sequence=("EP", "GR"), echo_time_ms=30, repetition_time_ms=2000), "other"),
        (spin(10, 550, image_type=("ORIGINAL", "PRIMARY", "P")), "other"),
        (spin(10, 550, image_type=("DERIVED", "PRIMARY", "M", "FAT")), "other"),
        (spin(10, 550, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "other"),
        (spin(90, 3500, image_type=("DERIVED", "PRIMARY", "DIXON", "WATER")), "T2"),
        (spin(90, 3500, image_type=("DERIVED", "PRIMARY", "DIXON", "IN_PHASE")), "T2"),
        (spin(90, 3500, image_type=("DERIVED", "PRIMARY", "DIXON", "OPP_PHASE")), "other"),
        (spin(90, 3500, description="OutPhase: Sag T2 Flex"), "other"),
        (spin(90, 3500, description="FAT: Sag T2 Flex"), "other"),
        (spin(90, 3500, description="t2_tse_dixon_sag_F"), "other"),
        (spin(90, 3500, description="t2_tse_dixon_sag_W"), "T2"),
        (spin(90, 3500, description="SAG T2 FAT SAT"), "T2"),
        (spin(80, 1500, description="3-plane loc"), "other"),
        (SeriesHeader(acquisition_contrast="FLUID_ATTENUATED", description="T2 series"), "FLAIR"),
        (SeriesHeader(acquisition_contrast="T2_STAR"), "other"),
        (SeriesHeader(acquisition_contrast="UNKNOWN", description="SAG T2"), "T2"),
        (gradient(1.5, image_type=("ORIGINAL", "PRIMARY", "B0 MAP", "B0", "UNSPECIFIED")), "other"),
        (SeriesHeader(modality="CT"), "CT"),
        (SeriesHeader(modality="CT", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "other"),
        (SeriesHeader(), "other"),
    ],
)
def test_acquisition_parameters_tell_the_contrast(header: SeriesHeader, contrast: str) -> None:
    assert identify(header) == contrast


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("SAG T1", "T1"),
        ("SAG T1 +C", "T1c"),
        ("SAG T1 FS + C", "T1c"),
        ("t1_tse_sag", "T1"),
        ("t1_tse_sag_KM", "T1c"),
        ("T1 post Gd", "T1c"),
        ("SAG T1 GAD", "T1c"),
        ("T1 CE", "T1c"),
        ("T1 PRE CONTRAST", "T1"),
        ("T1 without contrast", "T1"),
        ("SAG T1 (enhanced conversion)", "T1"),
        ("SAG T2", "T2"),
        ("t2_tse_sag_p2", "T2"),
        ("SAG T2 POST", "T2"),
        ("SAG STIR", "STIR"),
        ("t2_tirm_sag", "STIR"),
        ("t2_tirm_dark-fluid", "FLAIR"),
        ("AX T2 FLAIR", "FLAIR"),
        ("SAG ADC", "ADC"),
        ("SAG DWI b800", "DWI"),
        ("AX PD", "other"),
        ("AX T2*", "other"),
        ("subtitle", "other"),
        ("", "other"),
    ],
)
def test_free_text_serves_where_parameters_are_missing(description: str, contrast: str) -> None:
    assert identify(SeriesHeader(description=description)) == contrast


def test_parameters_are_believed_before_text() -> None:
    assert identify(spin(100, 4000, description="SAG T1")) == "T2"


def test_the_word_pre_is_believed_before_an_agent_in_the_header() -> None:
    assert identify(spin(10, 550, description="SAG T1 PRE", contrast_agent="Gadovist")) == "T1"


def test_the_protocol_serves_where_the_description_says_nothing() -> None:
    assert identify(SeriesHeader(description="series 4", protocol="SAG T2")) == "T2"


@given(
    st.builds(
        SeriesHeader,
        modality=st.sampled_from(["MR", "CT"]),
        description=st.text(max_size=20),
        scanning_sequence=st.lists(st.sampled_from(["SE", "GR", "IR", "EP", "RM"]), max_size=3).map(tuple),
        echo_time_ms=st.none() | st.floats(),
        repetition_time_ms=st.none() | st.floats(),
        inversion_time_ms=st.none() | st.floats(),
        b_value=st.none() | st.floats(),
    )
)
def test_every_header_has_one_of_the_contrasts(header: SeriesHeader) -> None:
    assert identify(header) in CONTRASTS

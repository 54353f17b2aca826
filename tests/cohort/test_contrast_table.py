"""Contrasts told on labelled headers of real scanners: the confusion table, and the words that survive cleaning."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.cohort.contrast import SeriesHeader, identify
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.dicom.header import header_of
from fedspine.cohort.dicom.series import series_header
from fedspine.cohort.words import SPELLINGS, clean_words, spelled, words_in

DATA = Path(__file__).parents[1] / "data"

MEANT = {
    "T1w": "T1",
    "T2w": "T2",
    "T2star": "other",
    "flip-1_mt-off_MTS": "other",
    "flip-1_mt-on_MTS": "other",
    "flip-2_mt-off_MTS": "T1",
    "dwi": "DWI",
    "acq-b0_dwi": "other",
    "rec-average_dwi": "DWI",
    "run-01_dwi": "DWI",
    "run-02_dwi": "DWI",
    "run-03_dwi": "DWI",
}
"""What is right for each name in the table.

The three MTS images are those of a magnetisation-transfer saturation protocol (Helms et al. 2008, Magn Reson Med
60:1396): two of proton-density weighting (flip 9 degrees, one with a saturation pulse) and one of T1 weighting (flip 15
degrees every 15 ms). Proton density is no contrast of ours, hence `other`. So are T2* and a b = 0 image on its own.
"""


def ms(cell: str) -> float | None:
    """Return the first time of a cell of seconds in milliseconds."""
    return float(cell.split(",")[0]) * 1000 if cell else None


def rows() -> list[tuple[str, str, SeriesHeader]]:
    """Return (name, vendor, header without any text) of every row of the table."""
    with (DATA / "spine_generic_params.csv").open(newline="") as file:
        return [
            (
                row["contrast"],
                row["Manufacturer"],
                SeriesHeader(
                    echo_time_ms=ms(row["EchoTime"]),
                    repetition_time_ms=ms(row["RepetitionTime"]),
                    inversion_time_ms=ms(row["InversionTime"]),
                    flip_angle_deg=float(row["FlipAngle"]) if row["FlipAngle"] else None,
                ),
            )
            for row in csv.DictReader(file)
        ]


def right(name: str, header: SeriesHeader) -> str:
    """Return what is right for a row; four sites of the T1 image repeat it every 103 ms, which shows proton density."""
    slow = name == "flip-2_mt-off_MTS" and (header.repetition_time_ms or 0) > 100
    return "other" if slow else MEANT[name]


def test_parameters_alone_tell_every_row_that_is_no_diffusion() -> None:
    table = rows()
    timed = [(name, header) for name, _, header in table if header.echo_time_ms and header.repetition_time_ms]
    decided = [(name, header) for name, header in timed if not name.endswith("dwi")]
    assert (len(table), len(timed), len(decided)) == (2131, 1868, 1573)
    assert [name for name, header in decided if identify(header) != right(name, header)] == []
    # the table has neither b-value nor kind of sequence: 295 spin-echo EPI rows look like what their b = 0 image is, or
    # like an even mixture; DICOM headers say EP and b
    rest = Counter(identify(header) for name, header in timed if name.endswith("dwi"))
    assert rest == {"T2": 171, "other": 124}


def test_parameters_and_the_name_tell_every_row() -> None:
    table = rows()
    wrong = [name for name, _, one in table if identify(replace(one, description=name)) != right(name, one)]
    assert wrong == []
    found = Counter((name, identify(replace(one, description=name))) for name, _, one in table)
    assert found["T1w", "T1"] == found["T2w", "T2"] == found["T2star", "other"] == 267
    assert (found["dwi", "DWI"], found["rec-average_dwi", "DWI"], found["acq-b0_dwi", "other"]) == (264, 263, 22)
    assert (found["flip-2_mt-off_MTS", "T1"], found["flip-2_mt-off_MTS", "other"]) == (250, 4)


VENDORS = (
    ("canon_galan_dti_b0", "other"),
    ("ge_mr750_epi", "other"),
    ("philips_achieva_b0", "other"),
    ("philips_achieva_b2000", "DWI"),
    ("siemens_vida_enhanced", "other"),
    ("toshiba_galan_dti", "DWI"),
    ("uih_umr770_t1", "T1"),
)
"""Files of one series each; those of an older Philips are in `test_diffusion`."""

SKYRA_MPRAGE = SeriesHeader(
    description="SAG MPRAGE 220 FOV",
    sequence="*tfl3d1_16ns",
    scanning_sequence=("GR", "IR"),
    variant=("SK", "SP", "MP"),
    image_type=("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
    echo_time_ms=2.52,
    repetition_time_ms=2000,
    inversion_time_ms=900,
    flip_angle_deg=9,
)
SIGNA_ADC = SeriesHeader(
    description="Apparent Diffusion Coefficient (mm?/s)",
    protocol="PRO DCE W_T1 MAPPING AN/",
    scanning_sequence=("EP", "SE"),
    image_type=("DERIVED", "SECONDARY", "PROCESSED"),
    echo_time_ms=65.4,
    repetition_time_ms=2500,
    inversion_time_ms=0,
    flip_angle_deg=90,
)


@pytest.mark.parametrize(("name", "contrast"), VENDORS)
def test_the_contrast_of_each_vendors_file_is_right(name: str, contrast: str) -> None:
    header = header_of(
        pydicom.dcmread(DATA / "vendor_dicom" / f"{name}.dcm", stop_before_pixels=True), Key(bytes(32))
    ).header
    assert {identify(series_header(header, frame)) for frame in header.frames} == {contrast}


def test_the_contrast_of_a_siemens_mprage_and_a_ge_adc_map_is_right() -> None:
    assert (identify(SKYRA_MPRAGE), identify(SIGNA_ADC)) == ("T1", "ADC")


def cleaned(header: SeriesHeader) -> SeriesHeader:
    return replace(
        header,
        description=clean_words(header.description),
        protocol=clean_words(header.protocol),
        sequence=clean_words(header.sequence),
    )


def test_cleaning_changes_no_contrast_of_a_real_header() -> None:
    headers = [replace(one, description=name) for name, _, one in rows()] + [SKYRA_MPRAGE, SIGNA_ADC]
    for name, _ in VENDORS:
        file = header_of(
            pydicom.dcmread(DATA / "vendor_dicom" / f"{name}.dcm", stop_before_pixels=True), Key(bytes(32))
        ).header
        headers.append(series_header(file, file.frames[0]))
    assert [one for one in headers if identify(one) != identify(cleaned(one))] == []


PIECES = [
    "T1",
    "t2",
    "FLAIR",
    "_",
    " ",
    "-",
    "+C",
    "KM",
    "nach",
    "ohne ",
    "pre",
    "stir",
    "dwi",
    "b0",
    "b1000",
    "*",
    ".",
]
PIECES += [
    "Müller",
    "1970",
    "sin ",
    "contraste",
    "exp",
    "adc",
    "proton",
    "loc",
    "medic",
    "post",
    "op",
    "/",
    "c",
    "造影",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=12),
    st.sampled_from([("ORIGINAL",), ("DERIVED", "PRIMARY")]),
    st.sampled_from([(None, None), (10.0, 550.0), (100.0, 4000.0)]),
)
def test_cleaning_changes_no_contrast_of_any_text(
    description: str, protocol: str, image_type: tuple[str, ...], times: tuple[float | None, float | None]
) -> None:
    header = SeriesHeader(
        description=description,
        protocol=protocol,
        image_type=image_type,
        echo_time_ms=times[0],
        repetition_time_ms=times[1],
    )
    assert identify(cleaned(header)) == identify(header)
    assert clean_words(clean_words(description)) == clean_words(description)


@given(st.text())
def test_nothing_but_known_words_survives_cleaning(text: str) -> None:
    known = {word for word, _ in SPELLINGS}
    assert set(filter(None, clean_words(text).split(", "))) <= known


@given(st.sets(st.sampled_from([word for word, _ in SPELLINGS])))
def test_the_words_that_survive_are_read_back_as_themselves(words: set[str]) -> None:
    once = words_in(spelled(words))
    assert words_in(spelled(once)) == once


@pytest.mark.parametrize(
    ("text", "contrast"),
    [
        ("T1 nach KM", "T1c"),
        ("T1 vor KM", "T1"),
        ("t1_tse_sag ohne Kontrastmittel", "T1"),
        ("T1 nativ", "T1"),
        ("T1 con contraste", "T1c"),
        ("T1 sin contraste", "T1"),
        ("T1 SAG C/ CONTRASTE", "T1c"),
        ("T1 sem contraste", "T1"),
        ("T1 pós-contraste", "T1c"),
        ("T1 après injection", "T1c"),
        ("T1 sans injection", "T1"),
        ("T1 avant gado", "T1"),
        ("T1 con mdc", "T1c"),
        ("T1 senza mezzo di contrasto", "T1"),
        ("T1 prima di mdc", "T1"),
        ("T1 met contrast", "T1c"),
        ("T1 zonder contrast", "T1"),
        ("T1 na gado", "T1c"),
        ("T1 kontrastlı", "T1c"),
        ("T1 kontrastsız", "T1"),
        ("T1 kontrast öncesi", "T1"),
        ("T1 po kontraście", "T1c"),
        ("T1 bez kontrastu", "T1"),
        ("T1增强", "T1c"),
        ("T1平扫", "T1"),
        ("T1 C+", "T1c"),
        ("T1 Dotarem", "T1c"),
        ("T1 post op", "T1"),
        ("T1 preop GAD", "T1c"),
        ("DP sagittale", "other"),
        ("densidad protónica", "other"),
        ("difusión sag", "DWI"),
        ("diffusione b800", "DWI"),
        ("Difüzyon", "DWI"),
        ("DWI b0", "other"),
        ("repérage", "other"),
        ("localizador", "other"),
        ("Scout Planung", "other"),
    ],
)
def test_words_of_several_languages_are_known(text: str, contrast: str) -> None:
    assert identify(SeriesHeader(description=text)) == contrast

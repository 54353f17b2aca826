"""The scanner record means the same whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import pytest
from pydicom.dataset import Dataset

from fedspine.cohort.contrast import SeriesHeader
from fedspine.cohort.dicom.private import LARGEST_CSA, coil_of
from fedspine.cohort.scanner import repetition_of, tesla_of, vendor_of
from fedspine.cohort.site import load_cohort
from tests.cohort.csa import csa_header
from tests.cohort.test_contrast_table import rows

Write = Callable[..., list[Path]]


@pytest.mark.parametrize(
    ("written", "vendor"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens HealthCare GmbH", "Siemens"),
        ("Philips Medical Systems", "Philips"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE", "GE"),
        ("TOSHIBA_MEC", "Toshiba"),
        ("CANON_MEC", "Canon"),
        ("UIH", "UIH"),
        ("Somebody Else ", "Somebody Else"),
        ("  ", None),
    ],
)
def test_a_vendor_has_one_name(written: str, vendor: str | None) -> None:
    assert vendor_of(written) == vendor


@pytest.mark.parametrize("value", [None, 0.0, -1.5, float("inf"), float("nan")])
def test_an_impossible_field_is_unknown(value: float | None) -> None:
    assert tesla_of(value) is None


def auc(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the chance that a value of `first` exceeds one of `second`, ties half."""
    wins = sum((a > b) + (a == b) / 2 for a in first for b in second)
    return wins / (len(first) * len(second))


def test_the_repetition_time_of_an_mprage_does_not_tell_its_vendor() -> None:
    table = [(vendor, header) for name, vendor, header in rows() if name == "T1w" and vendor]
    raw = [(vendor, header.repetition_time_ms or 0.0) for vendor, header in table]
    known = [time for _, header in table if (time := repetition_of(header)[0]) is not None]
    # what no vendor but one tells is filled in as any missing value is: with what is usual
    even = [(vendor, repetition_of(header)[0] or median(known)) for vendor, header in table]

    def told(values: Sequence[tuple[str, float]]) -> float:
        return auc([v for who, v in values if who == "Siemens"], [v for who, v in values if who != "Siemens"])

    assert told(raw) == 1.0
    assert told(even) == 0.5
    assert set(known) == {2000.0}


def test_no_raw_repetition_time_serves_both_meanings() -> None:
    for _, _, header in rows():
        whole, spacing = repetition_of(header)
        assert whole is None or spacing is None
        assert spacing is None or spacing < 100


@pytest.mark.parametrize(
    ("header", "times"),
    [
        (SeriesHeader(scanning_sequence=("SE",), repetition_time_ms=3000), (3000, None)),
        (SeriesHeader(scanning_sequence=("GR",), repetition_time_ms=600, flip_angle_deg=30), (600, None)),
        (SeriesHeader(scanning_sequence=("GR",), repetition_time_ms=2300, flip_angle_deg=8), (2300, None)),
        (
            SeriesHeader(
                scanning_sequence=("GR",),
                variant=("MP",),
                repetition_time_ms=1800,
                inversion_time_ms=900,
                flip_angle_deg=25,
            ),
            (1800, None),
        ),
        (
            SeriesHeader(
                scanning_sequence=("GR", "IR"), repetition_time_ms=7.25, inversion_time_ms=750, flip_angle_deg=10
            ),
            (None, 7.25),
        ),
        (SeriesHeader(scanning_sequence=("EP", "GR"), repetition_time_ms=15, flip_angle_deg=15), (15, None)),
        (SeriesHeader(scanning_sequence=("GR",), repetition_time_ms=0.0), (None, None)),
        (SeriesHeader(), (None, None)),
    ],
)
def test_each_meaning_of_the_repetition_time_has_a_field_of_its_own(
    header: SeriesHeader, times: tuple[float | None, float | None]
) -> None:
    assert repetition_of(header) == times


def test_the_variant_of_a_real_header_is_looked_at(tmp_path: Path, write_series: Write) -> None:
    train = {"ScanningSequence": "GR", "EchoTime": 3, "RepetitionTime": 1800, "FlipAngle": 60, "SeriesDescription": "x"}
    write_series(tmp_path, "P1", **train, SequenceVariant=["SK", "SP", "MP"])
    write_series(tmp_path, "P2", **train, SequenceVariant=["SK", "SP"])
    cohort = load_cohort(tmp_path)
    found = {cohort.own_ids[patient.identifier]: set(patient.volumes) for patient in cohort.patients}
    assert found == {"P1": {"T1"}, "P2": {"other"}}


def siemens(*elements: tuple[int, bytes]) -> Dataset:
    dataset = Dataset()
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    for element, value in elements:
        block.add_new(element, "OB", value)
    return dataset


def test_a_coil_that_only_the_csa_header_names_is_found() -> None:
    assert coil_of(siemens((0x10, csa_header(ImaCoilString=["SP1-4"])))) == "SP1-4"
    assert coil_of(siemens((0x20, csa_header(CoilString=["HEA;HEP"])))) == "HEA;HEP"
    assert coil_of(siemens((0x10, csa_header(Other=["x"])), (0x20, csa_header(CoilString=["SP2"])))) == "SP2"


def test_a_broken_or_monstrous_csa_header_names_no_coil() -> None:
    whole = csa_header(ImaCoilString=["SP1-4"])
    for value in (whole[:40], whole[:-8], b"SV10" + b"\xff" * 200, b"", b"nothing", whole + b"\0" * LARGEST_CSA):
        assert coil_of(siemens((0x10, value))) in ("", "SP1-4")
    assert coil_of(siemens((0x10, whole + b"\0" * LARGEST_CSA))) == ""


def test_the_record_of_a_series_holds_words_and_units_of_ours(tmp_path: Path, write_series: Write) -> None:
    write_series(
        tmp_path,
        Manufacturer="GE MEDICAL SYSTEMS",
        MagneticFieldStrength=15000,
        ScanningSequence=["GR", "IR"],
        RepetitionTime=7.2,
        InversionTime=450,
        EchoTime=2.9,
        FlipAngle=12,
    )
    (volume,) = load_cohort(tmp_path).patients[0].volumes.values()
    record = volume.scanner
    assert (record.vendor, record.field_tesla, record.flip_angle_deg) == ("GE", 1.5, 12)
    assert (record.repetition_time_ms, record.excitation_spacing_ms) == (None, 7.2)


@pytest.mark.parametrize("age", ["***", "", "052Y"])
def test_an_age_that_nobody_can_read_does_not_matter(tmp_path: Path, write_series: Write, age: str) -> None:
    write_series(tmp_path, change=lambda _, dataset: dataset.add_new("PatientAge", "LO", age))
    assert set(load_cohort(tmp_path).patients[0].volumes) == {"T1"}


def test_two_series_that_share_a_description_are_told_by_their_times(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path, contrast="T1", SeriesDescription="SAG FSE")
    write_series(tmp_path, contrast="T2", SeriesDescription="SAG FSE")
    assert set(load_cohort(tmp_path).patients[0].volumes) == {"T1", "T2"}

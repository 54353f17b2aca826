"""Acquisition settings: the same sequence gives the same row on every vendor, and the joint scale leaves it so."""

from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedspine.cohort.contrast import SeriesHeader
from fedspine.cohort.patient import Scanner
from fedspine.cohort.scanner import repetition_of, tesla_of
from fedspine.harmony.acquisition import (
    ACQUISITION,
    BOUND,
    COILS,
    LEAST,
    TIMING,
    Array,
    acquisition_row,
    acquisition_rows,
    coil_kind,
    joint_scale,
    term,
)
from tests.cohort.test_contrast_table import DATA, ms

TIMES = [ACQUISITION.index(name) for name in TIMING]
MORE = 0.05
"""What a probe may recognise above chance."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Rows of two vendors for one sequence.

    Args:
        vendors, subjects: (row,), words.
        raw: (row, 1), RepetitionTime as the header has it, in ms.
        values, known: (row, column).
    """

    vendors: list[str]
    subjects: list[str]
    raw: Array
    values: Array
    known: Array

    def scaled(self) -> Array:
        """Return (row, column) on the scale that both vendors, as two sites, share."""
        sites = []
        for vendor in sorted(set(self.vendors)):
            own = [row for row, whose in enumerate(self.vendors) if whose == vendor]
            terms = [term(self.values[row][None], self.known[row][None]) for row in own]
            sites.append({key: np.sum([one[key] for one in terms], axis=0) for key in terms[0]})
        scale = joint_scale({key: np.sum([site[key] for site in sites], axis=0) for key in sites[0]})
        return scale.scaled(self.values[:, None], self.known[:, None])[:, 0]


def table(sequence: str, *vendors: str) -> Table:
    """Return all rows of `sequence` in the spine-generic headers that name one of the vendors."""
    with (DATA / "spine_generic_params.csv").open(newline="") as file:
        cells = [one for one in csv.DictReader(file) if one["contrast"] == sequence and one["Manufacturer"] in vendors]
    rows = [acquisition_row(scanner(one)) for one in cells]
    raw = np.array([[ms(one["RepetitionTime"]) or 0.0] for one in cells])
    known = np.array([row[1] for row in rows])
    whose, subjects = [one["Manufacturer"] for one in cells], [one["sub"] for one in cells]
    return Table(whose, subjects, raw, np.array([row[0] for row in rows]), known)


def scanner(cells: dict[str, str]) -> Scanner:
    """Return the record of a header, made as `cohort` makes it."""
    flip = float(cells["FlipAngle"]) if cells["FlipAngle"] else None
    header = SeriesHeader(
        echo_time_ms=ms(cells["EchoTime"]),
        repetition_time_ms=ms(cells["RepetitionTime"]),
        inversion_time_ms=ms(cells["InversionTime"]),
        flip_angle_deg=flip,
    )
    repetition, spacing = repetition_of(header)
    return Scanner(
        vendor=cells["Manufacturer"],
        field_tesla=tesla_of(float(cells["MagneticFieldStrength"])),
        coil=cells["ReceiveCoilName"] or cells["CoilString"] or None,
        echo_time_ms=header.echo_time_ms,
        repetition_time_ms=repetition,
        inversion_time_ms=header.inversion_time_ms,
        flip_angle_deg=flip,
        excitation_spacing_ms=spacing,
    )


def recognised(found: Table, features: Array) -> float:
    """Return the better balanced accuracy of a linear and a forest probe on held-out subjects; chance is a half."""
    probes = (
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")),
        RandomForestClassifier(20, class_weight="balanced", random_state=0),
    )
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return max(
        float(
            balanced_accuracy_score(
                found.vendors, cross_val_predict(p, features, found.vendors, groups=found.subjects, cv=folds)
            )
        )
        for p in probes
    )


@pytest.mark.parametrize("other", ["GE", "Philips"])
def test_nothing_tells_the_repetition_time_of_an_mprage_from_another_vendors(other: str) -> None:
    found = table("T1w", "Siemens", other)
    scaled = found.scaled()
    assert recognised(found, found.raw) > 0.99
    assert recognised(found, scaled[:, TIMES]) <= 0.5 + MORE
    # not even that a time is missing
    assert recognised(found, np.hstack([scaled[:, TIMES], found.known[:, TIMES]])) <= 0.5 + MORE


@pytest.mark.parametrize("sequence", ["T2star", "flip-2_mt-off_MTS"])
def test_a_protocol_that_vendors_share_does_not_tell_them(sequence: str) -> None:
    found = table(sequence, "Siemens", "GE")
    usual = np.median(found.raw[[whose == "Siemens" for whose in found.vendors]])
    kept = [row for row, time in enumerate(found.raw[:, 0]) if abs(time - usual) <= 0.05 * usual]
    alike = Table(
        [found.vendors[row] for row in kept],
        [found.subjects[row] for row in kept],
        *(values[kept] for values in (found.raw, found.values, found.known)),
    )
    scaled = alike.scaled()
    assert recognised(alike, np.hstack([scaled[:, TIMES], alike.known[:, TIMES]])) <= 0.5 + MORE


def test_a_true_difference_of_protocols_is_kept() -> None:
    """Siemens' T2 is repeated every 1.5 or 2 s, GE's every 2.5: no scale could hide that without hiding the physics."""
    found = table("T2w", "Siemens", "GE")
    times = {
        vendor: {t for v, t in zip(found.vendors, found.raw[:, 0], strict=True) if v == vendor}
        for vendor in ("Siemens", "GE")
    }
    assert max(times["Siemens"]) <= 2000 < 2500 <= min(times["GE"])
    assert recognised(found, found.scaled()[:, TIMES]) > 0.95


def test_the_same_timing_gives_the_same_row_whoever_wrote_the_header() -> None:
    siemens = Scanner("Siemens", "Prisma", 3.0, "HC1-7;NC1_2", 120.0, 2500.0, flip_angle_deg=120.0)
    ge = dataclasses.replace(siemens, vendor="GE", model="MR750", coil="Head+Neck_40", flip_angle_deg=90.0)
    train = Scanner("Siemens", "Prisma", 3.0, None, 2.5, 2000.0, 900.0, flip_angle_deg=9.0)
    others = dataclasses.replace(train, vendor="GE", repetition_time_ms=None, excitation_spacing_ms=6.2)
    silent = dataclasses.replace(others, vendor="Philips", inversion_time_ms=None)
    same(siemens, ge)
    same(train, others)
    same(train, silent)


def same(first: Scanner, second: Scanner) -> None:
    for one, other in zip(acquisition_row(first), acquisition_row(second), strict=True):
        assert np.array_equal(one, other)


def test_a_row_is_in_words_and_units() -> None:
    values, known = acquisition_row(
        Scanner("GE", "Artist", 1.5, "HDCTL_12", 90.0, 4500.0, 150.0, 1000.0, flip_angle_deg=111.0)
    )
    row = dict(zip(ACQUISITION, values.tolist(), strict=True))
    assert row["field"] == -1
    assert row["log TE"] == pytest.approx(1)
    assert row["log TR"] == pytest.approx(1)
    assert row["log TI"] == pytest.approx(math.log(150 / 600) / math.log(3))
    assert row["b-value"] == 1
    assert [row[f"coil {kind}"] for kind in COILS] == [0, 1, 0, 0]
    unknown = [name for name, flag in zip(ACQUISITION, known, strict=True) if not flag]
    assert unknown == ["log excitation spacing", "flip angle"]


def test_the_spacing_of_a_steady_state_is_known_and_that_of_a_possible_train_is_not() -> None:
    steady = Scanner(excitation_spacing_ms=12.0, flip_angle_deg=35.0)
    at = ACQUISITION.index("log excitation spacing")
    assert (acquisition_row(steady)[0][at], acquisition_row(steady)[1][at]) == (pytest.approx(1), 1)
    for change in ({"flip_angle_deg": 9.0}, {"flip_angle_deg": None}, {"inversion_time_ms": 900.0}):
        assert acquisition_row(dataclasses.replace(steady, **change))[1][at] == 0


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.builds(
        Scanner,
        field_tesla=NUMBERS,
        coil=st.none() | st.text(max_size=12),
        echo_time_ms=NUMBERS,
        repetition_time_ms=NUMBERS,
        inversion_time_ms=NUMBERS,
        b_value=NUMBERS,
        flip_angle_deg=NUMBERS,
        excitation_spacing_ms=NUMBERS,
    )
)
def test_any_record_gives_a_bounded_row(record: Scanner) -> None:
    values, known = acquisition_row(record)
    assert values.shape == known.shape == (len(ACQUISITION),)
    assert np.abs(values).max() <= BOUND
    assert set(known.tolist()) <= {0.0, 1.0}
    assert not values[known == 0].any()
    added = term(values[None], known[None])
    assert [float(np.abs(added[key]).max()) <= bound for key, bound in zip(added, (1, BOUND, BOUND**2), strict=True)]


def test_a_missing_contrast_is_unknown_and_no_setting_of_another_patient_fills_it() -> None:
    values, known = acquisition_rows((Scanner(field_tesla=3.0), None))
    assert values.shape == known.shape == (2, len(ACQUISITION))
    assert known[0].sum() == 1
    assert not known[1].any()
    assert not any(part[1].any() for part in term(values, known).values())


def drawn(patients: int, seed: int = 0) -> tuple[Array, Array]:
    """Return values and known, (patient, 1, column): mean 0.5, deviation 0.6, one in four missing."""
    random = np.random.default_rng(seed)
    shape = (patients, 1, len(ACQUISITION))
    known = (random.random(shape) < 0.75).astype(np.float64)
    return np.clip(random.normal(0.5, 0.6, shape), -BOUND, BOUND) * known, known


def summed(values: Array, known: Array) -> dict[str, Array]:
    terms = [term(*one) for one in zip(values, known, strict=True)]
    return {key: np.sum([one[key] for one in terms], axis=0) for key in terms[0]}


def test_the_scale_is_the_mean_and_deviation_of_what_is_known() -> None:
    values, known = drawn(4000)
    scale = joint_scale(summed(values, known))
    assert np.abs(scale.mean - 0.5).max() < 0.05
    assert np.abs(scale.deviation - 0.6).max() < 0.05
    scaled = scale.scaled(values, known)
    assert not scaled[known == 0].any()
    assert abs(scaled[known == 1].mean()) < 0.02
    assert scaled[known == 1].std() == pytest.approx(1, abs=0.02)


def test_the_sites_sums_add_up_to_the_scale_of_all_patients() -> None:
    values, known = drawn(60)
    sites = [summed(values[part], known[part]) for part in (slice(0, 7), slice(7, 40), slice(40, 60))]
    both = {key: np.sum([site[key] for site in sites], axis=0) for key in sites[0]}
    together, apart = joint_scale(summed(values, known)), joint_scale(both)
    assert np.allclose(together.mean, apart.mean, atol=1e-12)
    assert np.allclose(together.deviation, apart.deviation, atol=1e-12)


def test_a_noisy_release_moves_the_public_scale_less() -> None:
    random = np.random.default_rng(1)
    sums = summed(*drawn(40))
    noise = dict.fromkeys(sums, 400.0)
    noisy = {key: value + random.normal(0, noise[key], value.shape) for key, value in sums.items()}
    scale, trusting = joint_scale(noisy, noise), joint_scale(noisy)
    assert np.abs(scale.mean).max() < 0.5 < np.abs(trusting.mean).max()
    assert np.abs(scale.deviation - 1).max() < np.abs(trusting.deviation - 1).max()


def test_a_setting_that_nobody_has_stays_at_the_public_scale_and_one_that_all_share_is_not_stretched() -> None:
    known = np.zeros((50, 1, len(ACQUISITION)))
    known[:, :, 0] = 1
    values = known.copy()
    scale = joint_scale(summed(values, known))
    assert scale.mean[0, 1:].tolist() == [0.0] * (len(ACQUISITION) - 1)
    assert scale.deviation[0, 1:].tolist() == [1.0] * (len(ACQUISITION) - 1)
    assert scale.deviation[0, 0] == LEAST


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("HeadNeck_64", "head/neck"),
        ("HEA;HEP", "head/neck"),
        ("T:HEA;HEP;NE1_2;SP1", "head/neck"),
        ("SENSE_NEURO_VASC", "head/neck"),
        ("8NVHEAD_A", "head/neck"),
        ("Spine_32", "spine"),
        ("SP3-6", "spine"),
        ("BO1;SP4-6", "spine"),
        ("GE_HDx TORSO", "body"),
        ("Flex_Large", "surface"),
        ("MULTI_COIL", None),
        ("", None),
    ],
)
def test_a_coil_has_one_kind_however_it_is_spelled(name: str, kind: str | None) -> None:
    assert coil_kind(name) == kind

"""DWI and ADC of a diffusion acquisition, and the unit of stored maps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedspine.cohort.diffusion import Desk, factor_of, with_maps
from fedspine.cohort.grid import Grid
from fedspine.cohort.patient import Scanner, Volume
from fedspine.cohort.select import Candidate
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
SAMPLES = Path(__file__).parents[1] / "data" / "vendor_dicom"
SHAPE = (2, 4, 5)
DIRECTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def part(b_value: float, voxels: NDArray[Any], gradient: tuple[float, ...] = (), **more: Any) -> Candidate:
    scanner = Scanner(b_value=b_value, echo_time_ms=80.0)
    contrast = "DWI" if b_value >= 50 else "other"
    volume = Volume(voxels, np.eye(4), contrast, scanner)
    rank = (abs(b_value - 800.0), str(gradient))
    made = Candidate(
        contrast=contrast,
        grid=Grid(voxels.shape, np.eye(4)),
        rank=rank,
        load=lambda: volume,
        where=f"{b_value}",
        scanner=scanner,
        gradient=gradient,
    )
    return replace(made, **more)


def maps(*parts: Candidate) -> dict[str, Volume]:
    made = {one.contrast: one.load() for one in with_maps(parts, Desk(None, []))}
    return {contrast: volume for contrast, volume in made.items() if volume is not None}


def numbers(volume: Volume) -> NDArray[np.float64]:
    return np.asarray(volume.voxels, np.float64)


def signal(adc: NDArray[Any] | float, b_value: float) -> NDArray[Any]:
    return np.broadcast_to(1000.0 * np.exp(-b_value * np.asarray(adc) * 1e-6), SHAPE).astype(np.float32)


@given(st.floats(100, 4000), st.lists(st.sampled_from([300.0, 500.0, 800.0, 1000.0]), min_size=1, unique=True))
def test_the_diffusion_coefficient_of_a_noiseless_signal_is_found(adc: float, b_values: list[float]) -> None:
    made = maps(part(0.0, signal(adc, 0.0)), *(part(b, signal(adc, b)) for b in b_values))
    np.testing.assert_allclose(numbers(made["ADC"]), adc, rtol=0.01)
    assert made["ADC"].computed
    assert made["ADC"].scanner.b_value is None
    assert made["ADC"].voxels.dtype == np.float32


def test_directions_are_averaged_geometrically_and_the_b_value_nearest_to_800_is_the_dwi() -> None:
    along = (300.0, 900.0, 1800.0)
    parts = [part(0.0, signal(0.0, 0.0))]
    for b_value in (600.0, 2000.0):
        parts += [part(b_value, signal(adc, b_value), way) for adc, way in zip(along, DIRECTIONS, strict=True)]
    made = maps(*parts)
    np.testing.assert_allclose(numbers(made["ADC"]), 1000.0, rtol=0.01)
    np.testing.assert_allclose(numbers(made["DWI"]), signal(1000.0, 600.0), rtol=1e-4)
    assert made["DWI"].scanner.b_value == 600


def test_the_mean_that_a_scanner_adds_to_its_directions_does_not_count_twice() -> None:
    parts = [part(0.0, signal(0.0, 0.0)), part(1000.0, signal(5000.0, 1000.0), (0.0, 0.0, 0.0))]
    parts += [part(1000.0, signal(800.0, 1000.0), way) for way in DIRECTIONS]
    np.testing.assert_allclose(numbers(maps(*parts)["ADC"]), 800.0, rtol=1e-3)


def test_b_values_that_are_meant_to_be_one_are_one() -> None:
    parts = [part(0.004, signal(700, 0.0)), part(0.0, signal(700, 0.0)), part(1002.0, signal(700, 1000.0))]
    made = maps(*parts, part(998.0, signal(700, 1000.0)))
    np.testing.assert_allclose(numbers(made["ADC"]), 700.0, rtol=1e-3)


def test_noise_has_no_diffusion_coefficient() -> None:
    still = np.where(np.arange(40).reshape(SHAPE) < 8, 3.0, 1000.0).astype(np.float32)
    made = maps(part(0.0, still), part(1000.0, (still * 0.4).astype(np.float32)))
    assert (numbers(made["ADC"]) > 0).ravel().tolist() == [False] * 8 + [True] * 32


def test_without_two_b_values_there_is_no_map() -> None:
    assert set(maps(part(800.0, signal(700, 800.0)))) == {"DWI"}
    assert set(maps(part(0.0, signal(700, 0.0)))) == {"other"}
    assert set(maps(part(800.0, signal(700, 800.0)), part(900.0, signal(700, 900.0)))) == {"DWI"}


def test_parts_of_other_grids_studies_or_echoes_are_not_mixed() -> None:
    low, high = part(0.0, signal(700, 0.0)), part(800.0, signal(700, 800.0))
    for other in (
        replace(low, study="another"),
        replace(low, grid=Grid(SHAPE, np.diag([2.0, 1.0, 1.0, 1.0]))),
        replace(low, scanner=replace(low.scanner, echo_time_ms=60.0)),
        replace(low, scanner=replace(low.scanner, b_value=None)),
    ):
        assert set(maps(high, other)) == {"DWI", "other"}


@pytest.mark.parametrize("b_value", [-1000.0, 1e6, 1e300])
def test_a_b_value_that_no_scanner_has_is_no_part(b_value: float) -> None:
    low, high = part(0.0, signal(700, 0.0)), part(800.0, signal(700, 800.0))
    made = with_maps([low, high, part(b_value, signal(1, 0.0), where="odd")], Desk(None, []))
    assert [one.where for one in made if one.scanner.b_value == b_value] == ["odd"]
    np.testing.assert_allclose(numbers(maps(low, high)["ADC"]), 700.0, rtol=0.01)


def test_a_part_that_cannot_be_read_is_left_out() -> None:
    parts = [part(0.0, signal(700, 0.0)), part(500.0, signal(700, 500.0)), part(1000.0, signal(700, 1000.0))]
    broken = replace(parts[1], load=lambda: None)
    np.testing.assert_allclose(numbers(maps(parts[0], broken, parts[2])["ADC"]), 700.0, rtol=1e-3)
    assert "ADC" not in maps(replace(parts[0], load=lambda: None), parts[2])


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-6])
def test_a_stored_map_has_one_unit(unit: float, tmp_path: Path) -> None:
    stored = replace(part(0.0, np.full(SHAPE, 900.0 * unit)), contrast="ADC")
    np.testing.assert_allclose(numbers(maps(stored)["ADC"]), 900.0, rtol=1e-5)


@given(st.floats(50, 20_000), st.sampled_from([1.0, 1e-3, 1e-6]))
def test_the_median_of_any_tissue_tells_the_unit(median: float, unit: float) -> None:
    assert factor_of(np.array([0.0, median * unit])) == pytest.approx(1 / unit)


def test_a_map_of_nothing_is_left_alone() -> None:
    assert factor_of(np.zeros(3)) == 1.0


def diffusion_site(site: Path, write_series: Write, adc: float = 800.0) -> None:
    for b_value in (0.0, 400.0, 800.0):
        voxels = np.rint(signal(adc, b_value)).astype(np.uint16)
        write_series(site, contrast="ep2d_diff", folder=f"b{b_value}", voxels=voxels, DiffusionBValue=b_value)


def test_a_stored_map_goes_before_a_computed_one(tmp_path: Path, write_series: Write) -> None:
    diffusion_site(tmp_path, write_series)
    assert load_cohort(tmp_path).patients[0].volumes["ADC"].computed
    stored = np.full(SHAPE, 950, np.uint16)
    write_series(tmp_path, contrast="ADC", voxels=stored, ImageType=["DERIVED", "PRIMARY", "ADC"])
    volume = load_cohort(tmp_path).patients[0].volumes["ADC"]
    assert not volume.computed
    np.testing.assert_array_equal(volume.voxels, stored)


def test_a_real_world_value_mapping_of_a_map_counts(tmp_path: Path, write_series: Write) -> None:
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 2.5e-6, 0.0
    write_series(
        tmp_path,
        contrast="ADC",
        voxels=np.full(SHAPE, 400, np.uint16),
        ImageType=["DERIVED", "PRIMARY", "ADC"],
        RescaleSlope=1,
        RescaleIntercept=0,
        RealWorldValueMappingSequence=[mapping],
    )
    volume = load_cohort(tmp_path).patients[0].volumes["ADC"]
    np.testing.assert_allclose(numbers(volume), 1000.0, rtol=1e-5)


def test_a_map_is_computed_once_and_kept_until_a_part_changes(
    tmp_path: Path, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffusion_site(tmp_path, write_series)
    first = load_cohort(tmp_path).patients[0].volumes["ADC"]
    np.testing.assert_allclose(numbers(first), 800, rtol=0.01)
    with monkeypatch.context() as patch:
        patch.setattr("fedspine.cohort.diffusion._mean_log", None)
        for _ in range(2):
            again = load_cohort(tmp_path).patients[0].volumes
            np.testing.assert_array_equal(again["ADC"].voxels, first.voxels)
            assert again["DWI"].scanner.b_value == 800
    write_series(
        tmp_path,
        contrast="ep2d_diff",
        folder="b800.0",
        voxels=np.rint(signal(1500.0, 800.0)).astype(np.uint16),
        DiffusionBValue=800.0,
    )
    assert np.median(numbers(load_cohort(tmp_path).patients[0].volumes["ADC"])) > 1000


def test_the_map_of_a_real_brain_is_plausible(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    for file in SAMPLES.glob("philips_achieva_2008_*.dcm"):
        shutil.copyfile(file, tmp_path / "dicom" / file.name)
    cohort = load_cohort(tmp_path)
    volumes = cohort.patients[0].volumes
    assert (set(volumes), cohort.rejected) == ({"ADC", "DWI"}, ())
    tissue = numbers(volumes["ADC"])
    low, median, high = np.percentile(tissue[tissue > 0], (25, 50, 99))
    # grey and white matter lie at 700 to 900, cerebrospinal fluid at 3000
    assert 600 < low < median < 1200
    assert 2500 < high < 4000

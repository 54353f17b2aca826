"""Lung phantoms: chest CT with nodules, written as a hospital's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from fedspine.cohort.site import load_cohort
from fedspine.cohort.summary import usable
from fedspine.errors import ConfigError
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.lung.nodule import Nodule, draw_nodule
from fedspine.phantom.lung.person import LUNG_OMICS, LungPhantom, draw_lung
from fedspine.phantom.lung.scanner import CT_SCANNERS
from fedspine.phantom.lung.writer import write_lung_consortium
from fedspine.phantom.public import public_patients
from fedspine.plans.shipped import NAMES, find_plan


def drawn(label: str, seed: int = 0) -> LungPhantom:
    return draw_lung(np.random.default_rng([5, seed]), label=label, shape=(10, 96, 96))


def test_tissues_have_the_hounsfield_units_of_textbooks() -> None:
    phantom = drawn("normal", 1)
    voxels = np.asarray(phantom.scan(CT_SCANNERS[0], np.random.default_rng(0)).voxels, np.float64)
    lungs = phantom.lungs > 0
    assert -900 < np.median(voxels[lungs]) < -760
    soft = voxels[(voxels > -20) & (voxels < 130)]
    assert 30 < np.median(soft) < 70
    assert (voxels > 500).any(), "compact bone"
    corner = voxels[:, :4, :4]
    assert -1024 <= np.median(corner) <= -990, "air around the patient"


def test_normal_lungs_hold_no_nodule_and_the_others_do() -> None:
    for seed in range(4):
        assert not drawn("normal", seed).mask.any()
        for label in ("benign", "malignant"):
            phantom = drawn(label, seed)
            assert phantom.nodules
            assert not (phantom.mask.astype(bool) & ~(phantom.lungs > 0)).any(), "nodules lie within the lungs"


def test_malignant_nodules_are_larger_and_more_spiculated_but_not_always() -> None:
    stream = np.random.default_rng(2)
    many = {label: [draw_nodule(label, np.zeros(3), stream) for _ in range(400)] for label in ("benign", "malignant")}
    size = {label: np.array([one.diameter_mm for one in nodules]) for label, nodules in many.items()}
    spikes = {label: np.array([one.spiculation for one in nodules]) for label, nodules in many.items()}
    for measure in (size, spikes):
        better = (measure["malignant"][:, None] > measure["benign"][None, :]).mean()
        assert 0.75 < better < 0.97
    assert any(one.calcified for one in many["benign"])
    assert not any(one.calcified for one in many["malignant"])


@pytest.mark.parametrize(
    ("kind", "diameter", "core", "category"),
    [
        ("solid", 5.0, 5.0, 2),
        ("solid", 7.0, 7.0, 3),
        ("solid", 8.0, 8.0, 4),
        ("part-solid", 5.5, 3.0, 2),
        ("part-solid", 12.0, 5.0, 3),
        ("part-solid", 12.0, 7.0, 4),
        ("ground-glass", 20.0, 0.0, 2),
        ("ground-glass", 31.0, 0.0, 3),
    ],
)
def test_categories_follow_lung_rads(kind: str, diameter: float, core: float, category: int) -> None:
    assert Nodule(kind, diameter, core, 40.0, -600.0, False, 0.1, 0.1, np.zeros(3)).category == category


def test_the_noise_of_a_scanner_is_what_it_says() -> None:
    phantom = drawn("normal", 1)
    one, other = (phantom.scan(CT_SCANNERS[0], np.random.default_rng(seed)).voxels.astype(float) for seed in (1, 2))
    middle = (one - other)[:, 40:56, 40:56]
    assert 0.7 * CT_SCANNERS[0].noise_hu < middle.std() / np.sqrt(2) < 1.5 * CT_SCANNERS[0].noise_hu


def test_site_folders_are_read_back_as_they_were_drawn(tmp_path: Path) -> None:
    first, second, third = write_lung_consortium(tmp_path / "one", sites=3, patients=4, shape=(6, 64, 64))
    for site in (first, second, third):
        cohort = load_cohort(site)
        assert cohort.rejected == ()
        assert usable(cohort) is None
        assert cohort.omics_columns == LUNG_OMICS
        assert {one.label for one in cohort.patients} >= {"benign", "malignant"} - {None}
        assert all(set(one.volumes) == {"CT"} for one in cohort.patients)
        assert any(one.mask is not None and one.mask.voxels.any() for one in cohort.patients)
        volume = cohort.patients[0].volumes["CT"]
        assert volume.plane == "axial"
        inner = np.asarray(volume.voxels)[:, 16:48, 16:48]
        assert -1024 <= inner.min() < -700
        assert 40 < np.percentile(inner, 99.5) < 1500
    headers = [pydicom.dcmread(next(site.glob("dicom/*/1/*")), stop_before_pixels=True) for site in (first, second)]
    assert {header.Modality for header in headers} == {"CT"}
    assert [header.PixelRepresentation for header in headers] == [0, 1], "one vendor stores signed pixels with padding"


def test_a_tilted_gantry_keeps_every_voxel_in_its_place(tmp_path: Path) -> None:
    site = write_lung_consortium(tmp_path / "one", sites=3, patients=6, shape=(6, 48, 48), seed=1)[2]
    cohort = load_cohort(site)
    tilted = [one.volumes["CT"] for one in cohort.patients if abs(one.volumes["CT"].affine[2, 1]) > 1e-3]
    assert tilted, "the third hospital has a scanner that tilts"
    step, down = tilted[0].affine[:3, 0], tilted[0].affine[:3, 1]
    assert np.allclose(step[:2], 0.0, atol=1e-6), "the table moves straight"
    assert abs(float(step @ down)) > 0.1, "the slices lean"
    assert all(one.mask is None or one.mask.voxels.shape == (6, 48, 48) for one in cohort.patients)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_lung_consortium(tmp_path / name, sites=1, patients=2, shape=(4, 32, 32), seed=3)
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two")]
    assert [path.relative_to(tmp_path / "one") for path in files[0]] == [
        path.relative_to(tmp_path / "two") for path in files[1]
    ]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(*files, strict=True))


def test_public_phantoms_of_ct_are_lungs_and_of_anything_else_spines() -> None:
    lungs = public_patients(3, 0, contrasts=("CT",), shape=(4, 32, 32))
    assert [one.label for one in lungs] == list(CLASSES)
    assert all(set(one.volumes) == {"CT"} and one.omics is None for one in lungs)
    (spine,) = public_patients(1, 0, contrasts=("T2", "CT"), shape=(4, 32, 32))
    assert set(spine.volumes) == {"T2"}


def test_plans_are_found_by_name_or_place(tmp_path: Path) -> None:
    assert {"default", "lung"} <= set(NAMES)
    assert 'name = "lung"' in find_plan("lung")
    (tmp_path / "mine.toml").write_text("here")
    assert find_plan(str(tmp_path / "mine.toml")) == "here"
    with pytest.raises(ConfigError, match="did you mean 'lung'"):
        find_plan("lungs")
    with pytest.raises(ConfigError, match="the plan must be a readable UTF-8 text file"):
        find_plan(str(tmp_path / "none.toml"))

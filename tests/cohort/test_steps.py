"""What a plan may do to a CT image."""

from __future__ import annotations

import numpy as np
import pytest

from fedspine.cohort.patient import AIR_HU, Patient, Volume
from fedspine.cohort.steps import FINDERS, WINDOWS, find_body, find_lungs, isolated, shown
from fedspine.cohort.tensors import to_tensors
from fedspine.config import STEPS, DataPlan, load_plan, plan_text
from fedspine.errors import ConfigError, SeriesError
from fedspine.phantom.lung.person import LUNG_OMICS, LungPhantom, draw_lung, to_lung_patient
from fedspine.phantom.lung.scanner import CT_SCANNERS, CTScanner

PLAN = 'name = "p"\n[data]\ncontrasts = ["CT"]\nsteps = {}\n[[stage]]\ntask = "segment"\n'


def lung(scanner: CTScanner, seed: int = 0, size: int = 96) -> tuple[LungPhantom, Volume]:
    generator = np.random.default_rng([11, seed])
    phantom = draw_lung(generator, label="malignant", shape=(10, size, size), tilt=scanner.tilt)
    return phantom, phantom.scan(scanner, generator)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("scanner", CT_SCANNERS, ids=lambda scanner: scanner.model)
@pytest.mark.parametrize("seed", range(3))
def test_the_lungs_of_a_phantom_are_found_without_the_airways(scanner: CTScanner, seed: int) -> None:
    phantom, volume = lung(scanner, seed)
    found = find_lungs(np.asarray(volume.voxels, np.float32), volume.spacing_mm)
    assert found is not None
    assert dice(found, phantom.lungs > 0) > 0.95


def test_most_of_a_nodule_stays_in_the_lung_even_at_its_wall() -> None:
    kept = []
    for seed in range(8):
        phantom, volume = lung(CT_SCANNERS[seed % len(CT_SCANNERS)], seed)
        found = find_lungs(np.asarray(volume.voxels, np.float32), volume.spacing_mm)
        assert found is not None
        kept.append(found[phantom.mask > 0].mean())
    assert np.mean(kept) > 0.8
    assert np.median(kept) > 0.95


def test_fine_voxels_are_searched_on_a_coarser_grid_with_the_same_result() -> None:
    phantom, volume = lung(CT_SCANNERS[0], size=320)
    assert volume.spacing_mm[1] < 1.3
    found = find_lungs(np.asarray(volume.voxels, np.float32), (volume.spacing_mm[0], 1.0, 1.0))
    assert found is not None
    assert dice(found, phantom.lungs > 0) > 0.95


@pytest.mark.parametrize("scanner", CT_SCANNERS, ids=lambda scanner: scanner.model)
def test_the_body_is_found_without_its_table(scanner: CTScanner) -> None:
    phantom, volume = lung(scanner)
    image = np.asarray(volume.voxels, np.float32)
    found = find_body(image, volume.spacing_mm)
    assert found is not None
    assert found[phantom.lungs > 0].mean() > 0.999, "lungs belong to the body"
    x, y, _ = np.meshgrid(*(np.arange(side) for side in volume.voxels.shape[::-1]), indexing="ij")
    left, back = (volume.affine[axis, 2 - axis] * (x, y)[axis] + volume.affine[axis, 3] for axis in (0, 1))
    behind = phantom.chest.half[1] + 11.0 + phantom.chest.fat_mm + phantom.chest.table_gap_mm
    table = (back - behind + left**2 / 900.0 > 5.0).transpose(2, 1, 0) & (image > -500.0)
    assert found[table].mean() < 0.1


def test_an_image_without_lungs_is_left_as_it_is_and_said() -> None:
    water = np.full((6, 32, 32), AIR_HU, np.float32)
    water[:, 6:26, 6:26] = 0.0
    image, said = isolated(["isolate-lung"], water, (5.0, 3.0, 3.0))
    np.testing.assert_array_equal(image, water)
    assert str(said).startswith("the step must find its region in a CT image; found none; the image was used as it is")
    heard: list[SeriesError] = []
    affine = np.diag([5.0, 3.0, 3.0, 1.0])
    patient = Patient("P", {"CT": Volume(water, affine, "CT")})
    plan = DataPlan(contrasts=("CT",), size=32, slices=6, steps=("isolate-lung",))
    to_tensors(patient, (), plan, heard.append)
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("steps", "hu", "value"),
    [
        ([], [-1000.0, 0.0, 1000.0], [0.0, 0.5, 1.0]),
        (["scale"], [-1000.0, 0.0, 3000.0], [0.0, 0.5, 1.0]),
        (["window-soft-tissue", "scale"], [-1000.0, -150.0, 50.0, 250.0, 900.0], [0.0, 0.0, 0.5, 1.0, 1.0]),
        (["window-bone", "scale"], [-500.0, 400.0, 1300.0], [0.0, 0.5, 1.0]),
        (["window-lung", "scale"], [-1350.0, -600.0, 150.0], [0.0, 0.5, 1.0]),
        (["window-soft-tissue"], [-1000.0, 1000.0], [0.425, 0.625]),
    ],
)
def test_a_window_shows_what_its_preset_says(steps: list[str], hu: list[float], value: list[float]) -> None:
    values = np.array(hu, np.float32)[None, None]
    np.testing.assert_allclose(shown(steps, values, "CT").ravel(), value, atol=1e-6)


def test_equalising_raises_local_contrast_and_leaves_an_empty_slice_alone() -> None:
    random = np.random.default_rng(0)
    values = np.stack([0.5 + 0.01 * random.random((32, 32)), np.zeros((32, 32))]).astype(np.float32)
    result = shown(["clahe"], values, "T2")
    assert result[0].std() > 3 * values[0].std()
    assert result.min() >= 0.0
    assert result.max() <= 1.0
    np.testing.assert_array_equal(result[1], values[1])


def test_steps_leave_mr_alone_but_for_clahe() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    np.testing.assert_array_equal(shown(["window-bone", "scale"], values, "T1"), values)


def test_a_training_image_is_the_isolated_lung_in_its_window() -> None:
    generator = np.random.default_rng(3)
    phantom = draw_lung(generator, label="malignant", shape=(6, 64, 64))
    patient = to_lung_patient(phantom, "P", CT_SCANNERS[0], generator)
    plan = DataPlan(
        contrasts=("CT",), classes=("benign", "malignant"), size=64, slices=6,
        steps=("isolate-lung", "window-lung", "scale"),
    )  # fmt: skip
    tensors = to_tensors(patient, LUNG_OMICS, plan)
    lungs = phantom.lungs > 0
    images = tensors.images[:, 0].numpy()
    assert images[~lungs].mean() < 0.25, "the rest of the chest is air"
    assert 0.2 < np.median(images[lungs]) < 0.5
    assert tensors.mask is not None
    assert float(tensors.mask.sum()) == float((phantom.mask > 0).sum())


def test_every_step_that_a_plan_may_name_is_there() -> None:
    assert set(STEPS) == {*FINDERS, *WINDOWS, "scale", "clahe"}


def test_steps_are_part_of_the_plan_and_survive_the_round_trip() -> None:
    plan = load_plan(PLAN.format('["isolate-lung", "window-lung", "scale", "clahe"]'))
    assert plan.data.steps == ("isolate-lung", "window-lung", "scale", "clahe")
    assert load_plan(plan_text(plan)) == plan


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ('["window-lungs"]', "a step must be known; found 'window-lungs'; did you mean 'window-lung'?"),
        ('["sharpen"]', "use one of: isolate-body"),
        ('["window-lung", "window-bone"]', "a plan may have one step of each kind; found two of one kind; keep one"),
        ('["scale", "scale"]', "a plan may have one step of each kind"),
        ('["scale", "window-lung"]', "steps must stand in the order isolation, window, scale, clahe"),
        ('["window-lung", "isolate-lung"]', "steps must stand in the order"),
    ],
)
def test_steps_that_make_no_sense_are_one_sentence(steps: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plan(PLAN.format(steps))
    assert said in str(caught.value)


def test_without_steps_everything_is_as_before() -> None:
    affine = np.diag([-5.0, 3.0, -3.0, 1.0])[:, [0, 2, 1, 3]]  # sagittal, rows to the feet, columns to the back
    voxels = np.random.default_rng(0).integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    plan = DataPlan(contrasts=("CT",), size=16, slices=3)
    found = to_tensors(Patient("P", {"CT": Volume(voxels, affine, "CT")}), (), plan).images[:, 0].numpy()
    np.testing.assert_allclose(found, (voxels + 1000.0) / 2000.0, atol=1e-6)

"""Files of real scanners: read, or refused with a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from fedspine.cohort.patient import Cohort, Scanner, Volume
from fedspine.cohort.quiet import quiet
from fedspine.cohort.site import load_cohort
from fedspine.errors import CohortError

SAMPLES = Path(__file__).parents[1] / "data" / "vendor_dicom"
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
PICTURES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")


def site_of(tmp_path: Path, *files: Path) -> Path:
    (tmp_path / "dicom").mkdir(exist_ok=True)
    for file in files:
        shutil.copyfile(file, tmp_path / "dicom" / file.name)
    return tmp_path


def only(cohort: Cohort) -> tuple[str, Volume]:
    (patient,) = cohort.patients
    ((contrast, volume),) = patient.volumes.items()
    return contrast, volume


@pytest.mark.parametrize(
    ("name", "contrast", "shape", "scanner"),
    [
        (
            "ge_mr750_epi",
            "other",
            (1, 64, 64),
            Scanner("GE", "DISCOVERY MR750", 3.0, "32Ch Head", 30.0, 5000.0, None, 0.0, 60.0),
        ),
        (
            "philips_achieva_b0",
            "other",
            (1, 80, 80),
            Scanner("Philips", "Achieva dStream", 3.0, "MULTI COIL", 60.728, 4571.01611328125, None, 0.0, 90.0),
        ),
        (
            "philips_achieva_b2000",
            "DWI",
            (1, 80, 80),
            Scanner("Philips", "Achieva dStream", 3.0, "MULTI COIL", 60.728, 4571.01611328125, None, 2000.0, 90.0),
        ),
        (
            "toshiba_galan_dti",
            "DWI",
            (1, 64, 64),
            Scanner("Toshiba", "Galan 3T", 3.0, "32ch Head SPDR", 79.0, 10000.0, None, None, 90.0),
        ),
        (
            "canon_galan_dti_b0",
            "other",
            (1, 80, 80),
            Scanner("Canon", "Galan 3T", 3.0, "32ch Head SPDR", 79.0, 10000.0, None, 0.0, 90.0),
        ),
        (
            "siemens_vida_enhanced",
            "other",
            (6, 64, 64),
            Scanner("Siemens", "MAGNETOM Vida", 3.0, "HeadNeck_20_TCS", 30.0, 500.0, None, None, 52.0),
        ),
        (
            "uih_umr770_t1",
            "T1",
            (1, 512, 460),
            Scanner("UIH", "uMR 770", 3.0, None, 3.1, None, 750.0, None, 10.0, 7.25),
        ),
    ],
)
def test_a_real_slice_of_each_vendor_is_identified(
    tmp_path: Path, name: str, contrast: str, shape: tuple[int, int, int], scanner: Scanner
) -> None:
    found, volume = only(load_cohort(site_of(tmp_path, SAMPLES / f"{name}.dcm")))
    assert (found, volume.voxels.shape, volume.scanner) == (contrast, shape, scanner)


def test_an_enhanced_file_of_a_scanner_has_the_geometry_that_other_readers_find(tmp_path: Path) -> None:
    _, volume = only(load_cohort(site_of(tmp_path, SAMPLES / "siemens_vida_enhanced.dcm")))
    # dcm2niix's result for the same file, turned into DICOM's axes and order
    expected = np.array([[0, 0, 3.375, -109.79], [0, 3.375, 0, -58.47729], [2.4, 0, 0, -5.40356], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(volume.affine, expected, atol=1e-4)


def test_a_private_b_value_serves_where_the_standard_one_is_missing(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(SAMPLES / "philips_achieva_b2000.dcm")
    del dataset.DiffusionBValue
    site_of(tmp_path)
    dataset.save_as(tmp_path / "dicom" / "one")
    contrast, volume = only(load_cohort(tmp_path))
    assert (contrast, volume.scanner.b_value) == ("DWI", 2000)


def test_the_b_value_of_ge_drops_its_flag_and_the_coil_of_siemens_is_found(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(SAMPLES / "ge_mr750_epi.dcm")
    dataset.private_block(0x0043, "GEMS_PARM_01")[0x39].value = [1000000800, 8, 0, 0]
    siemens = pydicom.dcmread(SAMPLES / "siemens_skyra_mosaic.dcm")
    siemens.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    (tmp_path / "ge" / "dicom").mkdir(parents=True)
    (tmp_path / "siemens" / "dicom").mkdir(parents=True)
    dataset.save_as(tmp_path / "ge" / "dicom" / "one")
    siemens.save_as(tmp_path / "siemens" / "dicom" / "one")
    assert only(load_cohort(tmp_path / "ge"))[1].scanner.b_value == 800
    assert only(load_cohort(tmp_path / "siemens"))[1].scanner.coil == "HEA;HEP"


def test_a_siemens_mosaic_that_does_not_say_how_it_is_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="a plane must be one slice, found a mosaic of many"):
        load_cohort(site_of(tmp_path, SAMPLES / "siemens_skyra_mosaic.dcm"))


def bundled() -> list[Path]:
    """Return the MR and CT files that pydicom brings along."""
    found = []
    for path in sorted(BUNDLED.rglob("*")):
        if path.is_file():
            try:
                with quiet():
                    header = pydicom.dcmread(path, specific_tags=["SOPClassUID"])
            except InvalidDicomError:
                continue
            kind = str(header.get("SOPClassUID"))
            if kind in PICTURES or kind.startswith(tuple(f"{one}." for one in PICTURES)):
                found.append(path)
    return found


def test_every_mr_and_ct_file_of_pydicom_is_read_or_refused_with_a_reason(tmp_path: Path) -> None:
    # TINY_ALPHA holds fifty headers without any picture; the next test meets them
    files = [file for file in bundled() if "TINY_ALPHA" not in file.parts]
    assert len(files) >= 30
    for number, file in enumerate(files):
        site = tmp_path / str(number)
        site.mkdir()
        site_of(site, file)
        if file.name == "MR_truncated.dcm":
            with pytest.raises(CohortError, match="every slice of a series must be complete, found one cut short"):
                load_cohort(site)
        else:
            contrast, volume = only(load_cohort(site))
            assert volume.voxels.shape[0] == 1
            assert contrast in ("T1c", "T2", "CT", "other"), file.name


def test_pydicoms_whole_folder_is_one_site(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    shutil.copytree(BUNDLED, tmp_path / "site" / "dicom")
    cohort = load_cohort(tmp_path / "site")
    found = {
        (cohort.own_ids[one.identifier], contrast, len(volume.voxels))
        for one in cohort.patients
        for contrast, volume in one.volumes.items()
    }
    assert {("4MR1", "T2", 1), ("98890234", "CT", 5), ("1CT1", "CT", 1), ("021234567", "T1c", 1)} <= found
    reasons = {one.reason.split(";")[0] for one in cohort.rejected}
    assert "slices must lie at equal distances" in reasons
    assert "a file must hold an MR image, a CT image or a segmentation" in reasons
